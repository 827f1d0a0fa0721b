"""Rows and keys' values as msgpack bytes, and back.

Value classes are msgpack's own; TEXT that is not UTF-8 is extension type 1 with the stored bytes. Every
SQLite value comes back exactly as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from schemas.errors import BadEventError, UnsupportedVersionError
from schemas.values import INTEGER_MAX, InvalidText, Value, text_from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INVALID_TEXT_TYPE: Final = 1
"""The msgpack extension type of TEXT that is not UTF-8."""

# What msgspec raises on bytes of any origin: DecodeError and UnicodeDecodeError are ValueErrors, deep nesting
# is a RecursionError, a map or list as a map's key a TypeError.
GARBAGE: Final = (ValueError, RecursionError, TypeError, OverflowError)

_T = TypeVar("_T")


class RowEncoder:
    """Encodes rows of one table: tuples in the order of ``columns`` become maps of column to value.

    Make one for each table and keep it: making it costs as much as encoding dozens of rows.
    """

    __slots__ = ("_columns", "_make")

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._make = _row_struct(self._columns) or self._dictionary

    def encode(self, row: Sequence[Value]) -> bytes:
        """Encode one row.

        Raises:
            ValueError: it has not as many values as there are columns.
        """
        try:
            image = self._make(*row)
        except TypeError:
            raise ValueError(f"a row of {len(row)} values for {len(self._columns)} columns") from None
        return _encode(image)

    def _dictionary(self, *row: Value) -> dict[str, Value]:
        return dict(zip(self._columns, row, strict=True))


def encode_row(columns: Sequence[str], row: Sequence[Value]) -> bytes:
    """Encode a single row; a `RowEncoder` is faster for many, and writes the same bytes.

    Raises:
        ValueError: it has not as many values as there are columns.
    """
    return _encode(dict(zip(columns, row, strict=True)))


def decode_row(data: bytes | msgspec.Raw) -> dict[str, Value]:
    """Decode a row.

    Raises:
        BadEventError: the bytes are no row.
    """
    try:
        row = _decode_row(data)
    except GARBAGE as error:
        raise bad_event(f"a row that cannot be read ({type(error).__name__})") from None
    if not _CLASSES.issuperset(map(type, row.values())):
        raise bad_event("a row with something else than SQLite values")
    return row


def encode_values(values: Sequence[Value]) -> bytes:
    """Encode a key's values as an array."""
    return _encode(values)


def decode_values(data: bytes | msgspec.Raw) -> tuple[Value, ...]:
    """Decode a key's values.

    Raises:
        BadEventError: the bytes are no array of values.
    """
    try:
        values = _decode_values(data)
    except GARBAGE as error:
        raise bad_event(f"a key that cannot be read ({type(error).__name__})") from None
    if not all(map(_is_value, values)):
        raise bad_event("a key with something else than SQLite values")
    return values


def decode_with(decoder: msgspec.msgpack.Decoder[_T], data: bytes | msgspec.Raw, what: str) -> _T:
    """Decode bytes of any origin.

    Raises:
        BadEventError: they are not what the decoder expects.
    """
    try:
        return decoder.decode(data)
    except GARBAGE as error:
        raise bad_event(f"a {what} that cannot be read ({type(error).__name__})") from None


def bad_event(what: str) -> BadEventError:
    """Make the error for bytes that are not ours."""
    return BadEventError(
        f"found {what}",
        "check that nothing else writes to this topic; rebuild the cache if it is stored there",
    )


def newer_version(what: str, found: int, known: int) -> UnsupportedVersionError:
    """Make the error for bytes of a major version that this program does not know yet."""
    return UnsupportedVersionError(
        f"{what} of version {found}; this program reads version {known}",
        "upgrade this program: readers before writers",
    )


def _row_struct(columns: tuple[str, ...]) -> Callable[..., object] | None:
    """Make a Struct whose encoded form is a row's; None where a name does not allow it.

    A Struct is encoded three times as fast as a dict, since its names were encoded when it was made. msgspec
    refuses names with quotes, backslashes or control characters (they would need escaping in JSON).
    """
    names = {f"f{index}": column for index, column in enumerate(columns)}
    fields = [(name, object) for name in names]
    try:
        return msgspec.defstruct("Row", fields, rename=names, frozen=True, gc=False)
    except ValueError:
        return None


def _to_extension(value: Any) -> msgspec.msgpack.Ext:
    if type(value) is InvalidText:
        return msgspec.msgpack.Ext(INVALID_TEXT_TYPE, value.data)
    raise TypeError(f"a {type(value).__name__} is no SQLite value")


def from_extension(code: int, data: memoryview) -> str | InvalidText:
    """Decode what msgpack has no class for; raises ValueError where it is not ours."""
    if code == INVALID_TEXT_TYPE:
        return text_from_bytes(bytes(data))
    raise ValueError("an unknown extension type")


_CLASSES = frozenset((int, float, str, bytes, InvalidText, type(None)))

_encode = msgspec.msgpack.Encoder(enc_hook=_to_extension).encode
_decode_row = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=from_extension).decode
_decode_values = msgspec.msgpack.Decoder(tuple[Any, ...], ext_hook=from_extension).decode


def _is_value(value: object) -> bool:
    return value <= INTEGER_MAX if type(value) is int else type(value) in _CLASSES
