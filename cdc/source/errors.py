"""What a source's failures are to those who tell of them."""

from __future__ import annotations

from schemas.errors import SourceUnavailableError


class SourceLockedError(SourceUnavailableError):
    """The source is there, and another connection keeps us out of it for now."""


class SourceMovedError(SourceLockedError):
    """What a transaction had read was changed before it ended, where nothing can keep others from that."""
