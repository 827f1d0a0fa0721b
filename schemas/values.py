"""The values a SQLite cell can hold, and their lossless JSON forms (CONTRACT "JSON values")."""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1


class InvalidText:
    """TEXT whose bytes are not UTF-8: SQLite stores it, Python's str cannot.

    Not a msgspec Struct or a dataclass on purpose: msgspec would write those as maps by itself, and the
    hook that makes the extension type would never be asked.

    Args:
        data: the stored bytes; never valid UTF-8, so that no text has two representations.

    Raises:
        ValueError: the bytes are valid UTF-8 (use `text_from_bytes` where that is not known).
    """

    __slots__ = ("data",)

    data: bytes

    def __init__(self, data: bytes) -> None:
        if _is_utf8(data):
            raise ValueError("these bytes are valid UTF-8: they are a str")
        object.__setattr__(self, "data", bytes(data))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("InvalidText is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("InvalidText is immutable")

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, InvalidText) else NotImplemented

    def __hash__(self) -> int:
        return hash((InvalidText, self.data))

    def __reduce__(self) -> tuple[type[InvalidText], tuple[bytes]]:
        return InvalidText, (self.data,)

    def __repr__(self) -> str:
        # The length only: reprs end in logs and tracebacks, and cell values must not.
        return f"<InvalidText of {len(self.data)} bytes>"


Value = int | float | str | bytes | InvalidText | None
"""INTEGER, REAL, TEXT, BLOB, TEXT that is not UTF-8, NULL. Never bool, never NaN (SQLite has neither)."""


class BadValueError(UsageError):
    """Something given is not the JSON form of a SQLite value."""


def text_from_bytes(data: bytes) -> str | InvalidText:
    """Make the value of TEXT from its stored bytes; fit to be a sqlite3 connection's ``text_factory``."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        return InvalidText(data)


def value_to_json(value: Value) -> Any:
    """Give the JSON form of one value, as objects msgspec and `json` both write losslessly."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        # SQLite turns NaN into NULL when it is stored.
        return None if math.isnan(value) else {"$real": "inf" if value > 0 else "-inf"}
    if isinstance(value, bytes):
        return {"$blob": base64.b64encode(value).decode("ascii")}
    if isinstance(value, InvalidText):
        return {"$text": base64.b64encode(value.data).decode("ascii")}
    return value


def value_from_json(form: Any) -> Value:
    """Read the JSON form of one value, as a JSON decoder gave it.

    Raises:
        BadValueError: it is none (a boolean, an array, an unknown tag, an integer beyond 64 bits, NaN).
    """
    kind = type(form)
    if kind is str or form is None:
        return form
    if kind is int:
        if INTEGER_MIN <= form <= INTEGER_MAX:
            return form
        raise _bad_value("an integer has more than 64 bits")
    if kind is float:
        if math.isnan(form):
            raise _bad_value("NaN is no SQLite value")
        return form
    if kind is bool:
        raise _bad_value("a boolean is no SQLite value")
    if isinstance(form, dict) and len(form) == 1:
        return _from_tagged(*next(iter(form.items())))
    raise _bad_value("an array or object is not the form of a SQLite value")


def row_to_json(row: Mapping[str, Value]) -> dict[str, Any]:
    """Give the JSON form of a row: column name to value."""
    return {
        name: value if type(value) in _ALIKE_IN_JSON else value_to_json(value) for name, value in row.items()
    }


def row_from_json(form: Any) -> dict[str, Value]:
    """Read the JSON form of a row.

    Raises:
        BadValueError: it is no object of column names and values.
    """
    if not isinstance(form, dict):
        raise _bad_value("a row is an object of column names and values")
    return {
        str(name): value if type(value) in _ALIKE_FROM_JSON else value_from_json(value)
        for name, value in form.items()
    }


def values_to_json(values: tuple[Value, ...] | list[Value]) -> list[Any]:
    """Give the JSON form of a key's values."""
    return [value_to_json(value) for value in values]


def values_from_json(form: Any) -> tuple[Value, ...]:
    """Read the JSON form of a key's values.

    Raises:
        BadValueError: it is no array of values.
    """
    if not isinstance(form, list):
        raise _bad_value("a key is an array of values")
    return tuple(value_from_json(value) for value in form)


def json_line(document: Any) -> bytes:
    r"""Write one line of JSON, its ``\n`` included. Floats keep a point or an exponent."""
    return _json.encode(document) + b"\n"


_json = msgspec.json.Encoder()

# What needs no look at the value: asking for the type costs a fraction of a call.
_ALIKE_IN_JSON = frozenset((int, str, type(None)))
_ALIKE_FROM_JSON = frozenset((str, type(None)))


def _is_utf8(data: bytes) -> bool:
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _from_tagged(tag: Any, content: Any) -> Value:
    if tag == "$real" and content in ("inf", "-inf"):
        return float(content)
    if tag == "$blob" and isinstance(content, str):
        return _from_base64(content)
    if tag == "$text" and isinstance(content, str):
        return text_from_bytes(_from_base64(content))
    raise _bad_value("an object is not the form of a SQLite value")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _bad_value("the content of $blob or $text is not base64") from None


def _bad_value(what: str) -> BadValueError:
    return BadValueError(
        what,
        'write integers, reals with a point or exponent, strings, null, {"$blob": "BASE64"}, '
        '{"$real": "inf"}, {"$real": "-inf"} or {"$text": "BASE64"}',
    )
