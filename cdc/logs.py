"""Logs: structlog to standard error, library loggers routed in and slowed down.

Standard output belongs to results. Tracebacks are plain: the decorated ones show local variables, which hold
cell values and secrets.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

LIBRARY_LOGGERS = ("aiokafka", "kafka", "asyncio")
LIBRARY_WINDOW_S = 10.0
"""How long the same message of a library is counted together."""
LIBRARY_RECORDS_MAX = 5
"""How often a library may say the same within that time."""
_MESSAGES_MAX = 1000


def configure_logs(log_format: LogFormat = "console", level: LogLevel = "info") -> None:
    """Send the program's and the libraries' logs to standard error; may be called again.

    Args:
        log_format: ``console`` for people, ``json`` for one JSON object a line.
        level: what is below it is dropped; libraries speak from ``warning`` on, unless it is ``debug``, which
            also shows tracebacks.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if threshold > logging.DEBUG:
        shared.append(_exception_as_line)
    final: list[Processor] = [structlog.processors.format_exc_info] if log_format == "json" else []
    final.append(_renderer(log_format))
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    handler.addFilter(RepetitionFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    for name in LIBRARY_LOGGERS:
        library_level = threshold if threshold <= logging.DEBUG else max(threshold, logging.WARNING)
        logging.getLogger(name).setLevel(library_level)


class RepetitionFilter(logging.Filter):
    """Drops what a library repeats, and says how much once the time is over.

    aiokafka logs over a thousand lines a second for a deleted topic; repetitions are told by the logger and
    the message before its arguments are filled in.
    """

    def __init__(self, records_max: int = LIBRARY_RECORDS_MAX, window_s: float = LIBRARY_WINDOW_S) -> None:
        super().__init__()
        self._records_max = records_max
        self._window_s = window_s
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record may pass; the first one after a pause carries the number that did not."""
        now = time.monotonic()
        key = (record.name, str(record.msg))
        began, count = self._seen.get(key, (now, 0))
        if now - began >= self._window_s:
            dropped = count - self._records_max
            if dropped > 0:
                record.msg = f"{record.getMessage()} (and {dropped} more like it)"
                record.args = None
            began, count = now, 0
        if key not in self._seen and len(self._seen) >= _MESSAGES_MAX:
            self._seen.clear()
        self._seen[key] = (began, count + 1)
        return count < self._records_max


def _exception_as_line(_logger: object, _method: str, event: EventDict) -> EventDict:
    exception = event.pop("exc_info", None)
    if isinstance(exception, tuple):
        exception = exception[1]
    elif exception is True:
        exception = sys.exc_info()[1]
    if isinstance(exception, BaseException):
        event["error"] = " ".join(f"{type(exception).__name__}: {exception}".split())
    return event


def _renderer(log_format: LogFormat) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
