"""One writer a cache path: a lock beside the file, which outlives the file that a rebuild swaps.

redb locks the file itself; but a rebuild replaces the file, and two writers that each hold a lock on another
inode under one path would both believe that they own the cache.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consumers.cache_path import check_writable, real_path
from schemas.errors import CacheBusyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def lock_path(cache: Path) -> Path:
    """Where the lock of a cache file lies: beside the file itself, whatever links lead to it."""
    cache = real_path(cache)
    return cache.with_name(cache.name + ".lock")


class NodeLock:
    """Holds the right to write the cache at ``path``; the kernel frees it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._cache = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            CacheBusyError: another process writes this cache.
            UsageError: no cache can be written there: `check_writable`, or its folder may not be written.
        """
        check_writable(self._cache)
        path = lock_path(self._cache)
        try:
            # Whoever may read the folder may ask whether a writer lives (`writer_alive`).
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(
                f"cannot write beside the cache file: {path}: {error.strerror}",
                "give a path in a folder that exists and may be written",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise CacheBusyError(
                f"another process writes the cache {self._cache}",
                "stop it, or give this node a cache file of its own with --cache",
            ) from None
        self._fd = fd

    def release(self) -> None:
        """Gives it back; the file stays, so that nobody locks an unlinked one."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def writer_alive(cache: Path) -> bool:
    """Whether some process holds the right to write this cache; also where this user may not ask."""
    try:
        fd = os.open(lock_path(cache), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        # The lock is of another user: that nobody lives is more than can be said.
        return True
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
