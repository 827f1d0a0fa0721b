"""The command line: ``cdc COMMAND``. The command itself, and nothing else, lives here."""

from __future__ import annotations

import io
import os
import signal
import sys

# Not `typing`'s own: until `main` has begun, a signal kills.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def main() -> None:
    """Run the command that was typed, and end the process with its exit code."""
    # While modules are imported there is nothing in hand; and an exception from a signal would be lost where
    # it hits one of the import system's own callbacks.
    _on_signals(lambda *_: os._exit(0))
    _open_standard_streams()
    _forget_empty_variables()
    from cdc.cli.app import run  # noqa: PLC0415 -- it takes a while, in which a signal may come

    try:
        # SIGTERM ends a command as SIGINT does; commands that run an event loop take both over.
        _on_signals(signal.default_int_handler)
        code = run(sys.argv[1:])
        # The work is done and told: a signal may only hasten what Python does at its end.
        _on_signals(lambda *_: os._exit(code))
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)


def _on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    signal.signal(signal.SIGTERM, handler)
    # A shell starts what runs behind it (`cdc run &` in a script) with SIGINT ignored: so it stays.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _open_standard_streams() -> None:
    # Where one of them is closed (`>&-`), the next file that is opened would get its number, and whatever is
    # printed later would be written into a database.
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 -- stays open
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a narrow encoding (LANG=C, PYTHONIOENCODING=ascii) does not have is escaped, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")


def _forget_empty_variables() -> None:
    # Compose files and units pass on what is not set as empty: it counts as not given.
    for name in [name for name, value in os.environ.items() if name.startswith("CDC_") and not value]:
        del os.environ[name]
