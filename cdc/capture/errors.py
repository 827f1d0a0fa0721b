"""What a reader of the log can meet that a poller must answer."""

from __future__ import annotations

from schemas.errors import CdcError


class CaptureStaleError(CdcError):
    """Triggers are missing or older than the schema: `Capture.install` makes them true again."""


class LogBrokenError(CdcError):
    """The log is not one unbroken sequence where it was read: only a new epoch helps."""
