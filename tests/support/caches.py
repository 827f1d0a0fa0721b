"""Cache files as a node would have left them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from consumers import _redb
from consumers.meta import Checkpoint, Identity, checkpoint_meta, definition_meta, identity_meta
from schemas import Column, RowEncoder, TableDefinition, encode_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.values import Value

PROJECT = Path(__file__).parents[2]

EPISODES = TableDefinition("episodes", (Column("id", "TEXT"), Column("score", "REAL")), ("id",))
STEPS = TableDefinition(
    "steps",
    (Column("note", "TEXT"), Column("episode", "TEXT"), Column("number", "INTEGER")),
    ("episode", "number"),
)


def checkpoint(change_id: int, epoch: int = 1) -> Checkpoint:
    return Checkpoint(epoch, 11, change_id, 22, 0, None, "database-1", "file:/app.db")


def make_cache(
    path: Path,
    tables: dict[TableDefinition, Sequence[Sequence[Value]]],
    *,
    change_id: int = 5,
    shared: bool = True,
) -> _redb.Database:
    """Make a cache file of tables and rows (values in the order of the columns); it is still open."""
    database = _redb.Database.create(path, shared=shared)
    meta = identity_meta(Identity("node-a", 1_700_000_000_000)) | checkpoint_meta(checkpoint(change_id))
    for definition in tables:
        meta |= definition_meta(definition.name, definition)
    database.apply({}, meta)
    for definition, rows in tables.items():
        put(database, definition, rows, change_id)
    return database


def put(
    database: _redb.Database, definition: TableDefinition, rows: Sequence[Sequence[Value]], change_id: int
) -> None:
    """Write rows, and move the checkpoint, in one transaction."""
    names = [column.name for column in definition.columns]
    places = [names.index(name) for name in definition.key]
    encode = RowEncoder(tuple(names)).encode
    operations: list[tuple[bytes, bytes | None, int]] = [
        (encode_key(tuple(row[place] for place in places)), encode(tuple(row)), change_id) for row in rows
    ]
    database.apply({definition.name: operations}, checkpoint_meta(checkpoint(change_id)))


def killed_writer(path: Path, *, shared: bool = True) -> None:
    """Let another process open the file for writing and be killed: the file needs repair."""
    writer = living_writer(path, shared=shared)
    writer.kill()
    writer.communicate()


def living_writer(path: Path, *, shared: bool = True) -> subprocess.Popen[str]:
    """Start another process that holds the file open for writing until it is killed."""
    code = (
        "import sys\n"
        "from consumers import _redb\n"
        f"database = _redb.Database.open({str(path)!r}, shared={shared})\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    return writer
