"""The messages of Hrana over HTTP: what is sent, and how answers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from cdc.source.client import ResultSet
from cdc.source.remote_errors import refused_statement
from cdc.source.remote_sql import without_infinities
from cdc.source.remote_values import ExactValue, MarkedValue, PlainValue, from_wire, to_wire
from schemas.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cdc.source.client import Row, Statement

T = TypeVar("T")

CLOSE: Final = {"type": "close"}
"""The request that ends a stream."""


class ServerError(msgspec.Struct, frozen=True):
    """What a server says when it refuses; some versions say ``error`` in place of ``message``."""

    message: str = ""
    code: str | None = None
    error: str = ""


class _Column(msgspec.Struct, frozen=True):
    name: str | None = None


class _Result(msgspec.Struct, frozen=True):
    cols: list[_Column]
    affected_row_count: int = 0
    last_insert_rowid: int | None = None


class _PlainResult(_Result, frozen=True):
    rows: list[list[PlainValue]] = []


class _ExactResult(_Result, frozen=True):
    rows: list[list[ExactValue]] = []


class _MarkedResult(_Result, frozen=True):
    rows: list[list[MarkedValue]] = []


class PlainBatch(msgspec.Struct, frozen=True):
    """What came of a `batch_request`, its values as they are."""

    step_results: list[_PlainResult | None]
    step_errors: list[ServerError | None]


class ExactBatch(msgspec.Struct, frozen=True):
    """What came of a `batch_request`, its values in the exact form."""

    step_results: list[_ExactResult | None]
    step_errors: list[ServerError | None]


class _PlainResponse(msgspec.Struct, frozen=True):
    result: PlainBatch | None = None


class _ExactResponse(msgspec.Struct, frozen=True):
    result: ExactBatch | None = None


class _PlainOutcome(msgspec.Struct, frozen=True):
    response: _PlainResponse | None = None
    error: ServerError | None = None


class _ExactOutcome(msgspec.Struct, frozen=True):
    response: _ExactResponse | None = None
    error: ServerError | None = None


class PlainAnswer(msgspec.Struct, frozen=True):
    """An answer whose values are as they are."""

    results: list[_PlainOutcome]
    baton: str | None = None
    base_url: str | None = None


class ExactAnswer(msgspec.Struct, frozen=True):
    """An answer whose values are in the exact form."""

    results: list[_ExactOutcome]
    baton: str | None = None
    base_url: str | None = None


# Not strict: integers come as strings.
decode_plain: Final = msgspec.json.Decoder(PlainAnswer, strict=False).decode
decode_exact: Final = msgspec.json.Decoder(ExactAnswer, strict=False).decode
_decode_plain_result: Final = msgspec.json.Decoder(_PlainResult, strict=False).decode
_decode_marked_result: Final = msgspec.json.Decoder(_MarkedResult, strict=False).decode
_decode_error: Final = msgspec.json.Decoder(ServerError).decode


def batch_request(statements: Sequence[Statement], *, rollback: bool = False) -> dict[str, Any]:
    """Ask for statements one after the other, none after one that failed.

    Args:
        statements: what to run.
        rollback: then roll back, if one of them failed.
    """
    steps: list[dict[str, Any]] = []
    for statement in statements:
        step: dict[str, Any] = {"stmt": _statement(statement)}
        if steps:
            step["condition"] = {"type": "ok", "step": len(steps) - 1}
        steps.append(step)
    if rollback:
        failed = {"type": "not", "cond": {"type": "ok", "step": len(steps) - 1}}
        steps.append({"stmt": {"sql": "ROLLBACK"}, "condition": failed})
    return {"type": "batch", "batch": {"steps": steps}}


def batch_of(answer: PlainAnswer | ExactAnswer) -> PlainBatch | ExactBatch:
    """Give what came of the one `batch_request` that was sent.

    Raises:
        TooLargeError, CdcError: it was refused as a whole.
    """
    if not answer.results:
        raise garbled()
    outcome = answer.results[0]
    if outcome.error is not None:
        raise refused_statement(outcome.error.message, outcome.error.code)
    if outcome.response is None or outcome.response.result is None:
        raise garbled()
    return outcome.response.result


def results_of(batch: PlainBatch | ExactBatch, count: int) -> list[ResultSet]:
    """Give the results of the first ``count`` statements.

    Raises:
        TooLargeError, CdcError: one of them was refused.
    """
    return [_result_set(result) for result in _results(batch, count)]


def plain_result(answer: bytes) -> ResultSet:
    """Give the result of one statement as it came, its values as they are."""
    return _result_set(_readable(answer, _decode_plain_result))


def marked_rows(answer: bytes) -> list[Row]:
    """Give the rows of one query as they came, its values `cdc.source.remote_sql.marked`."""
    return from_wire(_readable(answer, _decode_marked_result).rows)


def rows_of_last(batch: PlainBatch | ExactBatch) -> list[Row]:
    """Give the rows of the last statement.

    Raises:
        TooLargeError, CdcError: it was refused.
    """
    return from_wire(_results(batch, len(batch.step_results))[-1].rows)


def error_of(body: bytes) -> ServerError:
    """Read the body of an HTTP error: JSON, or whatever text a proxy put there."""
    try:
        found = _decode_error(body)
    except msgspec.DecodeError:
        return ServerError(body.decode(errors="replace"))
    return ServerError(found.message or found.error, found.code)


def _statement(statement: Statement) -> dict[str, Any]:
    sql, args = without_infinities(statement.sql, statement.args)
    return {"sql": sql, "args": [to_wire(arg) for arg in args]} if args else {"sql": sql}


def _results(batch: PlainBatch | ExactBatch, count: int) -> list[_PlainResult | _ExactResult]:
    for error in batch.step_errors:
        if error is not None:
            raise refused_statement(error.message, error.code)
    results = [result for result in batch.step_results[:count] if result is not None]
    if len(results) != count or not results:
        raise garbled()
    return results


def _readable(answer: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(answer)
    except msgspec.DecodeError:
        # Not chained: its message may tell of a cell.
        raise SourceError(
            "the source's answer holds TEXT that is not UTF-8, which the Turso engine does not give",
            "mend it, or have SQLite serve the database",
        ) from None


def _result_set(result: _PlainResult | _ExactResult) -> ResultSet:
    return ResultSet(
        tuple(column.name or "" for column in result.cols),
        from_wire(result.rows),
        result.affected_row_count,
        result.last_insert_rowid,
    )


def garbled() -> SourceError:
    """Make the error of an answer that is none."""
    return SourceError("the source's answer cannot be understood", "check that source.url is a Hrana server")
