"""What commands print: results on standard output, for programs or for people.

Nothing that comes from a table reaches a terminal as it is: control characters are escaped.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.values import json_line, row_to_json, value_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from cdc.cli.common import Common
    from schemas.values import Value


class _Console(Console):
    """Rich's console, which would end the process with 1 where the reader of its output has enough."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


_BUFFER_BYTES = 1 << 16
# Rich folds what is wider than a terminal; where there is none, lines stay whole.
_PIPE_WIDTH = 10_000


def print_result(common: Common, document: Any, for_people: RenderableType) -> None:
    """Print a command's one result: the document with ``--json``, else the text or table for people."""
    if common.json:
        print_json(document)
    else:
        print_text(for_people)


def print_json(document: Any) -> None:
    """Print one JSON document on a line of its own."""
    print_json_lines((document,))


def print_json_lines(documents: Iterable[Any]) -> None:
    """Print JSON lines as they come; what is buffered goes out at the end, or when it is 64 KiB."""
    stream = sys.stdout.buffer
    sys.stdout.flush()
    buffer = bytearray()
    for document in documents:
        buffer += json_line(document)
        if len(buffer) >= _BUFFER_BYTES:
            stream.write(buffer)
            buffer.clear()
    stream.write(buffer)
    stream.flush()


def print_text(text: RenderableType) -> None:
    """Print something for people: text as it is, without markup, or one of rich's tables."""
    console = make_console(
        width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False, emoji=False
    )
    console.print(Text(text) if isinstance(text, str) else text, soft_wrap=isinstance(text, str))


def make_console(**options: Any) -> Console:
    """Return what writes text to standard output; where its reader is gone it raises BrokenPipeError."""
    return _Console(**options)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a plain table; cells are shown as text, with control characters escaped."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(Text(heading))
    for row in rows:
        made.add_row(*(Text(printable(str(cell))) for cell in row))
    return made


def counted(number: int, thing: str) -> str:
    """Return a number of things in words: "1 row", "2,000 rows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def named(table: str) -> str:
    """Return a table's name for a line of text, where an empty one would not be seen."""
    return table or '""'


def row_document(table: str, key: Sequence[Value], row: Mapping[str, Value] | None) -> dict[str, Any]:
    """Return the JSON document of one row of the cache; None says that there is none."""
    return {
        "table": table,
        "key": [value_to_json(value) for value in key],
        "row": None if row is None else row_to_json(row),
    }


def value_text(value: Value) -> str:
    """Return a value of a cell for people: its JSON form, which tells 1 from "1"."""
    return printable(msgspec.json.encode(value_to_json(value)).decode())


def printable(text: str) -> str:
    """Return a text on one line, with what a terminal would act on escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def flush_output() -> None:
    """Hand everything printed to whoever reads it; errors of that belong to the command."""
    sys.stdout.flush()


def give_up_output() -> None:
    """Write what is printed but not written yet, if that is possible: the command has failed already."""
    try:
        sys.stdout.flush()
    except OSError:
        # Else the interpreter would try again at its end, and complain.
        abandon_output()


def abandon_output() -> None:
    """Let nothing more be written: the reader is gone, and the interpreter would complain at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
