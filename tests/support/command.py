"""Runs the command, in this process or as one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).parents[2]
START = "import sys; sys.path.insert(0, {project!r}); from cdc.cli import main; main()"


class Ended(msgspec.Struct, frozen=True):
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Read standard output as exactly one JSON document."""
        return msgspec.json.decode(self.out)

    def json_lines(self) -> list[Any]:
        """Read standard output as JSON lines."""
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


def command_line(*arguments: str) -> list[str]:
    """Return the words that start ``cdc`` from any folder, installed or not."""
    return [sys.executable, "-c", START.format(project=str(PROJECT)), *arguments]


def cdc_process(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run ``cdc`` as a process of its own, to its end."""
    done = subprocess.run(
        command_line(*arguments), cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)
