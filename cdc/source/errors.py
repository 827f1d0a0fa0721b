"""What a source's failures are to those who tell of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc.source.client import Statement


class SourceLockedError(SourceUnavailableError):
    """The source is there, and another connection keeps us out of it for now."""


class SourceMovedError(SourceLockedError):
    """What a transaction had read was changed before it ended, where nothing can keep others from that.

    Attributes:
        asked: what it had asked; who asks it all at once, with `Transaction.ahead`, gets it of one moment.
    """

    def __init__(self, asked: Sequence[Statement]) -> None:
        super().__init__(
            "what was read at the source was changed by another client before all of it was",
            "it is tried again",
        )
        self.asked = asked
