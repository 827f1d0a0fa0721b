"""KEY arguments of the command line, read as SQLite would store them in the key's columns."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from schemas.errors import UsageError
from schemas.values import INTEGER_MAX, INTEGER_MIN, text_from_bytes, value_from_json, values_from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.definition import TableDefinition
    from schemas.values import Value

KeyWord = Annotated[
    str, Parameter(help="One per key column, in the primary key's order; negative numbers after --.")
]
"""Each of a command's KEY arguments."""

ExactKey = Annotated[
    str | None,
    Parameter(name="--key", env_var="CDC_KEY", help="The key as a JSON array, instead of KEY arguments."),
]
"""A command's ``--key``; what it and the words say is for `read_key` to tell."""

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
# Where the column asks for it SQLite turns a REAL into the INTEGER that is equal, but for the outermost ones
# (sqlite3VdbeIntegerAffinity in vdbemem.c).
_INTEGER_REAL_LIMIT = 2.0**63
_INTEGER_DIGITS_MAX = 19


class Form(msgspec.Struct, frozen=True):
    """How a key is given: the name of one value, and of all of them as JSON, for messages."""

    word: str
    exact: str


ARGUMENTS = Form("KEY arguments", "--key")
"""On the command line."""

PARAMETERS = Form("key", "key_json")
"""In the query of a URL."""


def read_key(
    definition: TableDefinition, words: Sequence[str], exact: str | None, form: Form = ARGUMENTS
) -> tuple[Value, ...]:
    """Return the key that was typed.

    Args:
        definition: the table's.
        words: one argument per key column, read by the column's affinity.
        exact: the text of ``--key``, a JSON array of values; it takes the words' place.
        form: how both are called where it was typed.

    Raises:
        UsageError: the number of values is not the key's, or one cannot be of its column's kind.
    """
    if exact is not None:
        if words:
            raise UsageError("the key is given twice", f"give either {form.word} or {form.exact}")
        values = _read_json(exact, form)
    else:
        values = tuple(words)
    if len(values) != len(definition.key):
        raise UsageError(
            f"{len(values)} values are no key of {definition.name}, it takes {len(definition.key)}",
            f"give {', '.join(definition.key)}, in this order",
        )
    if exact is not None:
        return values
    affinities = {column.name: column.affinity for column in definition.columns}
    return tuple(
        _by_affinity(word, name, affinities[name], "key column", f"{form.exact} '[...]'")
        for word, name in zip(words, definition.key, strict=True)
    )


def read_value(definition: TableDefinition, column: str, word: str) -> Value:
    """Return a value that was typed for a column, by its affinity.

    Raises:
        UsageError: there is no such column, or the word cannot be of its kind.
    """
    affinities = {known.name: known.affinity for known in definition.columns}
    if column not in affinities:
        raise UsageError(
            f"table {definition.name} has no column {column}", f"it has: {', '.join(affinities)}"
        )
    return _by_affinity(word, column, affinities[column], "column", "--value")


def read_exact(text: str) -> Value:
    """Return the value of ``--value``.

    Raises:
        UsageError: it is no JSON form of a value.
    """
    try:
        return value_from_json(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise UsageError("--value is no JSON", """give one value, such as '"ep-1"' or 2""") from None


def _read_json(text: str, form: Form) -> tuple[Value, ...]:
    try:
        return values_from_json(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise UsageError(
            f"{form.exact} is no JSON", """give an array of values, such as '["ep-1", 2]'"""
        ) from None


def _by_affinity(word: str, column: str, affinity: str, what: str, exact: str) -> Value:
    """Return what a column of this affinity makes of a text (SQLite's "Determination Of Column Affinity")."""
    number = word.strip(" \t\n\v\f\r")
    if affinity == "REAL":
        return _real(number, column, what, exact)
    if affinity in ("INTEGER", "NUMERIC"):
        value = _number(number)
        if affinity == "NUMERIC" and value is None:
            return _text(word)
        if isinstance(value, int) or (affinity == "NUMERIC" and value is not None):
            return value
        raise _wrong_kind(column, "an integer of 64 bits", what, exact)
    # TEXT takes it as it is, and so does BLOB, which converts nothing.
    return _text(word)


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text) and len(text.lstrip("+-0")) <= _INTEGER_DIGITS_MAX:
        integer = int(text)
        if INTEGER_MIN <= integer <= INTEGER_MAX:
            return integer
    if not _NUMBER.fullmatch(text):
        return None
    real = float(text)
    return int(real) if abs(real) < _INTEGER_REAL_LIMIT and real.is_integer() else real


def _real(text: str, column: str, what: str, exact: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise _wrong_kind(column, "a number", what, exact)
    # SQLite stores a zero without its sign.
    return float(text) or 0.0


def _text(word: str) -> Value:
    # Arguments that are not UTF-8 come with surrogates in the place of their bytes.
    return text_from_bytes(os.fsencode(word))


def _wrong_kind(column: str, kind: str, what: str, exact: str) -> UsageError:
    return UsageError(
        f"the {what} {column} takes {kind}", f"give one, or the exact value as JSON with {exact}"
    )
