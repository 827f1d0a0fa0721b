"""What SQLite's result codes mean to a user of this program, with what to do about each."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from cdc.source.errors import SourceLockedError
from schemas.errors import CdcError, SourceError, SourceUnavailableError, UsageError


class _Meaning(NamedTuple):
    error: type[CdcError]
    message: str
    remedy: str


_READ_ONLY = _Meaning(
    SourceError, "the source may not be written", "give this user write access to the file and its folder"
)
_UNREADABLE = _Meaning(
    SourceUnavailableError, "the source cannot be read now", "check the disk and the file's permissions"
)
_LOCKED = _Meaning(
    SourceLockedError,
    "the source is locked by another connection",
    "try again when its transaction has ended",
)

_MEANINGS: Final = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_NOTADB: _Meaning(
        UsageError, "the source is no SQLite database", "give the path of a database file"
    ),
    sqlite3.SQLITE_CANTOPEN: _UNREADABLE,
    sqlite3.SQLITE_IOERR: _UNREADABLE,
    sqlite3.SQLITE_CORRUPT: _Meaning(
        SourceError,
        "the source's file is damaged",
        "run PRAGMA integrity_check on it; restore a backup where that finds damage",
    ),
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_FULL: _Meaning(SourceUnavailableError, "the source's disk is full", "make room on it"),
    sqlite3.SQLITE_INTERRUPT: _Meaning(
        SourceUnavailableError, "a statement at the source was interrupted", "try again"
    ),
}
_PRIMARY_CODE = 0xFF


def is_undecodable(error: sqlite3.Error) -> bool:
    """Say whether sqlite3 failed because a TEXT is not UTF-8 (its message holds the text: never show it)."""
    return getattr(error, "sqlite_errorcode", None) is None and str(error).startswith("Could not decode")


def is_locked(error: sqlite3.Error) -> bool:
    """Say whether another connection's lock was in the way."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE == sqlite3.SQLITE_BUSY


def translate(error: sqlite3.Error) -> CdcError:
    """Make the error this program raises in place of sqlite3's."""
    if is_undecodable(error):
        return SourceError("the source holds TEXT that is not UTF-8 where none can be", "mend it there")
    code = getattr(error, "sqlite_errorcode", 0)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    meaning = _MEANINGS.get(code & _PRIMARY_CODE)
    if meaning is None:
        return SourceError(f"the source refused a statement: {error} ({name})", "see `cdc doctor`")
    return meaning.error(f"{meaning.message} ({name})", meaning.remedy)
