"""Records as a poller publishes them, made by hand for tests of those who read them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from schemas.codec import encode_definition, encode_event, encode_row, encode_values
from schemas.definition import Column, TableDefinition
from schemas.event import EVENT_VERSION, NIL, ChangeEvent, Head, Op
from schemas.keys import encode_key, record_key

TABLE = "t"
DEFINITION = TableDefinition(TABLE, (Column("id", "INTEGER"), Column("v", "TEXT")), ("id",))


class Landed(msgspec.Struct, frozen=True):
    """A record in a topic."""

    offset: int
    key: bytes | None
    value: bytes | None


def head(change_id: int, epoch: int = 1, epoch_nonce: int = 11, exact_at: int | None = None) -> Head:
    """A point in a chain; a log row's nonce is a function of its id here."""
    return Head(
        epoch, epoch_nonce, change_id, nonce_of(change_id), change_id if exact_at is None else exact_at
    )


def nonce_of(change_id: int) -> int:
    return change_id * 7919 + 13


def group(
    base: int,
    prev: int,
    high: int,
    rows: list[tuple[int, str | None]],
    *,
    writer: int = 1,
    landed: int | None = None,
    epoch: int = 1,
    epoch_nonce: int = 11,
    truncate: bool = False,
    exact_at: int | None = None,
    exact_nonce: int | None = None,
    read_after: int | None = None,
    topic_id: int | None = None,
    op: str = Op.HEARTBEAT,
    nonce: int | None = None,
    prev_nonce: int | None = None,
    settings: int = 0,
) -> list[Landed]:
    """The records of one group that expected to begin at offset ``base`` and landed at ``landed``.

    ``rows`` are (id, v), v None for a delete; without rows the group is one control record ``op``. The
    nonces are those of `head` unless given.
    """
    bodies: list[dict[str, Any]] = []
    if truncate:
        bodies.append({"op": Op.TRUNCATE, "table": TABLE, "after": Raw(encode_definition(DEFINITION))})
    for row_id, value in rows:
        after = NIL if value is None else Raw(encode_row(("id", "v"), (row_id, value)))
        bodies.append(
            {
                "op": Op.DELETE if value is None else Op.UPDATE,
                "table": TABLE,
                "key": Raw(encode_values((row_id,))),
                "after": after,
                "record_key": record_key(TABLE, encode_key((row_id,))),
            }
        )
    bodies = bodies or [{"op": op, "table": ""}]
    records = []
    for index, body in enumerate(bodies):
        key = body.pop("record_key", b"")
        event = ChangeEvent(
            version=EVENT_VERSION,
            op=body["op"],
            table=body["table"],
            key=body.get("key", NIL),
            before=None,
            after=body.get("after", NIL),
            change_id=high,
            ts_ms=0,
            epoch=epoch,
            epoch_nonce=epoch_nonce,
            prev=prev,
            high=high,
            nonce=nonce_of(high) if nonce is None else nonce,
            exact_at=high if exact_at is None else exact_at,
            index=index,
            last=index == len(bodies) - 1,
            writer=writer,
            offset=base + index,
            prev_nonce=nonce_of(prev) if prev_nonce is None else prev_nonce,
            settings=settings,
            exact_nonce=exact_nonce,
            read_after=read_after,
            topic_id=topic_id,
        )
        start = base if landed is None else landed
        records.append(Landed(start + index, key, encode_event(event)))
    return records
