"""Why a broker refused a connection: aiokafka 0.14 says "Unable to bootstrap", and the reason in its log."""

from __future__ import annotations

import logging
import ssl
import time

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
)

from schemas.errors import UsageError

_REFUSED = (AuthenticationFailedError, AuthenticationMethodNotSupported, SaslAuthenticationFailed)


class _Listener(logging.Handler):
    """Remembers the newest failed connection."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.error: BaseException | None = None
        self.at_s = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Take the exception out of aiokafka's line."""
        last = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        if isinstance(last, BaseException) and str(record.msg).startswith("Unable connect"):
            self.error, self.at_s = last, time.monotonic()


_listener = _Listener()
logging.getLogger("aiokafka").addHandler(_listener)


def reason_since(began_s: float) -> BaseException | None:
    """The newest failed connection, if it is not older than that (`time.monotonic`)."""
    return _listener.error if _listener.at_s >= began_s else None


def refusal(doing: str, reason: BaseException | None) -> UsageError | None:
    """The error for credentials or certificates that are refused; None where it is something else."""
    if isinstance(reason, _REFUSED):
        return UsageError(
            f"{doing}: Kafka refuses the credentials",
            "correct kafka.sasl.mechanism, sasl.username and sasl.password (or sasl.jaas.config)",
        )
    if isinstance(reason, ssl.SSLCertVerificationError):
        return UsageError(
            f"{doing}: the broker's certificate is not trusted: {reason.verify_message}",
            "correct kafka.ssl.truststore.location (or ssl.ca.location)",
        )
    return None
