"""Real parts that tests need and a machine may lack: a failure in CI, a skip that is said aloud elsewhere."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

_IS_MISSING = " is missing: "


def missing(part: str, remedy: str) -> NoReturn:
    """End the test that needs `part`: with a failure where CI is set, with a skip elsewhere."""
    line = f"{part}{_IS_MISSING}{remedy}"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(line, pytrace=False)
    pytest.skip(line)


def need_command(name: str) -> str:
    """Path of a command on PATH."""
    return shutil.which(name) or missing(f"the command {name}", "install it")


def count_missing(skipped: Iterable[pytest.TestReport]) -> Counter[str]:
    """How many of the skipped tests each missing part kept from running."""
    reasons = (report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    return Counter(reason.removeprefix("Skipped: ") for reason in reasons if _IS_MISSING in reason)
