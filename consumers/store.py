"""The cache file as its one writer sees it: rows and checkpoint move together, or not at all."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consumers import _redb
from consumers.bounded import Layout, Writing
from consumers.changes import Ring, Touched
from consumers.meta import (
    QUARANTINE_TABLE,
    Checkpoint,
    Identity,
    checkpoint_meta,
    identity_meta,
    read_checkpoint,
    read_definitions,
    read_identity,
)
from schemas.errors import CacheBusyError, CacheCorruptError, CacheError, DamagedRowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from consumers.batch import Batch
    from schemas.definition import TableDefinition


class Store:
    """An open cache file. Its calls block: they belong on the applier's thread.

    Args:
        path: the file.
        database: the open database.
    """

    def __init__(self, path: Path, database: _redb.Database) -> None:
        self.path = path
        self.database = database
        self.checkpoint: Checkpoint | None = None
        self._layout = Layout({})
        self._writing: Writing | None = None
        self._owing = False
        """Bounded tables may hold too much: nothing was let go since the checkpoint was exact."""
        self._ring: Ring | None = None
        self._touched = Touched()
        self._inode = _inode(path)
        try:
            self._learn()
        except BaseException:
            database.close()
            raise

    @classmethod
    def create(cls, path: Path, node: str, *, shared: bool) -> Store:
        """Makes a new cache file; refuses to touch an existing one.

        Give it a name under which nobody looks for a cache: it has no identity for an instant.
        """
        with redb_errors(path):
            database = _redb.Database.create(path, shared=shared)
            database.apply({}, identity_meta(Identity(node=node, created_ms=time.time_ns() // 1_000_000)))
        return cls(path, database)

    @classmethod
    def open(cls, path: Path, *, shared: bool, check: bool = False) -> Store:
        """Opens an existing cache file for writing; repairs it after an unclean end.

        ``check``: verify every page of it also after a clean end.
        """
        with redb_errors(path):
            try:
                database = _redb.Database.open(path, shared=shared, check=check)
            except _redb.PanickedError:
                # What makes redb panic is damage that a look at every page names.
                database = _redb.Database.open(path, shared=shared, check=True)
        return cls(path, database)

    @property
    def definitions(self) -> Mapping[str, TableDefinition]:
        """The tables in the file, as of the last commit."""
        return self._layout.definitions

    def commit(self, batch: Batch, checkpoint: Checkpoint) -> None:
        """Makes a batch, and what was streamed before it, durable together with the checkpoint.

        Raises:
            CacheError: somebody removed or replaced the file; what we write would never be read.
        """
        if _inode(self.path) != self._inode:
            raise CacheError(
                f"the cache file {self.path} was removed or replaced", "it is opened or made again"
            )
        with redb_errors(self.path):
            meta = checkpoint_meta(checkpoint)
            # A commit that fails may have been written: the ring is looked at again.
            ring, self._ring = self._ring or Ring(self.database), None
            touched, self._touched = self._touched, Touched()
            touched.add(batch)
            plain = self._writing is None and not batch.truncated and self._layout.is_plain(batch.ops)
            if plain and not (self._owing and self._layout.bounds):
                self.database.apply({**batch.ops, **ring.ops(touched, checkpoint.position)}, meta)
            else:
                writing = self._begin()
                writing.put(batch)
                # At the end of whole groups: what makes room may come after what needs it. Where rows are
                # newer than the checkpoint, what has to stay is known when all of them have come.
                if checkpoint.exact:
                    writing.evict(touched, everything=self._owing)
                writing.transaction.put(ring.ops(touched, checkpoint.position))
                writing.transaction.set_meta(meta)
                writing.transaction.commit()
                self._writing, self._layout = None, writing.layout
        self.checkpoint, self._ring = checkpoint, ring
        self._owing = not checkpoint.exact

    def stream(self, batch: Batch) -> None:
        """Writes a part of a group that is too big for memory; nobody sees it before the commit."""
        with redb_errors(self.path):
            self._begin().put(batch)
        self._touched.add(batch)

    def take_back(self) -> None:
        """Undoes everything streamed since the last commit."""
        self._touched = Touched()
        if self._writing is not None:
            writing, self._writing = self._writing, None
            with redb_errors(self.path):
                writing.transaction.abort()

    def close(self) -> None:
        """Gives the file back; what was not committed is gone."""
        self.take_back()
        self.database.close()

    def quarantined(self) -> set[bytes]:
        """The record keys of all quarantined rows."""
        keys: set[bytes] = set()
        with redb_errors(self.path), self.database.snapshot() as snapshot:
            after: bytes | None = None
            while page := snapshot.scan(QUARANTINE_TABLE, after=after):
                keys.update(key for key, _, _ in page)
                after = page[-1][0]
        return keys

    def _learn(self) -> None:
        with redb_errors(self.path):
            meta = self.database.meta()
        if read_identity(meta) is None:
            raise UsageError(f"{self.path} is a redb file, but no cache of ours", "give another --cache path")
        self.checkpoint = read_checkpoint(meta)
        self._layout = Layout(read_definitions(meta))
        self._owing = self.checkpoint is not None and not self.checkpoint.exact

    def _begin(self) -> Writing:
        if self._writing is None:
            self._writing = Writing(self.database.begin(), self._layout)
        return self._writing


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def redb_errors(path: Path) -> Iterator[None]:
    """Turns the binding's errors into ours, with the remedy."""
    try:
        yield
    except _redb.BusyError as error:
        raise CacheBusyError(
            f"another process has the cache file {path} open for writing",
            "stop it, or give this node a cache file of its own with --cache",
        ) from error
    except _redb.NotFoundError as error:
        raise UsageError(f"there is no cache file {path}", "run: cdc sync, or give --cache") from error
    except _redb.NotADatabaseError as error:
        raise UsageError(f"{path} is no redb database", "give another --cache path") from error
    except _redb.DamagedRowError as error:
        own = error.table.startswith("_cdc_")
        kind = CacheCorruptError if own else DamagedRowError
        raise kind(
            f"a row in table {error.table!r} of the cache file {path} is damaged",
            "run: cdc rebuild" if own else "run: cdc verify --repair, or cdc rebuild",
        ) from error
    except (_redb.CorruptedError, _redb.PanickedError) as error:
        raise CacheCorruptError(f"the cache file {path} is damaged: {error}", "run: cdc rebuild") from error
    except _redb.StorageFullError as error:
        raise CacheError(f"no room to write the cache file {path}", "free disk space") from error
    except _redb.RedbError as error:
        raise CacheError(f"the cache file {path} failed: {error}", "see the log") from error
