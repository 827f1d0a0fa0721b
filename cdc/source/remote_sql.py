"""Rewrites SQL for servers whose answers are limited in size and cannot hold every value.

A query is read in windows (LIMIT, OFFSET) and in the *exact form*: TEXT and BLOB as BLOBs with a tag before
them, infinities by name. Without it one TEXT that is not UTF-8 makes sqld drop the stream, and the read
transaction with it. It costs sqld a tenth and the client 0.6 us a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cdc.source.remote_values import BLOB_TAG, TEXT_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.values import Value

Form = Callable[[str], str]
"""Gives SQL for the value of a column in an exact form."""

_QUERY: Final = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
# What may hold a question mark that is no parameter: literals, quoted names, comments.
_TOKENS: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\?""", re.DOTALL
)


_WINDOW: Final = " LIMIT ? OFFSET ?"


def is_query(sql: str) -> bool:
    """Say whether a statement only reads and can be a part of another (no PRAGMA)."""
    return _QUERY.match(sql) is not None


def names_its_columns(sql: str) -> bool:
    """Say whether a query's columns stay what they are whatever happens to the schema."""
    return "*" not in sql.replace("count(*)", "")


def without_infinities(sql: str, args: Sequence[Value]) -> tuple[str, list[Value]]:
    """Write infinite parameters into the SQL: JSON cannot carry them. Parameters are bare question marks."""
    if not any(isinstance(arg, float) and math.isinf(arg) for arg in args):
        return sql, list(args)
    return with_parameters(sql, args, infinity)


def with_parameters(
    sql: str, args: Sequence[Value], written: Callable[[Value], str | None]
) -> tuple[str, list[Value]]:
    """Write those parameters into the SQL that ``written`` gives SQL for; give the others that are left."""
    left: list[Value] = []
    coming = iter(args)

    def replaced(match: re.Match[str]) -> str:
        if match[0] != "?":
            return match[0]
        arg = next(coming)
        inline = written(arg)
        if inline is None:
            left.append(arg)
        return inline or "?"

    return _TOKENS.sub(replaced, sql), left


def infinity(value: Value) -> str | None:
    """Give an infinite REAL as SQL; None for any other value."""
    if not isinstance(value, float) or not math.isinf(value):
        return None
    return "(9e999)" if value > 0 else "(-9e999)"


def nothing_of(sql: str) -> str:
    """Give a query that gives no row, but says what columns another has."""
    return f"SELECT * FROM ({sql}\n) LIMIT 0"


def without_numbers(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Give the names that columns have outside of `nothing_of`, where a second "id" becomes "id:1"."""
    names: list[str] = []
    for column in columns:
        name, _, number = column.rpartition(":")
        names.append(name if number.isdigit() and name in names else column)
    return tuple(names)


def exact(sql: str, width: int, form: Form) -> str:
    """Give a query in the exact form.

    Args:
        sql: the query.
        width: how many columns it has.
        form: of a value.
    """
    return _exact(sql, width, range(width), form)


def exact_window(sql: str, width: int, form: Form, columns: Iterable[int] | None = None) -> str:
    """Give some of the rows in the exact form; two more parameters: how many, after how many.

    Args:
        sql: the query.
        width: how many columns it has.
        form: of a value.
        columns: which of them to give; all when left out.
    """
    return _exact(sql, width, range(width) if columns is None else columns, form) + _WINDOW


def is_window(sql: str) -> bool:
    """Say whether this is what `exact_window` gave."""
    return sql.endswith(_WINDOW)


def tagged(name: str) -> str:
    """Give a column's value as a BLOB with a tag, where it is TEXT or BLOB."""
    return (
        f"CASE typeof({name}) WHEN 'text' THEN CAST('{TEXT_TAG}' || {name} AS BLOB) "
        f"WHEN 'blob' THEN CAST('{BLOB_TAG}' || {name} AS BLOB) "
        f"WHEN 'real' THEN {_named_infinity(name)} ELSE {name} END"
    )


def marked(name: str) -> str:
    """Give a column's value with a tag where it is TEXT: for the Turso engine, which cannot do so with BLOBs.

    Its BLOBs come as they are, and so does its TEXT, which is always UTF-8.
    """
    return (
        f"CASE typeof({name}) WHEN 'text' THEN '{TEXT_TAG}' || {name} "
        f"WHEN 'real' THEN {_named_infinity(name)} ELSE {name} END"
    )


def _exact(sql: str, width: int, columns: Iterable[int], form: Form) -> str:
    names = ", ".join(f"c{number}" for number in range(width))
    values = ", ".join(form(f"c{number}") for number in columns)
    return f"WITH _cdc_rows({names}) AS ({sql}\n) SELECT {values} FROM _cdc_rows"


def _named_infinity(name: str) -> str:
    return f"CASE {name} WHEN 9e999 THEN 'inf' WHEN -9e999 THEN '-inf' ELSE {name} END"
