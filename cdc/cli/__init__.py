"""The command line: ``cdc COMMAND``. The command itself, and nothing else, lives here."""

from __future__ import annotations

import sys

from cdc.cli.app import run


def main() -> None:
    """Run the command that was typed, and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))
