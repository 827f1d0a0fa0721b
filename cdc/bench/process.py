"""What the system knows of a process that runs: its processor time and its memory."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_KIB = 1024
# After the command's name in parentheses comes field 3 of /proc/PID/stat; utime is 14, stime 15 (proc(5)).
_UTIME, _STIME = 14 - 3, 15 - 3


def can_look() -> bool:
    """Whether this system tells (Linux does)."""
    return (_PROC / "self" / "status").exists()


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used in all, its threads included."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held at once; 0 when it is gone.

    Not rusage's maxrss: the parent's own peak is counted into that of a child that was made by vfork.
    """
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * _KIB
