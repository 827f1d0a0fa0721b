"""UNIQUE constraints and indexes of a table, as conditions for the row that REPLACE would delete.

REPLACE deletes the rows in conflict with the new one without firing their delete trigger, so a trigger must
log their keys before. For that, each index is turned into SQL that says which stored row is in conflict with
NEW. Expressions and partial indexes exist only as the text of CREATE INDEX, which is taken apart here; their
text is not rewritten, but evaluated over a row that has NEW's values under the columns' names. What NEW does
not have yet in BEFORE triggers (the id that a row gets by itself, and what is computed from that or from a
default) is taken to be in conflict: rows that stay are found there by the reader.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from cdc.capture.identifiers import folded, quoted

if TYPE_CHECKING:
    from cdc.capture.introspect import ColumnInfo, IndexInfo, TableInfo


class Conflict(msgspec.Struct, frozen=True):
    """When a stored row stands in the way of NEW, by one index.

    ``condition`` is over the table's row and NEW; ``changed`` over OLD and NEW: only an update that it holds
    for can meet another row (empty: any can).
    """

    condition: str
    changed: str


def conflicts_of(info: TableInfo, *, exact_key: bool) -> tuple[Conflict, ...]:
    """Give the conflicts that REPLACE can resolve by deleting a row of another key.

    Args:
        info: the table.
        exact_key: rows in conflict by the primary key have the same key, to the byte.
    """
    return tuple(
        _conflict(info, index) for index in info.indexes if index.unique and not (index.primary and exact_key)
    )


def stored(info_name: str, column: str) -> str:
    """Name a column of the table's row, in a trigger's query of that table (see `from_table`)."""
    return f"{quoted(_row_name(info_name))}.{quoted(column)}"


def from_table(name: str) -> str:
    """Name the table in a trigger's query.

    By its own name, which index expressions may use; but a table called new or old would hide the row that
    the trigger fires for.
    """
    row = _row_name(name)
    return quoted(name) if row == name else f"{quoted(name)} AS {quoted(row)}"


def _row_name(table: str) -> str:
    return "_cdc_row" if folded(table) in ("new", "old") else table


def _conflict(info: TableInfo, index: IndexInfo) -> Conflict:
    terms, where = split_create(index.sql) if index.sql else ([], "")
    columns = {column.name: column for column in info.columns}
    conditions: list[str] = []
    changed: list[str] = []
    for position, (name, collation) in enumerate(index.columns):
        if name is None:
            expression = terms[position]
            named = _named_in(expression, info)
            same = f"({expression}) COLLATE {quoted(collation)} = {_of_new(expression, named, info)}"
            conditions.append(_any(*_unknown_of(named, info), same))
            continue
        column = columns[name]
        unknown = _unknown_of([column], info) if column.generated else []
        same = f"{stored(info.name, name)} COLLATE {quoted(collation)} = {_new_value(column)}"
        conditions.append(_any(*unknown, same))
        changed += [*unknown, f"OLD.{quoted(name)} COLLATE {quoted(collation)} IS NOT NEW.{quoted(name)}"]
    if where:
        named = _named_in(where, info)
        conditions += [f"({where})", _any(*_unknown_of(named, info), _of_new(where, named, info))]
    plain = not where and all(name is not None for name, _ in index.columns)
    return Conflict(" AND ".join(conditions), " OR ".join(changed) if plain else "")


def _new_value(column: ColumnInfo) -> str:
    # REPLACE puts the default in the place of a NULL that may not be, after BEFORE triggers have run.
    if column.not_null and column.default is not None:
        return f"coalesce(NEW.{quoted(column.name)}, ({column.default}))"
    return f"NEW.{quoted(column.name)}"


def _unknown_of(named: list[ColumnInfo], info: TableInfo) -> list[str]:
    """Say in SQL when NEW does not have yet what an expression over these columns is computed from."""
    sources = _computed_from(named, info)
    # SQLite says -1 where the row gets its id by itself.
    unknown = [f"coalesce(NEW.{quoted(one.name)}, -1) = -1" for one in sources if _is_rowid(one, info)]
    if sources != named:
        defaults = [one for one in sources if one.not_null and one.default is not None]
        unknown += [f"NEW.{quoted(one.name)} IS NULL" for one in defaults]
    return unknown


def _computed_from(named: list[ColumnInfo], info: TableInfo) -> list[ColumnInfo]:
    """Give these columns and those that the generated ones among them name, which then cannot be dropped."""
    found, further = [], list(named)
    while further:
        column = further.pop(0)
        if column not in found:
            found.append(column)
            further += _named_in(_definition_of(column, info), info) if column.generated else []
    return found


def _definition_of(column: ColumnInfo, info: TableInfo) -> str:
    """Give a column's definition out of CREATE TABLE."""
    definitions, _ = split_create(info.sql)
    words = ((_tokens(one), one) for one in definitions)
    name = folded(column.name)
    return next((one for tokens, one in words if tokens and folded(_unquoted(tokens[0])) == name), "")


def _is_rowid(column: ColumnInfo, info: TableInfo) -> bool:
    return column.primary > 0 and not any(index.primary for index in info.indexes)


def _any(*conditions: str) -> str:
    return conditions[0] if len(conditions) == 1 else f"({' OR '.join(conditions)})"


def _named_in(expression: str, info: TableInfo) -> list[ColumnInfo]:
    words = {folded(_unquoted(token)) for token in _tokens(expression)}
    return [column for column in info.columns if folded(column.name) in words]


def _of_new(expression: str, named: list[ColumnInfo], info: TableInfo) -> str:
    """Evaluate an expression over NEW's values of the columns it names: the others can still be dropped."""
    values = ", ".join(f"{_new_value(column)} AS {quoted(column.name)}" for column in named) or "1"
    return f"(SELECT {expression} FROM (SELECT {values}) AS {quoted(info.name)})"


_TOKEN: Final = re.compile(
    r"""\s+ | --[^\n]*(?:\n|$) | /\*.*?(?:\*/|$)
    | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]
    | [^\W\d][\w$]* | .""",
    re.VERBOSE | re.DOTALL,
)


def split_create(sql: str) -> tuple[list[str], str]:
    """Take CREATE INDEX apart: the indexed terms without ASC or DESC, and the condition of a partial one.

    Or CREATE TABLE: the definitions of columns and constraints.
    """
    tokens = _tokens(sql)
    depth = 0
    terms: list[list[str]] = []
    for position, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token == ")" and depth == 0:  # noqa: S105 -- a token of SQL
            return [_without_direction(term) for term in terms], _after_where(tokens[position + 1 :])
        if depth == 1 and token in ("(", ","):
            terms.append([])
        elif depth:
            terms[-1].append(token)
    return [], ""


def _without_direction(term: list[str]) -> str:
    while term and (term[-1].isspace() or term[-1].upper() in ("ASC", "DESC")):
        term = term[:-1]
    return "".join(term).strip()


def _after_where(rest: list[str]) -> str:
    text = "".join(rest).strip()
    return text[len("WHERE") :].strip() if text.upper().startswith("WHERE") else ""


def _tokens(sql: str) -> list[str]:
    """Give the tokens of SQL, comments as spaces; joined they mean the same."""
    return [" " if token.startswith(("--", "/*")) else token for token in _TOKEN.findall(sql)]


def _unquoted(token: str) -> str:
    if token[:1] in ('"', "`"):
        return token[1:-1].replace(token[0] * 2, token[0])
    return token[1:-1] if token[:1] == "[" else token
