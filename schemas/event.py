"""The change event: one Kafka record, one row change, with the group it belongs to (DESIGN section 3)."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.position import Position

EVENT_VERSION: Final = 1
"""The major version: a reader that meets a higher one must stop applying."""

NIL: Final = msgspec.Raw(b"\xc0")
"""The encoded nil: the key of control events, the row of deletes."""


class Op:
    """What an event says (the letters are Debezium's, where it has one)."""

    CREATE: Final = "c"
    UPDATE: Final = "u"
    DELETE: Final = "d"
    READ: Final = "r"
    """A row of a snapshot or of a table that is read anew."""
    TRUNCATE: Final = "t"
    """The table is read anew from here; ``after`` is its `TableDefinition`, nil when it leaves."""
    QUARANTINED: Final = "q"
    """A row that could not be published: nodes remove it and mark its key."""
    HEARTBEAT: Final = "h"
    """An empty group."""
    SNAPSHOT: Final = "s"
    """``after`` is an `Announcement`."""
    END: Final = "e"
    """The poller says goodbye."""


OPS: Final = frozenset("cudrtqhse")
ROW_OPS: Final = frozenset("cudrq")
"""Ops that speak of one row."""
CONTROL_OPS: Final = frozenset("hse")
"""Ops that speak of no table."""


class Head(msgspec.Struct, frozen=True):
    """A point in the chain of groups: where one leaves a reader.

    ``nonce`` is that of the log row ``change_id``; rows may be newer, up to row ``exact_at``, which has
    ``exact_nonce`` (None where they are not, or from a poller that did not tell yet). ``settings`` is a
    digest of what was configured to be published; 0 where that is everything.
    """

    epoch: int
    epoch_nonce: int
    change_id: int
    nonce: int
    exact_at: int
    settings: int = 0
    exact_nonce: int | None = None

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.epoch, self.change_id)


class ChangeEvent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One record. Encoded as an array in this order; later versions may append fields, never insert.

    ``key`` is an encoded array of the key's values and ``after`` an encoded map of column to value, both left
    as bytes (`NIL` when there is none): nodes store ``after`` without decoding it. A Raw that was decoded
    refers to the whole record; copy it (``Raw.copy()``) to keep it longer than the batch.

    A group is the state at ``high`` of every key touched in (``prev``, ``high``]; its records carry the same
    epoch, epoch_nonce, prev, high, nonce (of the log row high), prev_nonce (of the log row prev; None from
    pollers that did not tell yet), writer and ``settings`` (see `Head`), ``index`` from 0, and ``last`` on
    the final one, whose ``exact_at`` says how new the group's rows may be, and whose ``exact_nonce`` is that
    of this row of the log, where it is not high. ``prev_settings`` are those up to prev where they were
    others; such a group has all tables anew of which something else is published now. ``read_after`` is where
    the topic ended just before the source was read for the group, or seen not to have changed: what lies
    before had landed by then (None from pollers that did not tell yet). A record counts only if it landed at
    ``offset`` of the very topic that it was meant for, which has ``topic_id`` (see `counts`). ``ts_ms`` is
    milliseconds since 1970, UTC.

    What is too large for one record comes in ``parts`` consecutive ones, alike but for ``index``, ``last``,
    ``offset``, ``exact_at``, ``part`` (from 0) and ``after``, which is then a bin: a piece of what it would
    be.
    """

    version: int
    op: str
    table: str
    key: msgspec.Raw
    before: None
    after: msgspec.Raw
    change_id: int
    ts_ms: int
    epoch: int
    epoch_nonce: int
    prev: int
    high: int
    nonce: int
    exact_at: int
    index: int
    last: bool
    writer: int
    offset: int
    prev_nonce: int | None = None
    settings: int = 0
    prev_settings: int | None = None
    part: int = 0
    parts: int = 1
    exact_nonce: int | None = None
    read_after: int | None = None
    topic_id: int | None = None

    @property
    def head(self) -> Head:
        """Where this event's group leaves a reader that applied all of it."""
        return Head(
            self.epoch,
            self.epoch_nonce,
            self.high,
            self.nonce,
            self.exact_at,
            self.settings,
            self.exact_nonce,
        )


def counts(event: ChangeEvent, offset: int, topic_id: int | None) -> bool:
    """Whether an event counts that was read at ``offset`` of the topic with ``topic_id``.

    A topic that is deleted and made anew begins at offset 0 again: what was on its way to the old one may
    land in its successor at the offset it expected. Where the broker told either side no id, the offset
    decides.
    """
    return event.offset == offset and same_topic(event.topic_id, topic_id)


def same_topic(one: int | None, other: int | None) -> bool:
    """Whether two ids are of one topic, as far as they are known."""
    return one == other or one is None or other is None
