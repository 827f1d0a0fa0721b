"""The redb file that a consumer keeps: a Rust extension, built from ``consumers/redb``.

Keys are the bytes of `schemas.keys`, whatever the type of a table's keys in the file (see
``WriteTransaction.truncate``); a key of another class than a native table's is in none of its rows.

Values of user tables are stored with the change id that wrote them and a CRC-32; every read checks it.
Every call releases the GIL while it works, and may come from any thread.
"""

# ruff: noqa: PYI021 - the module is compiled: this is where its documentation can be read
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, final

import msgspec

Ops: TypeAlias = dict[str, list[tuple[bytes, bytes | None, int]]]
"""By table, in the order they happened: (key, row or None to delete, change id of 0 to 2**64 - 1).

A dict and lists, no other mapping or sequence. Where ``bytes`` stands, any contiguous buffer of bytes
(``msgspec.Raw``) does too.
"""

Meta: TypeAlias = dict[str, bytes | None]
"""By name: the value, or None to remove it."""

KeyType: TypeAlias = Literal["tuple", "text", "integer", "bytes"]
"""The redb type of a table's keys: ``&[u8]`` of whole tuples, or natively ``&str``, ``i64``, ``&[u8]``."""

class RedbError(Exception):
    """Base of every error of this module; itself raised where redb refused for a reason of no own class."""

class BusyError(RedbError):
    """Another process has the file, or another transaction or snapshot of this handle is open."""

class NotFoundError(RedbError):
    """There is no such file."""

class NotADatabaseError(RedbError):
    """The file is no redb file (empty, foreign, a folder), or one whose tables have other types."""

class CorruptedError(RedbError):
    """The file is damaged beyond repair: rebuild it."""

class RepairNeededError(RedbError):
    """The last writer ended uncleanly and none is alive: ``Database.open`` repairs the file."""

class DamagedRowError(RedbError):
    """A stored value fails its check. The message names the table only; a key is cell values."""

    table: str
    key: bytes

class StorageFullError(RedbError):
    """There is no room left for the file. Close and open the database, as after any IoError.

    Until then writes fail, and reads too (all of a shared file, of another those that need the disk). It can
    be opened, and read, while there still is no room.
    """

class ClosedError(RedbError):
    """The handle was closed, or its transaction is over."""

class IoError(RedbError):
    """The operating system failed the file. Later writes and most reads fail until it is opened again."""

class ExistsError(IoError):
    """There is a file already where one was to be made."""

class ReadOnlyError(RedbError):
    """The database was opened for reading only."""

class PanickedError(RedbError):
    """redb met a state that it holds impossible: most likely damage, so ``check_integrity``."""

@final
class Database:
    """An open file. Closing it ends its snapshots and its write transaction.

    ``cache_bytes`` bounds the pages kept in memory; half of them may be dirty pages of the open
    transaction, which are written out early beyond that.
    """

    @staticmethod
    def create(path: str | PathLike[str], *, shared: bool = True, cache_bytes: int = 67_108_864) -> Database:
        """Makes a new file; an existing one is refused with ExistsError.

        ``shared``: other processes may read meanwhile (``open_read_only``); commits are then always durable.
        """

    @staticmethod
    def open(
        path: str | PathLike[str], *, shared: bool = True, check: bool = False, cache_bytes: int = 67_108_864
    ) -> Database:
        """Opens an existing file to read and write; repairs it after an unclean end.

        ``check`` verifies every page first, also after a clean end.

        Raises:
            NotFoundError, NotADatabaseError, BusyError, CorruptedError, IoError.
        """

    @staticmethod
    def open_read_only(path: str | PathLike[str], *, cache_bytes: int = 67_108_864) -> Database:
        """Opens an existing file to read, beside a shared writer or without one.

        Raises:
            RepairNeededError: its writer died. BusyError: its writer does not share it. Else as ``open``.
        """

    @property
    def path(self) -> Path: ...
    @property
    def shared(self) -> bool: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def verified(self) -> bool:
        """Whether ``open`` verified every page: after an unclean end, or because of ``check``."""

    def apply(self, ops: Ops, meta: Meta, *, durable: bool = True, timeout: float = 30.0) -> None:
        """Commits all of it in one transaction; of several operations on one key the last counts.

        ``timeout``: seconds to wait for another transaction of this handle, then BusyError.
        """

    def begin(self, *, timeout: float = 30.0) -> WriteTransaction:
        """Opens the one write transaction; ``timeout`` as in ``apply``."""

    def snapshot(self) -> Snapshot:
        """Holds the newest commit for reading. While it is held the file grows with every commit."""

    def get(self, table: str, key: bytes) -> bytes | None: ...
    def get_many(self, table: str, keys: list[bytes]) -> list[bytes | None]: ...
    def count(self, table: str) -> int: ...
    def meta(self) -> dict[str, bytes]: ...
    def check_integrity(self, *, timeout: float = 30.0) -> bool:
        """Verifies every page: True when whole, False when it was not but is now mended.

        Raises:
            CorruptedError: it cannot be mended. BusyError: a snapshot or transaction of this handle is open.
        """

    def compact(self, *, timeout: float = 30.0) -> bool:
        """Moves pages to the front of the file and shortens it; False where nothing could be gained.

        Not together with reads or other writes of this handle; those of other processes go on, and keep
        their pages where they are.

        Raises:
            BusyError: a snapshot or transaction of this handle is open. ReadOnlyError, StorageFullError.
        """

    def close(self) -> bool:
        """Aborts an open transaction and releases the file; safe to repeat.

        False where the file could not be left clean, because a call failed before or there is no room: what
        was committed durably is in it, and the next ``open`` repairs it.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

@final
class WriteTransaction:
    """Changes nobody sees until ``commit``; a context manager that aborts unless it was committed."""

    def put(self, ops: Ops) -> None:
        """Adds operations; a table that does not exist is made, with keys that are tuples.

        A row whose key is none of a native table's is refused (RedbError); to delete such a key does nothing.
        """

    def append(self, table: str, rows: list[tuple[bytes, bytes, int]]) -> None:
        """Adds rows of one table, fastest when sorted and above its last key; any order is right."""

    def append_packed(self, table: str, packed: bytes | msgspec.Raw) -> int | None:
        """Adds the rows of a snapshot's chunk, a msgpack array of (key, row, change id), as `append` does.

        Returns how many they are. None, and nothing is written, where it is anything but rows under keys that
        the table can hold: marks in the place of rows, or bytes that are no such array.
        """

    def truncate(self, table: str, key_type: KeyType = "tuple") -> None:
        """Makes a table, empty, with keys of this type; one of that name goes, with its type.

        Native keys (text, integer, bytes) are for tables with a key of one column: a Rust program opens them
        as ``TableDefinition<&str, &[u8]>`` and so on. Nothing else here is different for them.
        """

    def drop_table(self, table: str) -> bool:
        """Removes the table; False when there was none."""

    def get_many(self, table: str, keys: list[bytes]) -> list[bytes | None]:
        """The rows as this transaction has them; a damaged one counts as none, since it is to be replaced."""

    def scan(
        self,
        table: str,
        after: bytes | None = None,
        limit: int = 1000,
        prefix: bytes = b"",
        *,
        before: bytes | None = None,
        reverse: bool = False,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes, int]]:
        """As ``Snapshot.scan``, of what this transaction has."""

    def count(self, table: str) -> int: ...
    def set_meta(self, meta: Meta) -> None: ...
    def commit(self, durable: bool = True) -> None:
        """Ends the transaction; refused (RedbError) after a call of it failed half-way.

        A commit that fails with IoError or StorageFullError may or may not have reached the file: open it
        again to see.
        """

    def abort(self) -> None:
        """Forgets every change; safe to repeat, and after a commit."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

@final
class TableStats:
    """redb's figures of one table: stored, in keys and values; fragmented, bytes of its pages left empty."""

    @property
    def rows(self) -> int: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def metadata_bytes(self) -> int: ...
    @property
    def fragmented_bytes(self) -> int: ...
    @property
    def leaf_pages(self) -> int: ...
    @property
    def branch_pages(self) -> int: ...
    @property
    def tree_height(self) -> int: ...

@final
class Snapshot:
    """One committed state. A table that does not exist reads as empty."""

    def get(self, table: str, key: bytes) -> bytes | None: ...
    def get_stamped(self, table: str, key: bytes) -> tuple[bytes, int] | None:
        """The row and the change id that wrote it."""

    def get_many(self, table: str, keys: list[bytes]) -> list[bytes | None]: ...
    def scan(
        self,
        table: str,
        after: bytes | None = None,
        limit: int = 1000,
        prefix: bytes = b"",
        *,
        before: bytes | None = None,
        reverse: bool = False,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes, int]]:
        """The next rows in key order: (key, row, change id), at most ``limit``.

        Only keys greater than ``after``, less than ``before`` and beginning with ``prefix``; ``reverse``
        begins at the last of them. ``bytes_max`` ends the page after the row that reaches it. Only an empty
        list means the end.

        Raises:
            DamagedRowError: also for the rows before it in this page, which ``before=error.key`` gives; then
                the scan can go on behind ``error.key``.
        """

    def count(self, table: str) -> int: ...
    def stats(self, table: str) -> TableStats | None:
        """A table's size, by a look at each of its pages; None where there is no such table."""

    def tables(self) -> list[str]:
        """User tables by name; those named ``_cdc_...`` are not among them."""

    def meta(self) -> dict[str, bytes]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
