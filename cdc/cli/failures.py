"""Every failure as one line on standard error, and its exit code."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from cdc.cli.output import printable
from schemas.errors import CdcError, ExitCode

if TYPE_CHECKING:
    from cyclopts import CycloptsError


def print_failure(error: Exception, *, with_traceback: bool) -> int:
    """Print what went wrong and return the exit code that says so.

    Args:
        error: a `CdcError`, or anything else, which is a bug or the machine's fault.
        with_traceback: print where it happened as well.
    """
    if with_traceback:
        traceback.print_exception(error)
    if isinstance(error, CdcError):
        _print_error(str(error))
        return error.exit_code
    if isinstance(error, OSError):
        _print_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    else:
        hint = "" if with_traceback else "; run it with --log-level debug to see where, and report it"
        _print_error(f"unexpected {type(error).__name__}: {error}{hint}")
    return ExitCode.FAILED


def print_usage_failure(error: CycloptsError) -> int:
    """Print what was wrong with the command line."""
    # The list of commands that follows there is cut short: --help has all of them.
    message = str(error).split(" Available commands:")[0]
    _print_error(f"{message.rstrip('.')}; see: cdc --help")
    return ExitCode.USAGE


def _print_error(message: str) -> None:
    """Print one line on standard error, whatever control characters are in it."""
    line = printable(" ".join(message.split()))
    print(f"error: {line}", file=sys.stderr, flush=True)  # noqa: T201 -- this is the command's error output
