"""Programs of later versions: copies of the packages with a few lines changed as a later version would."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.support.commands import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

_AFTER_THE_FIELDS = '\n    @property\n    def head(self) -> Head:\n        """Where this event\'s group'

MINOR = {
    "schemas/event.py": (_AFTER_THE_FIELDS, "\n    of_a_later_version: str = 'more'\n" + _AFTER_THE_FIELDS),
}
"""Every event has one more field."""

MAJOR = {
    "schemas/event.py": ("EVENT_VERSION: Final = 1", "EVENT_VERSION: Final = 2"),
    "schemas/codec.py": ("event.version != EVENT_VERSION", "event.version not in (1, 2)"),
}
"""Events are of version 2; those of version 1 are still read."""


def later_version(folder: Path, changes: dict[str, tuple[str, str]]) -> Path:
    """Make a program of a later version; returns the folder that `Running` takes as ``program``."""
    for package in ("cdc", "consumers", "schemas"):
        shutil.copytree(
            PROJECT / package,
            folder / package,
            ignore=shutil.ignore_patterns("target", "__pycache__", "*.rs"),
        )
    for name, (old, new) in changes.items():
        path = folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} has changed: {old!r} is not in it once"
        path.write_text(text.replace(old, new))
    return folder
