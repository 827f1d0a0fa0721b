"""A new cache file beside the old one, and the swap: a load shows all or nothing."""

from __future__ import annotations

import asyncio
import glob
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from consumers import limits
from consumers.bounded import Layout, Writing
from consumers.marks import UNPUBLISHABLE, WRONG_CLASS, QuarantineMark, encode_mark
from consumers.meta import QUARANTINE_TABLE, checkpoint_meta, definition_meta
from consumers.store import Store, redb_errors
from schemas.errors import CacheError
from schemas.keys import fits_key_type, record_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import msgspec

    from consumers import _redb
    from consumers.batch import Ops
    from consumers.meta import Checkpoint
    from schemas.definition import KeyType, TableDefinition

_log = structlog.get_logger("consumers.rebuild")

_Result = TypeVar("_Result")

_SUFFIX = ".loading"
_NAME_BYTES = 4


class Loading:
    """A cache file under way: rows are appended to it, then it takes its place at ``path`` in one step.

    Use as ``async with``, by whoever holds the node's lock; left without ``finish`` the new file is removed,
    and nothing has changed. What a killed load left behind is removed by the next one.

    Args:
        path: the cache file to make or to replace.
        node: the name of the node.
        definitions: the tables that will be in it.
        epoch: of the rows.
    """

    def __init__(self, path: Path, node: str, definitions: Iterable[TableDefinition], epoch: int) -> None:
        self._path = path
        self._node = node
        self._definitions = list(definitions)
        self._epoch = epoch
        self._key_types: dict[str, KeyType] = {
            one.name: one.key_type for one in self._definitions if one.key_type != "tuple"
        }
        self._temporary = path.with_name(f"{path.name}.{secrets.token_hex(_NAME_BYTES)}{_SUFFIX}")
        self._store: Store | None = None
        self._transaction: _redb.WriteTransaction | None = None
        self._uncommitted_bytes = 0
        self.marked = set[bytes]()
        """Record keys of rows that the source cannot publish."""
        self.rows = 0

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._store is not None:
            await asyncio.to_thread(self._remove)

    async def append(self, table: str, rows: list[tuple[bytes, bytes, int]]) -> None:
        """Adds rows (key, row, change id) of one table; fastest in key order.

        Those whose key the table's key_type cannot hold are marked instead.
        """
        key_type = self._key_types.get(table)
        if key_type is not None:
            wrong = [row for row in rows if not fits_key_type(row[0], key_type)]
            if wrong:
                rows = [row for row in rows if fits_key_type(row[0], key_type)]
                for key, _, change_id in wrong:
                    await self.quarantine(table, key, change_id, 0, WRONG_CLASS)
        await self._append(table, rows)

    async def append_packed(self, table: str, packed: msgspec.Raw) -> int | None:
        """Adds the rows of a snapshot's chunk as they lie there; returns how many they are.

        None, and nothing is written, where they are not just to be appended: marks in the place of rows, keys
        that the table cannot hold, or marks from before that a row may lift.
        """
        if self.marked:
            return None
        added = await self._write(lambda to: to.append_packed(table, packed), len(memoryview(packed)))
        self.rows += added or 0
        return added

    async def quarantine(
        self, table: str, key: bytes, change_id: int, since_ms: int, reason: str = UNPUBLISHABLE
    ) -> None:
        """Marks a row that cannot be in the cache."""
        mark = QuarantineMark(reason, epoch=self._epoch, change_id=change_id, since_ms=since_ms)
        name = record_key(table, key)
        self.marked.add(name)
        await self._append(QUARANTINE_TABLE, [(name, encode_mark(mark), change_id)])

    async def finish(self, checkpoint: Checkpoint) -> None:
        """Makes everything durable and puts the file at its path; readers follow."""
        await asyncio.to_thread(self._finish, checkpoint)

    async def _append(self, table: str, rows: list[tuple[bytes, bytes, int]]) -> None:
        size = sum(len(key) + len(row) for key, row, _ in rows)
        await self._write(lambda to: to.append(table, rows), size)
        self.rows += len(rows)

    async def replace(self, table: str, key: bytes, row: bytes, change_id: int) -> None:
        """Puts a row that may have been appended before, and lifts its mark."""
        if self._fits(table, key):
            await self._put(table, key, row, change_id)
            self.rows += 1
        else:
            await self.quarantine(table, key, change_id, 0, WRONG_CLASS)

    async def remove(self, table: str, key: bytes, change_id: int) -> None:
        """Takes away a row that may have been appended before, and lifts its mark."""
        await self._put(table, key, None, change_id)

    async def _put(self, table: str, key: bytes, row: bytes | None, change_id: int) -> None:
        ops: Ops = {table: [(key, row, change_id)]} if self._fits(table, key) else {}
        name = record_key(table, key)
        if name in self.marked:
            ops[QUARANTINE_TABLE] = [(name, None, change_id)]
        await self._write(lambda to: to.put(ops), len(key) + len(row or b""))

    async def _write(self, work: Callable[[_redb.WriteTransaction], _Result], size_bytes: int) -> _Result:
        return await asyncio.to_thread(self._written, work, size_bytes)

    def _written(self, work: Callable[[_redb.WriteTransaction], _Result], size_bytes: int) -> _Result:
        if self._transaction is None or self._store is None:
            raise RuntimeError("the load is not open")
        with redb_errors(self._temporary):
            done = work(self._transaction)
            self._uncommitted_bytes += size_bytes
            if self._uncommitted_bytes >= limits.LOAD_COMMIT_BYTES:
                # Nobody looks into the file before it is whole. A commit takes up every page once more: while
                # they still are in redb's cache that costs nothing, later they are read and written again.
                self._transaction.commit(durable=False)
                self._transaction = self._store.database.begin()
                self._uncommitted_bytes = 0
            return done

    def _fits(self, table: str, key: bytes) -> bool:
        return fits_key_type(key, self._key_types.get(table, "tuple"))

    def _open(self) -> None:
        remove_leftovers(self._path)
        # Nobody else reads it before it is whole: exclusive, which writes faster.
        self._store = Store.create(self._temporary, self._node, shared=False)
        self._transaction = self._store.database.begin()
        with redb_errors(self._temporary):
            for definition in self._definitions:
                self._transaction.truncate(definition.name, definition.key_type)
                self._transaction.set_meta(definition_meta(definition.name, definition))

    def _finish(self, checkpoint: Checkpoint) -> None:
        if self._transaction is None or self._store is None:
            raise RuntimeError("the load is not open")
        with redb_errors(self._temporary):
            Writing(self._transaction, Layout({})).loaded(self._definitions)
            self._transaction.set_meta(checkpoint_meta(checkpoint))
            self._transaction.commit()
            self._store.close()
        self._store = self._transaction = None
        with _file_errors(self._path):
            self._temporary.rename(self._path)
            _sync_folder(self._path.parent)

    def _remove(self) -> None:
        if self._transaction is not None:
            self._transaction.abort()
        if self._store is not None:
            self._store.close()
        self._store = self._transaction = None
        self._temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Removes what killed loads of this cache left behind; for whoever holds its lock.

    Raises:
        CacheError: it cannot be removed.
    """
    # Exactly our own names: "cache" must not take what "cache.redb" is loading for its leavings.
    pattern = f"{glob.escape(path.name)}.{'[0-9a-f]' * 2 * _NAME_BYTES}{_SUFFIX}"
    with _file_errors(path):
        for left_behind in path.parent.glob(pattern):
            _log.info("removing what an interrupted load left behind", file=str(left_behind))
            left_behind.unlink(missing_ok=True)


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"the cache file {path} could not be replaced: {error.strerror}", "see the folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power failure."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
