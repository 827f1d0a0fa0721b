"""Shows how far a load or a snapshot has come: a bar on a terminal, else a log line now and then."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cdc import limits
from schemas.progress import Meter, watched_by

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from cdc.cli.common import Common
    from schemas.progress import Work

_log = structlog.get_logger("cdc.progress")

_Result = TypeVar("_Result")
_MINUTE_S = 60
_HOUR_S = 3600


async def showing_progress(common: Common, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a command's work, and show on standard error how far its loads and snapshots are."""
    meter = Meter()
    watched_by.set(meter)
    bar = common.log_format == "console" and common.log_level in ("debug", "info") and _on_terminal()
    shown = asyncio.create_task(_show(meter, bar=bar))
    try:
        return await work
    finally:
        shown.cancel()
        # A terminal that is gone is no reason to fail.
        await asyncio.wait([shown])


def described(work: Work, now_s: float) -> str:
    """What there is to say: rows, rate, and the time left where it is known how many rows there will be."""
    done, seconds = work.rows(), max(0.001, now_s - work.began_s)
    rate = done / seconds
    parts = [f"{done:,} rows", f"{rate:,.0f} rows/s"]
    if work.rows_expected is not None and done <= work.rows_expected:
        parts[0] = f"{done:,} of {work.rows_expected:,} rows"
        if done:
            parts.append(f"{_duration((work.rows_expected - done) / rate)} left")
    else:
        parts.append(f"for {_duration(seconds)}")
    return ", ".join(parts)


async def _show(meter: Meter, *, bar: bool) -> None:
    while True:
        await meter.begun.wait()
        if (work := meter.work) is None:
            continue
        if bar:
            await _draw(meter, work)
        else:
            await _tell(meter, work)


async def _tell(meter: Meter, work: Work) -> None:
    while not await _over(meter, work, limits.PROGRESS_LOG_SECONDS):
        now_s = time.monotonic()
        rows = work.rows()
        rate = round(rows / max(0.001, now_s - work.began_s))
        if work.rows_expected is None:
            _log.info(work.what, rows=rows, rows_per_second=rate)
        else:
            left = (
                round((work.rows_expected - rows) / rate) if 0 < rows <= work.rows_expected and rate else None
            )
            _log.info(work.what, rows=rows, of=work.rows_expected, rows_per_second=rate, seconds_left=left)


async def _draw(meter: Meter, work: Work) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    # Without a thread of its own, which would take the interpreter from the work.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task(work.what, total=work.rows_expected, text="")
        while True:
            progress.update(task, completed=work.rows(), text=described(work, time.monotonic()), refresh=True)
            if await _over(meter, work, limits.PROGRESS_DRAW_SECONDS):
                return


async def _over(meter: Meter, work: Work, seconds: float) -> bool:
    """Wait for the end of a piece of work, for a limited time; say whether it is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await meter.ended.wait()
    return meter.work is not work


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} min"
