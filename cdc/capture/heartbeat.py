"""A log row of our own, which shows that what is committed at the source comes through to a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cdc.capture.ddl import NO_TABLE_ID, NOW_MS, OP_HEARTBEAT
from cdc.identifiers import LOG

if TYPE_CHECKING:
    from cdc.source import Client
    from schemas.event import Head

# Only behind the very row the reader stands on: not while anything before it has not come through.
HEARTBEAT_SQL: Final = f"""
INSERT INTO {LOG} (tbl, op, ts, nonce)
SELECT {NO_TABLE_ID}, '{OP_HEARTBEAT}', {NOW_MS}, random()
FROM (SELECT nonce FROM {LOG} ORDER BY change_id DESC LIMIT 1) AS newest WHERE newest.nonce = ?"""


async def write_heartbeat(client: Client, head: Head) -> bool:
    """Log a heartbeat if the reader at ``head`` has all there is in the log; say whether it does."""
    return (await client.execute(HEARTBEAT_SQL, (head.nonce,))).rows_affected > 0
