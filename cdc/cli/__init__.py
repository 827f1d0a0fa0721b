"""The command line: ``cdc COMMAND``. The command itself, and nothing else, lives here."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command that was typed, and end the process with its exit code."""
    try:
        # SIGTERM ends a command as SIGINT does; commands that run an event loop take both over.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _forget_empty_variables()
        from cdc.cli.app import run  # noqa: PLC0415 -- it takes a while, in which a signal may come

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)


def _forget_empty_variables() -> None:
    # Compose files and units pass on what is not set as empty: it counts as not given.
    for name in [name for name, value in os.environ.items() if name.startswith("CDC_") and not value]:
        del os.environ[name]
