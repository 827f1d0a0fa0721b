"""Deciding what a poll publishes. Pure: no I/O, no clock.

A publication (a topic, an embedded cache) stands at a head; the log says what there is. Whatever does not
follow from one to the other without a gap is answered with a load, never with a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from cdc.capture.log import has_exact_row
from schemas.event import Head

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cdc.capture import LogState
    from schemas.definition import TableDefinition


class Idle(msgspec.Struct, frozen=True):
    """Nothing was committed since."""


class Changes(msgspec.Struct, frozen=True):
    """Publish the keys touched in (prev, high] with their state now."""

    prev: int
    high: int


class Load(msgspec.Struct, frozen=True):
    """Publish every row: changes alone do not lead from the head to the log's end."""

    reason: str


class NewEpoch(msgspec.Struct, frozen=True):
    """The log is not the one that the head knows: begin a new life of it above ``above``, then load.

    ``certain``: there is nothing to look at twice, the log is broken in itself.
    """

    above: int
    reason: str
    certain: bool = False


Plan = Idle | Changes | Load | NewEpoch


def log_head(state: LogState, settings: int) -> Head:
    """Where a publication stands that has everything up to the log's end, read in one transaction.

    ``settings`` is a digest of what is published.
    """
    return Head(
        epoch=state.epoch,
        epoch_nonce=state.epoch_nonce,
        change_id=state.high,
        nonce=state.high_nonce,
        exact_at=state.high,
        settings=settings,
    )


def as_new_as(head: Head, newest: LogState) -> Head:
    """The head of a group whose rows were read in several moments, the newest of which is given."""
    exact_nonce = None if newest.high == head.change_id else newest.high_nonce
    return replace(head, exact_at=newest.high, exact_nonce=exact_nonce)


def plan_poll(head: Head | None, state: LogState) -> Plan:  # noqa: PLR0911 -- a table of findings
    """Says what leads a publication that stands at ``head`` (None: nowhere yet) to the end of the log.

    ``state`` must have been read with `cdc.capture.log.rows_of` of the head.
    """
    if head is None:
        return Load("nothing was loaded yet")
    if state.epoch > head.epoch:
        return Load("the log's epoch is newer")
    if (state.epoch, state.epoch_nonce) != (head.epoch, head.epoch_nonce):
        return NewEpoch(above=head.epoch, reason="the log is another one than the one that was followed")
    if max(head.change_id, head.exact_at) > state.high:
        return NewEpoch(above=head.epoch, reason="the log ends below what was already published")
    if head.change_id <= state.pruned_to:
        # Tested before the nonce: the row is gone for a good reason, and nobody else is condemned for it.
        return Load("the log was pruned beyond what was published")
    if state.prev_nonce != head.nonce or not has_exact_row(head, state):
        # Rows were published as of exact_at already, though their group ended before it.
        return NewEpoch(above=head.epoch, reason="the log was rewritten below what was already published")
    if state.high == head.change_id:
        return Idle()
    return Changes(prev=head.change_id, high=state.high)


def plan_reread(
    captured: Mapping[str, TableDefinition], known: Collection[str], held: Mapping[str, int] | None
) -> frozenset[str]:
    """Says which tables must be read anew, or dropped, by readers that hold them by other settings.

    Args:
        captured: the tables to publish.
        known: every table that the log ever spoke of.
        held: the settings' digests by which readers hold tables; None where nothing is known of them. A table
            that is not in it may have joined since.
    """
    if held is None:
        return frozenset(known)
    wanted = {name: table.settings for name, table in captured.items()}
    return frozenset(name for name in {*known, *held} if name not in wanted or held.get(name) != wanted[name])
