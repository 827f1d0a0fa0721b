"""What a node that Kafka feeds asks of the source, where it has access to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from consumers.groups import Group
    from consumers.writer import CacheWriter
    from schemas.event import Head


class SourceAccess(Protocol):
    """The source. The capture side has it; whoever knows both sides passes it in."""

    async def load(self, writer: CacheWriter) -> int:
        """Brings the cache to the state of the source by loading all of it; returns the rows."""
        ...

    async def leads_through(self, head: Head, group: Group) -> bool:
        """Whether the row of the log at ``head`` is among those that the group was made from.

        False also where the log does not tell any more. True once and for all: the group may be applied to
        what is exact at ``head``, whatever happens at the source meanwhile.

        Raises:
            SourceUnavailableError: the source is away.
        """
        ...

    async def has_lost(self, head: Head) -> bool:
        """Whether the log was restored to below ``head``, in the same life: no group leads on from there.

        Raises:
            SourceUnavailableError: the source is away.
        """
        ...
