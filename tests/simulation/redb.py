"""A simulated disk with redb files: commits are atomic, a killed process leaves what it committed."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from consumers import _redb
from schemas.errors import CacheBusyError
from tests.simulation.loop import PROCESS, Process, ProcessDied

if TYPE_CHECKING:
    from tests.simulation.world import World

Rows = dict[bytes, tuple[bytes, int]]


class File:
    """What one redb file holds after its last commit."""

    def __init__(self) -> None:
        self.tables: dict[str, Rows] = {}
        self.meta: dict[str, bytes] = {}
        self.writer: Process | None = None
        self.inode = 0
        self.made_at = 0.0


class Disk:
    """Files by name; all nodes have their own names."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.files: dict[str, File] = {}
        self.locks: dict[str, Process] = {}
        self.full_until = 0.0
        self.inodes = 0

    def committed(self, file: File) -> None:
        """Tells the world what readers of a cache path see now."""
        for name, other in self.files.items():
            if other is file and name in self.world.cache_names:
                self.world.committed(name, file)


def _world() -> World:
    process = PROCESS.get()
    if not process.alive:
        raise ProcessDied
    return process.world  # type: ignore[attr-defined]


def _failpoint(name: str) -> None:
    """A place inside blocking code where the process may be killed."""
    process = PROCESS.get()
    world: World = process.world  # type: ignore[attr-defined]
    if world.faults.crashes and world.rng.random() < world.failpoint_rate:
        world.note(process.name, "killed at failpoint %s", name)
        process.kill()
        raise ProcessDied


class Status(NamedTuple):
    """As much of a stat result as is read."""

    st_dev: int
    st_ino: int


class SimPath:
    """As much of a Path as the cache's writer uses."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.disk = disk
        self.name = name

    def __str__(self) -> str:
        return self.name

    @property
    def parent(self) -> SimPath:
        return SimPath(self.disk, "")

    def with_name(self, name: str) -> SimPath:
        return SimPath(self.disk, name)

    def exists(self) -> bool:
        return self.name in self.disk.files

    def stat(self) -> Status:
        if not self.exists():
            raise FileNotFoundError(self.name)
        return Status(0, self.disk.files[self.name].inode)

    def glob(self, pattern: str) -> list[SimPath]:
        return [SimPath(self.disk, name) for name in self.disk.files if fnmatch.fnmatch(name, pattern)]

    def unlink(self, *, missing_ok: bool = False) -> None:
        _world()
        if self.disk.files.pop(self.name, None) is None and not missing_ok:
            raise FileNotFoundError(self.name)

    def rename(self, target: SimPath) -> None:
        _world()
        _failpoint("before rename")
        file = self.disk.files.pop(self.name)
        self.disk.files[target.name] = file
        self.disk.world.note(PROCESS.get().name, "renames a loaded file to %s", target.name)
        self.disk.committed(file)
        _failpoint("after rename")


class SimLock:
    """Stands for NodeLock."""

    def __init__(self, path: SimPath) -> None:
        self._disk = path.disk
        self._name = path.name
        self._held = False

    def acquire(self) -> None:
        holder = self._disk.locks.get(self._name)
        if holder is not None and holder.alive:
            raise CacheBusyError("another process writes this cache")
        self._disk.locks[self._name] = PROCESS.get()
        self._held = True

    def release(self) -> None:
        if self._held and _world():
            self._held = False
            del self._disk.locks[self._name]


class SimDatabase:
    """Stands for _redb.Database."""

    def __init__(self, path: SimPath, file: File) -> None:
        holder = file.writer
        if holder is not None and holder.alive:
            raise _redb.BusyError("the file is open for writing")
        self._path = path
        self.file = file
        file.writer = PROCESS.get()
        self.transaction: SimTransaction | None = None

    @staticmethod
    def create(path: SimPath, *, shared: bool = True) -> SimDatabase:
        assert shared in (True, False)
        _world()
        if path.name in path.disk.files:
            raise _redb.ExistsError(path.name)
        file = path.disk.files[path.name] = File()
        path.disk.inodes += 1
        file.inode = path.disk.inodes
        file.made_at = path.disk.world.loop.now
        return SimDatabase(path, file)

    @staticmethod
    def open(path: SimPath, *, shared: bool = True, check: bool = False) -> SimDatabase:
        assert shared in (True, False)
        assert check in (True, False)
        _world()
        file = path.disk.files.get(path.name)
        if file is None:
            raise _redb.NotFoundError(path.name)
        return SimDatabase(path, file)

    def apply(self, ops: dict[str, list[Any]], meta: dict[str, bytes | None]) -> None:
        with self.begin() as transaction:
            transaction.put(ops)
            transaction.set_meta(meta)
            transaction.commit()

    def begin(self) -> SimTransaction:
        _world()
        if self.transaction is not None:
            raise _redb.BusyError("a transaction is open")
        self.transaction = SimTransaction(self)
        return self.transaction

    def snapshot(self) -> SimSnapshot:
        _world()
        return SimSnapshot(self.file)

    def meta(self) -> dict[str, bytes]:
        _world()
        return dict(self.file.meta)

    def close(self) -> bool:
        _world()
        self.transaction = None
        self.file.writer = None
        return True

    def count(self, table: str) -> int:
        _world()
        return len(self.file.tables.get(table, {}))

    def committed(self) -> None:
        self._path.disk.committed(self.file)


class SimTransaction:
    """Stands for _redb.WriteTransaction."""

    def __init__(self, database: SimDatabase) -> None:
        self._database = database
        self._tables = dict(database.file.tables)
        self._meta = dict(database.file.meta)
        self._own: set[str] = set()

    def put(self, ops: dict[str, list[Any]]) -> None:
        _world()
        for table, operations in ops.items():
            rows = self._table(table)
            for key, row, change_id in operations:
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = (bytes(row), change_id)

    def append(self, table: str, rows: list[tuple[bytes, bytes, int]]) -> None:
        self.put({table: rows})

    def append_packed(self, table: str, packed: msgspec.Raw) -> int | None:
        rows = msgspec.msgpack.decode(packed, type=list[tuple[bytes, msgspec.Raw, int]])
        if any(len(bytes(row)) == 1 for _, row, _ in rows):
            return None
        self.put({table: rows})
        return len(rows)

    def get_many(self, table: str, keys: list[bytes]) -> list[bytes | None]:
        _world()
        rows = self._tables.get(table, {})
        return [rows[key][0] if key in rows else None for key in keys]

    def scan(
        self,
        table: str,
        after: bytes | None = None,
        limit: int = 1000,
        prefix: bytes = b"",
        *,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes, int]]:
        _world()
        assert bytes_max is None or bytes_max > 0
        rows = sorted(self._tables.get(table, {}).items())
        found = [
            (key, *row) for key, row in rows if key.startswith(prefix) and (after is None or key > after)
        ]
        return found[:limit]

    def count(self, table: str) -> int:
        _world()
        return len(self._tables.get(table, {}))

    def truncate(self, table: str, key_type: str = "tuple") -> None:
        _world()
        assert key_type == "tuple"
        self._tables[table] = {}
        self._own.add(table)

    def drop_table(self, table: str) -> bool:
        _world()
        self._own.discard(table)
        return self._tables.pop(table, None) is not None

    def set_meta(self, meta: dict[str, bytes | None]) -> None:
        _world()
        for name, value in meta.items():
            if value is None:
                self._meta.pop(name, None)
            else:
                self._meta[name] = value

    def commit(self) -> None:
        _world()
        assert self._database.transaction is self
        world = _world()
        if world.loop.now < world.disk.full_until:
            raise _redb.StorageFullError("no room")
        _failpoint("before commit")
        file = self._database.file
        file.tables, file.meta = self._tables, self._meta
        self._database.transaction = None
        self._database.committed()
        _failpoint("after commit")

    def abort(self) -> None:
        _world()
        if self._database.transaction is self:
            self._database.transaction = None

    def _table(self, table: str) -> Rows:
        if table not in self._own:
            self._own.add(table)
            self._tables[table] = dict(self._tables.get(table, {}))
        return self._tables[table]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if PROCESS.get().alive:
            self.abort()


class SimSnapshot:
    """Stands for _redb.Snapshot, as far as the writer reads."""

    def __init__(self, file: File) -> None:
        self._tables = file.tables

    def scan(
        self,
        table: str,
        after: bytes | None = None,
        limit: int = 1000,
        *,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes, int]]:
        assert bytes_max is None or bytes_max > 0
        rows = sorted(self._tables.get(table, {}).items())
        return [(key, *row) for key, row in rows if after is None or key > after][:limit]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class SimRedb:
    """Stands for the module consumers._redb."""

    Database = SimDatabase

    def __getattr__(self, name: str) -> Any:
        return getattr(_redb, name)
