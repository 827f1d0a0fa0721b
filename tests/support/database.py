"""A SQLite file that tests write to as an application would."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def execute(path: Path, *statements: str) -> None:
    """Run statements on a connection of their own; those that write rows are one transaction."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
