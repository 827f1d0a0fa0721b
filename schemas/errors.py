"""The one exception tree of the project, and the exit code each branch leads to.

Every error carries a remedy: what the reader of the line can do about it. The command line prints
``error: MESSAGE; REMEDY`` and ends with ``exit_code``; nothing else decides exit codes.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command's exit status says (CONTRACT: the table of exit codes)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DIFFERENT = 3
    OPERATOR = 4
    GAVE_UP = 5
    NO_ROW = 6


class CdcError(Exception):
    """Base of every error this project raises.

    Args:
        message: what is wrong, and where, in one line; never a cell value or a secret.
        remedy: what to do about it, in one line.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class UsageError(CdcError):
    """Something wrong in what was given: flags, configuration, paths, keys, credentials."""

    exit_code = ExitCode.USAGE


class OperatorError(CdcError):
    """Nothing here can heal it: an operator must decide."""

    exit_code = ExitCode.OPERATOR


class GaveUpError(CdcError):
    """The source, Kafka or a lock was not reached within the command's --timeout."""

    exit_code = ExitCode.GAVE_UP


class NoRowError(CdcError):
    """There is no such row in the cache."""

    exit_code = ExitCode.NO_ROW


class SourceError(CdcError):
    """The source failed while working."""


class SourceUnavailableError(SourceError):
    """The source cannot be reached now; trying again may help."""


class KafkaUnavailableError(CdcError):
    """Kafka cannot be reached now; trying again may help."""


class MissingRightError(CdcError):
    """Kafka's access control keeps us from something: an operator must grant it."""


class CacheError(CdcError):
    """The cache file failed while working."""


class CacheBusyError(CacheError):
    """Another writer has the cache file."""


class CacheCorruptError(CacheError):
    """The cache file is damaged: it must be repaired or rebuilt, never trusted."""


class OutdatedFileError(CacheCorruptError):
    """The cache file is of an earlier format: it is loaded anew, and until then refused."""


class DamagedRowError(CacheCorruptError):
    """A stored row fails its check: it is refused, the others are served."""


class ExpiredError(CacheError):
    """A state of the cache was held for longer than it may be."""


class WatchLostError(CacheError):
    """What changed in a watched table cannot be told one by one: it has to be read again."""


class UnsupportedVersionError(CdcError):
    """An event or a file is of a newer major version than this program."""


class BadEventError(CdcError):
    """A record is not an event of ours."""


def may_heal(error: CdcError, *, begun: bool) -> bool:
    """Whether a program that runs for ever tries again after this error.

    What was given wrong, what we may not do, and a cache that somebody else writes, are told at once; once it
    worked (``begun``), whatever goes away may come back. What only a person can decide ends it at any time.
    """
    if isinstance(error, (OperatorError, UnsupportedVersionError)):
        return False
    return begun or not isinstance(error, (UsageError, CacheBusyError, MissingRightError))
