"""Single cells of encoded rows, without decoding the rest of them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.rows import GARBAGE, bad_event, decode_row, from_extension

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.values import Value


@lru_cache(maxsize=256)
def cell_reader(column: str) -> Callable[[bytes | msgspec.Raw], Value]:
    """Make what reads one column's value of encoded rows; a row without it has NULL there.

    Raises (when it is called):
        BadEventError: the bytes are no row.
    """
    try:
        only = msgspec.defstruct("Cell", [("cell", Any, None)], rename={"cell": column}, gc=False)
    except ValueError:
        # msgspec refuses names that JSON would have to escape.
        return lambda row: decode_row(row).get(column)
    decode: Any = msgspec.msgpack.Decoder(only, ext_hook=from_extension).decode

    def read(row: bytes | msgspec.Raw) -> Value:
        try:
            return decode(row).cell
        except GARBAGE as error:
            raise bad_event(f"a row that cannot be read ({type(error).__name__})") from None

    return read
