"""Reads the condition of ``where``: SQL that a row alone answers, at any time the same.

A row that leaves the condition is found because it was written. Whatever else could change the answer
(another table, the clock, chance, the connection) would change it unseen, so it is refused: only columns,
literals, operators and functions that give the same for the same are let through. Pure: the source then says
whether it is valid SQL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cdc.identifiers import folded, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable


class ConditionError(Exception):
    """Why a condition cannot be taken; the argument is the reason."""


def read_condition(text: str, table: str, columns: Iterable[str]) -> str:
    """Give the condition as it is put into queries that know the table as ``t``.

    Args:
        text: the condition as it was configured.
        table: the table's name, by which columns may be qualified.
        columns: the table's columns.

    Raises:
        ConditionError: something in it depends on more than the row.
    """
    return _Reader(text, table, columns).read()


_TOKEN: Final = re.compile(
    r"""(?P<space>\s+ | --[^\n]*(?:\n|$) | /\*.*?\*/)
    | (?P<text>'(?:[^']|'')*') | (?P<blob>[xX]'[0-9A-Fa-f]*')
    | (?P<quoted>"(?:[^"]|"")+" | `(?:[^`]|``)+` | \[[^\]]+\])
    | (?P<number>0[xX][0-9A-Fa-f]+ | (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<sign>->>?|\|\||<<|>>|<=|>=|<>|==|!=|[-+*/%&|~<>=(),.])""",
    re.VERBOSE | re.DOTALL,
)

_WORDS: Final = frozenset(
    (
        *("and", "or", "not", "is", "null", "isnull", "notnull", "in", "like", "glob", "between", "escape"),
        *(
            "collate",
            "case",
            "when",
            "then",
            "else",
            "end",
            "cast",
            "as",
            "true",
            "false",
            "distinct",
            "from",
        ),
    )
)
_BEFORE_PARENTHESIS: Final = _WORDS - {"null", "isnull", "notnull", "end", "true", "false", "collate"}
_FUNCTIONS: Final = frozenset(
    (
        *(
            "abs",
            "char",
            "coalesce",
            "concat",
            "concat_ws",
            "format",
            "glob",
            "hex",
            "ifnull",
            "iif",
            "instr",
        ),
        *("length", "like", "likelihood", "likely", "lower", "ltrim", "max", "min", "nullif", "octet_length"),
        *("printf", "quote", "replace", "round", "rtrim", "sign", "substr", "substring", "trim", "typeof"),
        *("unhex", "unicode", "unlikely", "upper", "zeroblob"),
        *(
            "json",
            "json_array",
            "json_array_length",
            "json_extract",
            "json_object",
            "json_type",
            "json_valid",
        ),
        *("acos", "asin", "atan", "atan2", "ceil", "ceiling", "cos", "degrees", "exp", "floor", "ln", "log"),
        *("log10", "log2", "mod", "pi", "pow", "power", "radians", "sin", "sqrt", "tan", "trunc"),
    )
)
_OF_TIME: Final = frozenset(("date", "time", "datetime", "julianday", "unixepoch", "strftime"))
_OF_THE_CLOCK: Final = ("now", "localtime", "utc", "subsec", "subsecond")
"""What makes a function of time ask the clock, or the machine's time zone."""

_COLLATIONS: Final = frozenset(("binary", "nocase", "rtrim"))


class _Reader:
    """One pass over the tokens; ``_out`` is the condition as it will be asked."""

    def __init__(self, text: str, table: str, columns: Iterable[str]) -> None:
        self._tokens = _tokens(text)
        self._table = folded(table)
        self._columns = {folded(name): name for name in columns}
        self._at = 0
        self._out: list[str] = []
        self._dates: set[str] = set()

    def read(self) -> str:
        if not self._tokens:
            raise ConditionError("it is empty")
        self._check_parentheses()
        while self._at < len(self._tokens):
            self._next()
        condition = " ".join(self._out)
        # Text in a column may say 'now' as well: such a row has no time that could be compared.
        guards = [_has_no_clock(name) for name in sorted(self._dates)]
        return " AND ".join([*guards, f"({condition})"])

    def _check_parentheses(self) -> None:
        depth = 0
        for _, token in self._tokens:
            depth += {"(": 1, ")": -1}.get(token, 0)
            if depth < 0:
                break
        if depth:
            raise ConditionError("its parentheses do not match")

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("end", "")

    def _next(self) -> None:
        kind, token = self._peek()
        self._at += 1
        word = folded(token)
        following = self._peek()[1]
        if kind not in ("word", "quoted"):
            self._out.append(token)
        elif following == ".":
            self._qualified(kind, token)
        elif kind == "quoted":
            self._column(_unquoted(token))
        elif following == "(" and word not in _BEFORE_PARENTHESIS:
            self._function(token)
        elif word in _WORDS:
            self._keyword(word, token)
        else:
            self._column(token)

    def _keyword(self, word: str, token: str) -> None:
        self._out.append(token)
        if word == "in" and self._peek()[1] != "(":
            raise ConditionError("IN must be followed by a list in parentheses")
        if word == "collate":
            _, name = self._peek()
            if folded(_unquoted(name)) not in _COLLATIONS:
                raise ConditionError("COLLATE knows BINARY, NOCASE and RTRIM here")
            self._out.append(name)
            self._at += 1
        if word == "as":
            # The name of a type: words up to the parenthesis that ends CAST, with sizes perhaps.
            while self._peek()[0] == "word":
                self._out.append(self._peek()[1])
                self._at += 1

    def _qualified(self, kind: str, token: str) -> None:
        name = _unquoted(token) if kind == "quoted" else token
        if folded(name) != self._table:
            raise ConditionError(f'it names "{name}", which is not the table')
        self._at += 1

    def _column(self, name: str) -> None:
        column = self._columns.get(folded(name))
        if column is None:
            raise ConditionError(f'"{name}" is no column of the table (texts are put in single quotes)')
        self._out.append(f"t.{quoted(column)}")

    def _function(self, name: str) -> None:
        if folded(name) in _OF_TIME:
            self._check_time(name)
        elif folded(name) not in _FUNCTIONS:
            raise ConditionError(f"{name}() may depend on more than the row")
        self._out.append(name)

    def _check_time(self, name: str) -> None:
        """Let a function of time through that has columns and literals only, none of which asks the clock."""
        arguments: list[tuple[str, str]] = []
        ahead = 1
        while self._peek(ahead)[1] not in (")", ""):
            arguments.append(self._peek(ahead))
            ahead += 1
        given = [token for _, token in arguments].count(",") + bool(arguments)
        plain = all(kind != "sign" or token in (",", "-", "+", ".") for kind, token in arguments)
        if not plain or given < 1 + (folded(name) == "strftime"):
            raise ConditionError(f"{name}() needs a column or a literal as its time")
        for kind, token in arguments:
            if kind == "text" and folded(token[1:-1].strip()) in _OF_THE_CLOCK:
                raise ConditionError(f"{name}() with {token} depends on the clock")
            column = self._columns.get(folded(_unquoted(token)))
            if kind in ("word", "quoted") and column is not None:
                self._dates.add(column)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ConditionError(f"it has {text[at]!r}, which no condition on a row needs")
        if match.lastgroup != "space":
            tokens.append((match.lastgroup, match[0]))
        at = match.end()
    return tokens


def _has_no_clock(column: str) -> str:
    words = ", ".join(f"'{word}'" for word in _OF_THE_CLOCK)
    return f"ifnull(lower(trim(t.{quoted(column)})) NOT IN ({words}), 1)"


def _unquoted(token: str) -> str:
    if token[:1] in ('"', "`"):
        return token[1:-1].replace(token[0] * 2, token[0])
    return token[1:-1] if token[:1] == "[" else token
