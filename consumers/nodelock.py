"""One writer a cache path: a lock beside the file, which outlives the file that a rebuild swaps.

redb locks the file itself; but a rebuild replaces the file, and two writers that each hold a lock on another
inode under one path would both believe that they own the cache.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.errors import CacheBusyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def lock_path(cache: Path) -> Path:
    """Where the lock of a cache file lies."""
    return cache.with_name(cache.name + ".lock")


class NodeLock:
    """Holds the right to write the cache at ``path``; the kernel frees it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = lock_path(path)
        self._fd: int | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            CacheBusyError: another process writes this cache.
            UsageError: the folder does not exist or cannot be written.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"cannot write beside the cache file: {self._path}: {error.strerror}",
                "give a path in a folder that exists and may be written",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise CacheBusyError(
                f"another process writes the cache {self._path.with_suffix('')}",
                "stop it, or give this node a cache file of its own with --cache",
            ) from None
        self._fd = fd

    def release(self) -> None:
        """Gives it back; the file stays, so that nobody locks an unlinked one."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def writer_alive(cache: Path) -> bool:
    """Whether some process holds the right to write this cache."""
    try:
        fd = os.open(lock_path(cache), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def node_lock(cache: Path) -> Iterator[None]:
    """The right to write the cache, for the length of a block."""
    lock = NodeLock(cache)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
