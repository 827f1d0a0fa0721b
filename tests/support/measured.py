"""Commands whose memory is measured."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.commands import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT_S = 120

# A process begins with the peak of the one that it was forked from: it must not be pytest's.
_MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, usage.ru_maxrss)
"""


@dataclass(frozen=True)
class Measured:
    """How a command ended, and the most memory it had."""

    code: int
    peak_mib: int


def cdc_measured(*arguments: str | Path) -> Measured:
    """Run a command to its end, in a process of its own."""
    command = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "cdc", *map(str, arguments)]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=_LIMIT_S, check=True)
    code, peak_kib = map(int, told.stdout.split())
    return Measured(code, peak_kib // 1024)
