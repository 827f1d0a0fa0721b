"""How far a cache is behind: it behind the topic, and the topic behind the source. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdc.plan import Load, NewEpoch, plan_poll

if TYPE_CHECKING:
    from cdc.capture import Backlog, LogState
    from consumers.meta import Checkpoint
    from schemas.event import Head

_MS_A_SECOND = 1000


class Lag(msgspec.Struct, frozen=True):
    """Records or log rows behind, and since when in seconds; None where it is unknown, with the reason."""

    events: int | None = None
    seconds: float | None = None
    reason: str | None = None


LEVEL = Lag(0, 0.0)


def lag_behind_source(
    head: Head | None, state: LogState | None, backlog: Backlog | None, now_s: float
) -> Lag:
    """How far a publication (a topic, an embedded cache) that stands at ``head`` is behind its source.

    Args:
        head: None: nowhere.
        state: the log's, read after ``head``, with ``prev_nonce`` of the row ``head.change_id``; None where
            the source did not tell.
        backlog: what is in the log above ``head``.
        now_s: Unix time.
    """
    if state is None or backlog is None:
        return Lag(reason="the source does not tell")
    plan = plan_poll(head, state)
    if isinstance(plan, (Load, NewEpoch)):
        # The log's rows say nothing of what will be loaded: all there is, perhaps.
        return Lag(reason=plan.reason)
    oldest_ms = backlog.oldest_ms
    seconds = 0.0 if oldest_ms is None else max(0.0, now_s - oldest_ms / _MS_A_SECOND)
    return Lag(backlog.pending, round(seconds, 3))


def lag_behind_topic(
    checkpoint: Checkpoint, head: Head | None, end_offset: int | None, *, leads_on: bool = True
) -> Lag:
    """How far a cache is behind a topic whose last group leads to ``head``, read after the checkpoint.

    ``leads_on``: the topic holds what the cache applied last, as far as that can be told.
    """
    if end_offset is None:
        return Lag(reason="Kafka does not tell")
    if checkpoint.offset is None:
        return Lag(reason="the cache was not filled from a topic")
    if head is None:
        return Lag(reason="the topic holds no changes")
    if (checkpoint.epoch, checkpoint.epoch_nonce) == (head.epoch, head.epoch_nonce):
        # Void records and empty groups are no changes: at the chain's end nothing is missing.
        if (checkpoint.change_id, checkpoint.nonce) == (head.change_id, head.nonce):
            return LEVEL
        lost = checkpoint.change_id >= head.change_id
    else:
        lost = checkpoint.epoch >= head.epoch
    if lost or not leads_on:
        return Lag(reason="the topic was begun anew, or is of another database or history of it")
    return Lag(max(1, end_offset - checkpoint.offset))


def whole_lag(topic: Lag, source: Lag) -> Lag:
    """The lag of a cache behind the source, with a topic between them."""
    if topic.events is None or source.events is None:
        return Lag(reason=topic.reason or source.reason)
    # Of what is in the topic and not applied yet nobody knows the age.
    seconds = None if topic.seconds is None else source.seconds
    return Lag(topic.events + source.events, seconds)
