"""Leases: what each reader of the log says of how far it came, so that no row it still needs is pruned.

A lease holds the log from its position on, that row included, while it is live (renewed within
`limits.LEASE_SECONDS_MAX`) and of the log's present life: a reader of another life loads everything in any
case. A reader may stand higher than its lease, which it renews only now and then, never lower. Times are by
the source's own clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cdc.capture import limits
from cdc.capture.ddl import NOW_MS
from cdc.identifiers import LEASES, LOG, META

if TYPE_CHECKING:
    from cdc.source import Client, Transaction
    from schemas.event import Head

TOPIC: Final = "topic"
CACHE: Final = "cache"


class Reader(msgspec.Struct, frozen=True):
    """Who reads a log: ``kind`` is `TOPIC` or `CACHE`, ``name`` the topic's name or the node's."""

    kind: str
    name: str


class Lease(msgspec.Struct, frozen=True):
    """How far a reader came for good, and when it last said so (Unix time in ms, the source's clock)."""

    kind: str
    name: str
    epoch: int
    epoch_nonce: int
    change_id: int
    renewed_ms: int

    def is_live(self, now_ms: int) -> bool:
        """Whether its reader is still reckoned with.

        A time far ahead was written by a clock that was wrong: it must not hold the log for ever.
        """
        return abs(now_ms - self.renewed_ms) <= lease_ms_max()


def lease_ms_max() -> int:
    """How long a silent reader is reckoned with."""
    return int(limits.LEASE_SECONDS_MAX * 1000)


LEASES_SQL: Final = (
    f"SELECT kind, name, epoch, epoch_nonce, change_id, renewed_ms FROM {LEASES} ORDER BY kind, name"
)

# No more than one statement each: the application's writes come first.
#
# One that is late must not take away what a load has secured in a new life of the log meanwhile.
RENEW_SQL: Final = f"""
INSERT OR REPLACE INTO {LEASES} (kind, name, epoch, epoch_nonce, change_id, renewed_ms)
SELECT r.kind, r.name, r.epoch, r.epoch_nonce, r.change_id, {NOW_MS}
FROM (SELECT ? AS kind, ? AS name, ? AS epoch, ? AS epoch_nonce, ? AS change_id) AS r
WHERE NOT EXISTS (
    SELECT 1 FROM {LEASES} AS s, {META} AS m
    WHERE s.kind = r.kind AND s.name = r.name AND s.epoch = m.epoch AND s.epoch_nonce = m.epoch_nonce
      AND (r.epoch != m.epoch OR r.epoch_nonce != m.epoch_nonce))"""

# A reader that still stands lower in this life goes on from there if the load comes to nothing.
SECURE_SQL: Final = f"""
INSERT OR REPLACE INTO {LEASES} (kind, name, epoch, epoch_nonce, change_id, renewed_ms)
SELECT r.kind, r.name, m.epoch, m.epoch_nonce,
       min(l.high, coalesce(
           (SELECT s.change_id FROM {LEASES} AS s
            WHERE s.kind = r.kind AND s.name = r.name AND s.epoch = m.epoch
              AND s.epoch_nonce = m.epoch_nonce AND s.change_id > m.pruned_to),
           l.high)),
       {NOW_MS}
FROM (SELECT ? AS kind, ? AS name) AS r, {META} AS m, (SELECT max(change_id) AS high FROM {LOG}) AS l
WHERE l.high IS NOT NULL"""

HELD_SQL: Final = f"""
SELECT count(*) FROM {LEASES} AS s, {META} AS m
WHERE s.kind = ? AND s.name = ? AND s.epoch = m.epoch AND s.epoch_nonce = m.epoch_nonce
  AND s.change_id > m.pruned_to AND s.renewed_ms BETWEEN {NOW_MS} - ? AND {NOW_MS} + ?"""

FRESH_SQL: Final = f"""
SELECT count(*) FROM {LEASES} AS s
WHERE s.kind = ? AND s.name = ? AND s.epoch = ? AND s.epoch_nonce = ? AND s.change_id = ?
  AND s.renewed_ms BETWEEN {NOW_MS} - ? AND {NOW_MS} + ?"""


async def secure(client: Client, reader: Reader) -> None:
    """Write a lease before a load: at the log's end, or where the reader stands if that is below.

    Whatever the load will need is above: its read transaction begins later.
    """
    await client.execute(SECURE_SQL, (reader.kind, reader.name))


async def is_held(transaction: Transaction, reader: Reader) -> bool:
    """Say whether the reader has a lease in this life of the log that will hold for long."""
    half_ms = lease_ms_max() // 2
    rows = (await transaction.execute(HELD_SQL, (reader.kind, reader.name, half_ms, half_ms))).rows
    return rows[0][0] > 0


async def renew(client: Client, reader: Reader, head: Head) -> None:
    """Write where the reader stands for good; a lease of the log's present life yields to no other life's."""
    at = (head.epoch, head.epoch_nonce, head.change_id)
    await client.execute(RENEW_SQL, (reader.kind, reader.name, *at))


async def renew_unless_fresh(client: Client, reader: Reader, head: Head) -> None:
    """Write where the reader stands for good, if its lease does not say so already."""
    fresh_ms = int(limits.LEASE_IDLE_SECONDS * 1000)
    at = (head.epoch, head.epoch_nonce, head.change_id)
    async with client.reading() as transaction:
        rows = (
            await transaction.execute(FRESH_SQL, (reader.kind, reader.name, *at, fresh_ms, fresh_ms))
        ).rows
    if not rows[0][0]:
        await renew(client, reader, head)


async def read_leases(transaction: Transaction) -> list[Lease]:
    """Read every lease, live or not."""
    return [Lease(*row) for row in (await transaction.execute(LEASES_SQL)).rows]
