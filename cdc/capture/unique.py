"""UNIQUE constraints and indexes of a table, as conditions for the row that REPLACE would delete.

REPLACE deletes the rows in conflict with the new one without firing their delete trigger, so a trigger must
log their keys before. For that, each index is turned into SQL that says which stored row is in conflict with
NEW. Expressions and partial indexes exist only as the text of CREATE INDEX, which is taken apart here; their
text is not rewritten, but evaluated over a row that has NEW's values under the columns' names. What NEW does
not have yet when BEFORE triggers run (the id that a row gets by itself, a default, and what is generated from
those) is computed here as SQLite will; where that cannot be, every row is taken to be in conflict.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from cdc.identifiers import folded, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

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
    coming = _Coming(info)
    columns = {column.name: column for column in info.columns}
    conditions: list[str] = []
    changed: list[str] = []
    for position, (name, collation) in enumerate(index.columns):
        if name is None:
            side, values = f"({terms[position]})", coming.of_expression(terms[position])
        else:
            side, values = stored(info.name, name), coming.of(columns[name])
            changed += [f"OLD.{quoted(name)} COLLATE {quoted(collation)} IS NOT {value}" for value in values]
        conditions.append(_any(*(f"{side} COLLATE {quoted(collation)} = {value}" for value in values)))
    if where:
        conditions.append(f"({where})")
        # A rowid by that name is not known yet, and cannot be given: the row may be one of those.
        if not _names_rowid(where, info):
            conditions.append(_any(*coming.of_expression(where)))
    if coming.unknown:
        conditions = [_any(*coming.unknown, f"({' AND '.join(conditions)})")]
    plain = not where and not coming.unknown and all(name is not None for name, _ in index.columns)
    return Conflict(" AND ".join(conditions), " OR ".join(changed) if plain else "")


class _Coming:
    """What the row will hold that NEW is the beginning of, as SQL: one value, or several it may be one of.

    Args:
        info: the table.
    """

    def __init__(self, info: TableInfo) -> None:
        self._info = info
        self._alias = next((one for one in info.columns if _is_rowid(one, info)), None)
        self.unknown: list[str] = []
        """When some of what was asked for cannot be told."""

    def of(self, column: ColumnInfo) -> list[str]:
        """Give a column's value."""
        return self._values([column], lambda given: self._value(column, given, ()))

    def of_expression(self, expression: str) -> list[str]:
        """Give an expression's value, of the columns it names alone: the others can still be dropped."""
        named = _named_in(expression, self._info)
        return self._values(named, lambda given: self._evaluated(expression, named, given, ()))

    def _values(self, named: list[ColumnInfo], value: Callable[[bool], str]) -> list[str]:
        # An id of -1 may also have been given: both are looked for.
        by_itself = self._alias is not None and self._alias in self._sources(named)
        return [value(True), value(False)] if by_itself else [value(True)]

    def _value(self, column: ColumnInfo, given: bool, within: tuple[ColumnInfo, ...]) -> str:
        new = f"NEW.{quoted(column.name)}"
        if column == self._alias and not given:
            return self._next_id(column)
        if column.generated and column not in within and self._is_open(column):
            expression = _generated_from(column, self._info)
            if expression is None:
                self._cannot_tell("1")
                return new
            named = _named_in(expression, self._info)
            return self._evaluated(expression, named, given, (*within, column))
        if column.not_null and column.default is not None:
            # REPLACE puts the default in the place of a NULL that may not be.
            if "(" in column.default:
                self._cannot_tell(f"{new} IS NULL")
            return f"coalesce({new}, ({column.default}))"
        return new

    def _evaluated(
        self,
        expression: str,
        named: list[ColumnInfo],
        given: bool,
        within: tuple[ColumnInfo, ...],
    ) -> str:
        values = [f"{self._value(one, given, within)} AS {quoted(one.name)}" for one in named]
        return f"(SELECT {expression} FROM (SELECT {', '.join(values) or '1'}) AS {quoted(self._info.name)})"

    def _next_id(self, alias: ColumnInfo) -> str:
        """Give the id that SQLite takes where none is given: NEW has -1 then."""
        name = quoted(alias.name)
        newest = f"(SELECT max({name}) FROM {from_table(self._info.name)})"
        # Behind the largest there is, it takes one at random.
        self._cannot_tell(f"(coalesce(NEW.{name}, -1) = -1 AND {newest} = 9223372036854775807)")
        following = f"coalesce({newest} + 1, 1)"
        if "AUTOINCREMENT" in self._info.sql.upper():
            text = self._info.name.replace("'", "''")
            seen = f"(SELECT seq FROM sqlite_sequence WHERE name = '{text}')"
            following = f"max({following}, coalesce({seen} + 1, 1))"
        return following

    def _is_open(self, column: ColumnInfo) -> bool:
        """Whether a generated column is computed from what NEW may not have yet."""
        sources = self._sources([column])
        return self._alias in sources or any(one.not_null and one.default is not None for one in sources)

    def _sources(self, named: list[ColumnInfo]) -> list[ColumnInfo]:
        """Give these columns and those that the generated ones among them name."""
        found, further = [], list(named)
        while further:
            column = further.pop(0)
            if column not in found:
                found.append(column)
                further += _named_in(_generated_from(column, self._info) or "", self._info)
        return found

    def _cannot_tell(self, when: str) -> None:
        if when not in self.unknown:
            self.unknown.append(when)


def _generated_from(column: ColumnInfo, info: TableInfo) -> str | None:
    """Give the expression of a generated column out of CREATE TABLE; None where it is not found."""
    if not column.generated:
        return None
    definitions, _ = split_create(info.sql)
    name = folded(column.name)
    for definition in definitions:
        tokens = [token for token in _tokens(definition) if not token.isspace()]
        if tokens and folded(_unquoted(tokens[0]).strip("'")) == name:
            for at in range(1, len(tokens) - 1):
                if tokens[at].upper() == "AS" and tokens[at + 1] == "(":
                    return _in_parentheses(definition, at)
    return None


def _in_parentheses(definition: str, at: int) -> str | None:
    """Give what stands in the parentheses behind a definition's token, not counting white space."""
    seen, depth, inside = -1, 0, list[str]()
    for token in _tokens(definition):
        seen += not token.isspace()
        if seen <= at:
            continue
        depth += {"(": 1, ")": -1}.get(token, 0)
        inside.append(token)
        if depth == 0:
            return "".join(inside).strip()[1:-1]
    return None


def _is_rowid(column: ColumnInfo, info: TableInfo) -> bool:
    return column.primary > 0 and not any(index.primary for index in info.indexes)


def _any(*conditions: str) -> str:
    return conditions[0] if len(conditions) == 1 else f"({' OR '.join(conditions)})"


_ROWID_NAMES: Final = frozenset(("rowid", "_rowid_", "oid"))


def _names_rowid(expression: str, info: TableInfo) -> bool:
    columns = {folded(column.name) for column in info.columns}
    return not _ROWID_NAMES.isdisjoint(_words(expression) - columns)


def _words(expression: str) -> set[str]:
    """Give the names in an expression, but those of functions."""
    tokens = [*(token for token in _tokens(expression) if not token.isspace()), ""]
    return {folded(_unquoted(token)) for token, following in pairwise(tokens) if following != "("}


def _named_in(expression: str, info: TableInfo) -> list[ColumnInfo]:
    words = _words(expression)
    return [column for column in info.columns if folded(column.name) in words]


_TOKEN: Final = re.compile(
    r"""\s+ | --[^\n]*(?:\n|$) | /\*.*?(?:\*/|$)
    | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]
    | (?:[^\W\d]|[^\x00-\x7f])(?:[\w$]|[^\x00-\x7f])* | .""",
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
