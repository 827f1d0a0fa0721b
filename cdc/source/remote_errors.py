"""What a remote source's refusals mean to a user of this program, with what to do about each.

Nothing here shows a URL's credentials or a token: neither is ever a part of what servers answer.
"""

from __future__ import annotations

from typing import Final

from cdc.source.errors import SourceLockedError
from schemas.errors import CdcError, SourceError, SourceUnavailableError, UsageError

_SHOWN_CHARACTERS_MAX: Final = 300

_BUSY_CODES: Final = frozenset(
    ("SQLITE_BUSY", "SQLITE_LOCKED", "TRANSACTION_BUSY", "TRANSACTION_TIMEOUT", "SQLITE_BUSY_SNAPSHOT")
)
_LOST_CODES: Final = frozenset(("STREAM_EXPIRED", "STREAM_CLOSED", "BATON_INVALID", "BATON_REUSED"))
_TOO_LARGE: Final = "RESPONSE_TOO_LARGE"

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_TOO_MANY_REQUESTS: Final = 429
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500


class TooLargeError(Exception):
    """The answer is larger than the server gives: ask for less."""


def refused_statement(message: str, code: str | None) -> Exception:
    """Make the error in place of a server's refusal of one statement."""
    if code == _TOO_LARGE:
        return TooLargeError()
    lowered = message.lower()
    if code in _BUSY_CODES or "database is locked" in lowered or "transaction timed out" in lowered:
        return SourceLockedError(
            f"the source is locked by another connection ({code or 'busy'})",
            "try again when its transaction has ended",
        )
    if code in _LOST_CODES:
        return lost_transaction()
    if code == "AUTH_JWT_INVALID" or "not authorized" in lowered:
        return UsageError(
            f"the source allows these credentials too little: {_shown(message)}",
            "give a token that may read and write in source.auth_token",
        )
    return SourceError(f"the source refused a statement: {_shown(message)} ({code})", "see `cdc doctor`")


def refused_request(status: int, message: str, code: str | None) -> CdcError:
    """Make the error in place of an HTTP status that is no success."""
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return UsageError(
            f"the source refuses the credentials (HTTP {status})", "give a valid token in source.auth_token"
        )
    if status == _NOT_FOUND:
        return UsageError("there is no database at the source's URL (HTTP 404)", "check source.url")
    if status == _BAD_REQUEST and (code in _LOST_CODES or "baton" in message.lower()):
        return lost_transaction()
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        return SourceUnavailableError(
            f"the source cannot answer now (HTTP {status}): {_shown(message)}", "see the server's log"
        )
    return SourceError(
        f"the source refused a request (HTTP {status}): {_shown(message)}",
        "check that source.url is a database",
    )


def refused_handshake(status: int) -> CdcError:
    """Make the error in place of a server's refusal to open a WebSocket."""
    if status in (_UNAUTHORIZED, _FORBIDDEN) or status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        return refused_request(status, "", None)
    return UsageError(
        f"the source's server opens no WebSocket (HTTP {status})", "give the URL as https:// or http://"
    )


def lost_transaction() -> SourceUnavailableError:
    """Make the error of a transaction that the server has ended, or forgotten."""
    return SourceUnavailableError("the source has ended the transaction before its time", "try again")


def refused_certificate(error: Exception) -> UsageError:
    """Make the error of a server whose certificate proves nothing to us: unknown authority, other host."""
    reason = getattr(error, "verify_message", "") or type(error).__name__
    return UsageError(
        f"the source's certificate is not trusted: {_shown(reason).rstrip('.')}",
        "name its authority's PEM file in the environment variable SSL_CERT_FILE, "
        "or give the host that it is made out to",
    )


def unreachable(reason: str) -> SourceUnavailableError:
    """Make the error of a source that does not answer."""
    return SourceUnavailableError(
        f"the source cannot be reached: {_shown(reason)}", "check that its server runs and source.url"
    )


def _shown(message: str) -> str:
    """Give a server's words as a part of one line."""
    return " ".join(message.split())[:_SHOWN_CHARACTERS_MAX]
