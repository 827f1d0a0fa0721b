"""What may lie at a cache path, looked at before anything is opened, locked or made there.

Opening a FIFO waits for ever, and a lock beside a path that holds no cache is litter.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from schemas.errors import UsageError

MAGIC = b"redb\x1a\x0a\xa9\x0d\x0a"
"""The first bytes of every redb file (redb, docs/design.md)."""

_NAME_BYTES_MAX = 230
"""What is put beside a cache has its name and more (``.lock``, ``.loading``, ``.corrupt-``), 255 in all."""

_ANOTHER = "give another path with --cache"


def real_path(path: Path) -> Path:
    """Return what a symbolic link at ``path`` leads to: a rebuild replaces that, and its lock is there."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 -- never raises


def check_readable(path: Path) -> None:
    """Refuse a path that no cache can be read from; that there is no file is for the caller to tell.

    Raises:
        UsageError: it is a folder, a FIFO or the like, or may not be read or even looked at.
    """
    if _is_file(path) and not os.access(path, os.R_OK):
        raise UsageError(f"the cache file {path} may not be read", "give this user access to it, or --cache")


def check_writable(path: Path) -> None:
    """Refuse a path at which no cache can be written; a file that does not exist yet is fine.

    Raises:
        UsageError: what lies there is no redb file, or may not be read and written, or its folder is none.
    """
    if len(os.fsencode(path.name)) > _NAME_BYTES_MAX:
        raise UsageError("the name of the cache file is too long", _ANOTHER)
    if not _is_file(path):
        folder = path.parent
        if not folder.is_dir():
            raise UsageError(
                f"there is no folder {folder} for the cache file", "make it, or give another --cache"
            )
        return
    if not os.access(path, os.R_OK | os.W_OK):
        raise UsageError(
            f"the cache file {path} may not be read and written", "give this user access to it, or --cache"
        )
    # redb's own locks belong to its open file (F_OFD_SETLK), so that closing this one frees none of them.
    try:
        with path.open("rb") as file:
            # One of no bytes holds nothing that could be lost: it is loaded, as where there is none.
            is_redb = file.read(len(MAGIC)) in (MAGIC, b"")
    except FileNotFoundError:
        # Its owner has just set it aside: whether we may follow, the lock decides.
        return
    except OSError as error:
        raise _unusable(path, error) from None
    if not is_redb:
        raise UsageError(f"{path} is no redb database", _ANOTHER)


def is_empty(path: Path) -> bool:
    """Say whether a file has no bytes; what cannot be told is for whoever opens it."""
    try:
        return os.path.getsize(str(path)) == 0  # noqa: PTH202 -- the simulation has other paths
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, error) from None
    if stat.S_ISREG(mode):
        return True
    kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
    raise UsageError(f"{path} is {kind}, and no redb database", _ANOTHER)


def _unusable(path: Path, error: OSError) -> UsageError:
    shown = "the cache path" if error.errno == errno.ENAMETOOLONG else f"the cache path {path}"
    return UsageError(f"{shown} cannot be used: {error.strerror}", _ANOTHER)
