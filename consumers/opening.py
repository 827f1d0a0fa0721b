"""Opens a cache file to read it, repairing what a killed writer left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from consumers import _redb
from consumers.cache_path import check_readable
from consumers.meta import read_identity
from consumers.nodelock import node_lock
from consumers.store import redb_errors
from schemas.errors import CacheBusyError, CacheError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

REPAIR_WAIT_S = 10.0
"""How long a reader waits for another process that is repairing the file."""
_PAUSE_S = 0.02


def open_to_read(path: Path) -> tuple[_redb.Database, tuple[int, int]]:
    """Open a cache file to read; return it with the device and inode that it had.

    redb lets nobody read a file whose writer was killed before a writer has repaired it. Where no writer
    lives to do so, this opens it for writing once.

    Raises:
        UsageError: there is no such file, it may not be read, or it is no cache of ours.
        CacheBusyError: its writer does not share it, or a repair did not end in time.
        CacheCorruptError: it is damaged.
        CacheError: it needs repair and may not be written.
    """
    check_readable(path)
    deadline_s = time.monotonic() + REPAIR_WAIT_S
    while True:
        inode = _inode(path)
        with redb_errors(path):
            try:
                database = _redb.Database.open_read_only(path)
            except _redb.RepairNeededError:
                if not _repair(path) and time.monotonic() > deadline_s:
                    raise
                continue
            except _redb.BusyError as error:
                raise CacheBusyError(
                    f"the process that writes the cache file {path} does not share it",
                    'set cache.readers = "shared" there, or stop it',
                ) from error
            if read_identity(database.meta()) is None:
                database.close()
                raise UsageError(f"{path} is a redb file, but no cache of ours", "give another --cache path")
            return database, inode


def _repair(path: Path) -> bool:
    """Repair the file where no writer lives; else leave it to that one, and return False after a pause."""
    try:
        with node_lock(path):
            _redb.Database.open(path, shared=True).close()
    except (CacheBusyError, _redb.BusyError):
        time.sleep(_PAUSE_S)
        return False
    except (UsageError, _redb.IoError) as error:
        raise CacheError(
            f"the cache file {path} needs repair and may not be written by this user",
            "start its node, or run this command as the user who runs it",
        ) from error
    return True


def _inode(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino
