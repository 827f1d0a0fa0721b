"""Durations and sizes as people write them: ``"250ms"``, ``"30s"``, ``"24h"``; ``"64MiB"``."""

from __future__ import annotations

import re
from fractions import Fraction

from schemas.errors import UsageError

DURATION_FORM = 'a duration such as "250ms", "30s" or "24h" (units: ms, s, m, h, d)'
SIZE_FORM = 'a size such as "512KiB" or "64MiB" (units: B, KiB, MiB, GiB)'

DURATION_S_MAX = 100 * 365 * 86_400
"""One hundred years: a bound that clocks and timers can take."""
SIZE_BYTES_MAX = 2**50

_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", re.ASCII)


def parse_duration(text: str) -> float:
    """Read a duration with its unit; return seconds.

    Raises:
        UsageError: the text is none, or exceeds `DURATION_S_MAX`.
    """
    milliseconds = _parse(text, _MILLISECONDS)
    if milliseconds is None or milliseconds > DURATION_S_MAX * 1000:
        raise UsageError("that is not a duration", f"write {DURATION_FORM}")
    return float(milliseconds / 1000)


def parse_timeout(text: str) -> float:
    """Read a duration as `parse_duration` does, or a bare number of seconds; return seconds.

    Raises:
        UsageError: the text is neither.
    """
    bare = text.strip()
    return parse_duration(bare + "s" if bare[-1:].isdigit() else bare)


def format_duration(seconds: float) -> str:
    """Write a duration in the largest unit that leaves a whole number: 86400 is ``24h``, 0.25 is ``250ms``.

    Days are read but not written: ``24h`` says more plainly what is meant.
    """
    milliseconds = round(seconds * 1000)
    for unit, size in _MILLISECONDS.items():
        if unit != "d" and milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_size(text: str) -> int:
    """Read a size with its unit; return bytes.

    Raises:
        UsageError: the text is none, is no whole number of bytes, or exceeds `SIZE_BYTES_MAX`.
    """
    size = _parse(text, _BYTES)
    if size is None or size.denominator != 1 or size > SIZE_BYTES_MAX:
        raise UsageError("that is not a size", f"write {SIZE_FORM}")
    return int(size)


def format_size(size_bytes: int) -> str:
    """Write a size in the largest unit that leaves a whole number: 67108864 is ``64MiB``."""
    for unit, scale in _BYTES.items():
        if size_bytes and size_bytes % scale == 0:
            return f"{size_bytes // scale}{unit}"
    return "0B"


def _parse(text: str, units: dict[str, int]) -> Fraction | None:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        return None
    return Fraction(match[1]) * units[match[2]]
