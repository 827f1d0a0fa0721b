"""Where figures were measured: without it none can be compared with another."""

from __future__ import annotations

import os
import platform
import sqlite3
import tomllib
from importlib import metadata
from pathlib import Path

import msgspec

_LIBRARIES = ("aiokafka", "msgspec", "uvloop")
_CARGO_LOCK = Path(__file__).parents[2] / "consumers" / "redb" / "Cargo.lock"
_CPU_INFO = Path("/proc/cpuinfo")


class Machine(msgspec.Struct, frozen=True):
    """The machine and the versions of what was measured; ``load`` is its load average at the start."""

    cpus: int
    processor: str
    system: str
    load: float
    versions: dict[str, str]


def this_machine() -> Machine:
    """Looks at this machine."""
    versions = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "redb": _redb_version(),
        **{name: metadata.version(name) for name in _LIBRARIES},
    }
    return Machine(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        load=round(os.getloadavg()[0], 2),
        versions=versions,
    )


def _redb_version() -> str:
    # The extension does not say which crate it was built with; a checkout does.
    if not _CARGO_LOCK.exists():
        return "unknown"
    packages = tomllib.loads(_CARGO_LOCK.read_text())["package"]
    return next((package["version"] for package in packages if package["name"] == "redb"), "unknown")


def _processor() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
