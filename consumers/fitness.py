"""Whether a row event can be applied as it stands. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.codec import decode_values
from schemas.errors import BadEventError
from schemas.event import NIL, Op
from schemas.keys import BadKeyError, encode_key

if TYPE_CHECKING:
    from schemas.event import ChangeEvent

WITH_ROW: Final = frozenset((Op.CREATE, Op.UPDATE, Op.READ))
MAP_MARKERS: Final = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
"""The first byte of a msgpack map; the rest was walked through when the event was decoded."""

NO_ROW = "the event holds no row"
NO_KEY = "the event holds no key"
NO_DEFINITION = "the table's definition cannot be read"


def table_prefix(table: str) -> bytes:
    """What the Kafka key of a table's rows begins with."""
    return table.encode() + b"\x00"


def fit(event: ChangeEvent, record_key: bytes, prefix: bytes) -> bytes | str:
    """The encoded key to apply a row event under, or why it cannot be applied.

    The key is taken from the record's own; where that is damaged, from the event.
    """
    if event.op in WITH_ROW and bytes(event.after)[0] not in MAP_MARKERS:
        return NO_ROW
    if record_key.startswith(prefix) and len(record_key) > len(prefix):
        return record_key[len(prefix) :]
    key = key_of(event)
    return NO_KEY if key is None and event.op != Op.QUARANTINED else key or b""


def key_of(event: ChangeEvent) -> bytes | None:
    """The encoded key by the event's own values; None where there are none."""
    if event.key == NIL:
        return None
    try:
        return encode_key(decode_values(event.key)) or None
    except (BadEventError, BadKeyError):
        return None
