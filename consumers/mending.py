"""Puts single rows of a cache right: as they are at the source, at the node's own checkpoint.

Whoever asks has read the rows at a position of the source at or after the checkpoint, and leaves out every
key that was touched between the two. So each row is at the checkpoint what it is there, and the cache stays
exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from consumers.batch import Batch
from consumers.marks import UNPUBLISHABLE, WRONG_CLASS, QuarantineMark, encode_mark
from consumers.meta import QUARANTINE_TABLE
from schemas.errors import CacheError, UsageError
from schemas.keys import fits_key_type, record_key

if TYPE_CHECKING:
    from consumers.control.messages import Mend
    from consumers.writer import CacheWriter


class Standing(msgspec.Struct, frozen=True):
    """Where a node stands still: its checkpoint's life of the log, its change id and that row's nonce.

    ``tables`` are those that it holds, with their settings' digests.
    """

    epoch: int
    epoch_nonce: int
    change_id: int
    nonce: int
    exact: bool
    database_id: str
    tables: dict[str, int]


class OvertakenError(CacheError):
    """The node is beyond the position that rows were read at: they must be read again."""


async def where(writer: CacheWriter) -> Standing:
    """Say where the node stands.

    Raises:
        CacheError: it has loaded nothing yet.
    """
    checkpoint = writer.checkpoint
    if checkpoint is None:
        raise CacheError("the node has loaded nothing yet", "wait for its first load: cdc status")
    return Standing(
        epoch=checkpoint.epoch,
        epoch_nonce=checkpoint.epoch_nonce,
        change_id=checkpoint.change_id,
        nonce=checkpoint.nonce,
        exact=checkpoint.exact,
        database_id=checkpoint.database_id,
        tables={name: table.settings for name, table in writer.definitions.items()},
    )


async def mend(writer: CacheWriter, request: Mend) -> int:
    """Write the rows, durably; marks of quarantine go where there is a row (or none) again.

    Returns:
        How many keys were put right: all but those whose row is marked still.

    Raises:
        OvertakenError: the node is beyond the position, or of another life of the log.
        UsageError: a table is none of the cache's.
    """
    standing = await where(writer)
    same_life = (standing.epoch, standing.epoch_nonce) == (request.epoch, request.epoch_nonce)
    if not same_life or standing.change_id > request.change_id or not standing.exact:
        raise OvertakenError("the node has gone on meanwhile", "read the rows again")
    batch = Batch()
    marked, lifted = set[bytes](), set[bytes]()
    for row in request.rows:
        definition = writer.definitions.get(row.table)
        if definition is None:
            raise UsageError(f"there is no table {row.table!r} in the cache", "run: cdc rebuild")
        name = record_key(row.table, row.key)
        # Stamped with the checkpoint: that is where they are known to be so.
        fits = fits_key_type(row.key, definition.key_type)
        if fits:
            batch.put(row.table, row.key, row.row, standing.change_id)
        if row.unpublishable or (not fits and row.row is not None):
            reason = UNPUBLISHABLE if row.unpublishable else WRONG_CLASS
            mark = QuarantineMark(reason, standing.epoch, standing.change_id, writer.live.now_ms())
            batch.put(QUARANTINE_TABLE, name, encode_mark(mark), standing.change_id)
            marked.add(name)
        elif name in writer.groups.quarantined:
            lifted.add(name)
            batch.put(QUARANTINE_TABLE, name, None, standing.change_id)
    if batch:
        await writer.amend(batch)
    # Only now: had the commit failed, the marks would be as before.
    writer.groups.quarantined |= marked
    writer.groups.quarantined -= lifted
    writer.live.mended += len(request.rows)
    writer.live.repaired()
    return len(request.rows) - len(marked)
