"""The ring of newest changes in a cache file: which keys each commit touched, for who watches a table.

A redb table of our own, written in the transaction of the rows: commits are numbered, each says which keys of
which tables it touched, or that there were too many (a table that was read anew, a very big group). Old
entries leave when there are more, or more bytes, than the limits. So watching costs each commit a few
microseconds, whoever watches, and a watcher that is too slow finds a number missing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from consumers import limits
from schemas.position import Position  # noqa: TC001 -- msgspec resolves annotations at run time
from schemas.rows import decode_with

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers import _redb
    from consumers.batch import Batch, Ops

CHANGES_TABLE = "_cdc_changes"
"""redb table: number of the commit (8 bytes big-endian, by one more each) -> `Commit` in msgpack."""

_OWN_PREFIX = "_cdc_"


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """What one commit touched.

    ``tables``: the encoded keys by table; None where they are not told, and every row may have changed.
    """

    position: Position
    tables: dict[str, list[bytes] | None]


class Touched:
    """The keys that one transaction touches, gathered up to a limit."""

    def __init__(self) -> None:
        self.tables: dict[str, list[bytes] | None] = {}
        self._bytes_left = limits.CHANGES_COMMIT_BYTES_MAX

    def add(self, batch: Batch) -> None:
        """Takes in what a batch writes."""
        for table in batch.truncated:
            self.tables[table] = None
        for table, ops in batch.ops.items():
            self.add_keys(table, [key for key, _, _ in ops])

    def add_keys(self, table: str, keys: list[bytes]) -> None:
        """Takes in keys of a table."""
        if table.startswith(_OWN_PREFIX):
            return
        known = self.tables.setdefault(table, [])
        if known is None:
            return
        self._bytes_left -= sum(map(len, keys)) + len(keys)
        if self._bytes_left < 0:
            self.tables[table] = None
        else:
            known += keys


class Ring:
    """The writer's view of the ring.

    Args:
        database: the open file.
    """

    def __init__(self, database: _redb.Database) -> None:
        self._entries: deque[tuple[int, int]] = deque()
        """Number and size of each, oldest first."""
        self._bytes = 0
        with database.snapshot() as snapshot:
            after: bytes | None = None
            while page := snapshot.scan(CHANGES_TABLE, after, bytes_max=limits.CHANGES_COMMIT_BYTES_MAX):
                after = page[-1][0]
                for number, entry, _ in page:
                    self._note(int.from_bytes(number), len(entry))

    def ops(self, touched: Touched, position: Position) -> Ops:
        """What to write for one commit; it must be written, or this thrown away."""
        if not touched.tables:
            return {}
        tables = {
            table: None if keys is None else list(dict.fromkeys(keys))
            for table, keys in touched.tables.items()
        }
        number = self._entries[-1][0] + 1 if self._entries else 1
        entry = msgspec.msgpack.encode(Commit(position, tables))
        ops: list[tuple[bytes, bytes | None, int]] = [
            (number.to_bytes(8), None, 0) for number in self._forget(len(entry))
        ]
        self._note(number, len(entry))
        ops.append((number.to_bytes(8), entry, position.change_id))
        return {CHANGES_TABLE: ops}

    def _note(self, number: int, size: int) -> None:
        self._entries.append((number, size))
        self._bytes += size

    def _forget(self, room: int) -> Iterable[int]:
        while self._entries and (
            len(self._entries) >= limits.CHANGES_COMMITS_MAX or self._bytes + room > limits.CHANGES_BYTES_MAX
        ):
            number, size = self._entries.popleft()
            self._bytes -= size
            yield number


def newest(snapshot: _redb.Snapshot) -> int:
    """The number of the newest commit in the ring; 0 when it is empty."""
    last = snapshot.scan(CHANGES_TABLE, limit=1, reverse=True)
    return int.from_bytes(last[0][0]) if last else 0


def commits_after(snapshot: _redb.Snapshot, number: int) -> list[tuple[int, Commit]]:
    """The next commits behind a number, with theirs; at most a page of them."""
    page = snapshot.scan(
        CHANGES_TABLE, number.to_bytes(8), limits.CHANGES_PAGE, bytes_max=limits.CHANGES_COMMIT_BYTES_MAX
    )
    return [(int.from_bytes(key), decode_with(_decoder, entry, "list of changes")) for key, entry, _ in page]


_decoder = msgspec.msgpack.Decoder(Commit)
