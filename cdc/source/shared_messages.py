"""The messages to a server whose clients share one connection: one batch that is a transaction by itself.

Its parsers lose the last bit of many a REAL, in parameters and in SQL: REALs are computed from integers.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cdc.source.hrana_messages import ServerError, garbled
from cdc.source.remote_errors import refused_statement
from cdc.source.remote_sql import infinity, with_parameters
from cdc.source.remote_values import to_wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc.source.client import Statement
    from schemas.values import Value

_STEP_BITS: Final = 60

_OURS: Final = {"type": "ok", "step": 0}
_NOTHING: Final = b"null"

# What every client writes goes through the one connection that counts here; what is rolled back counts too.
# Version 0.7.0 loses writes after a pragma that was asked as a table outside of a transaction.
_MARKS: Final = ("SELECT total_changes(), last_insert_rowid()", "PRAGMA schema_version")

UNMOVED_SQL: Final = (
    "SELECT CASE WHEN total_changes() = ? AND last_insert_rowid() = ? "
    "AND (SELECT schema_version FROM pragma_schema_version) = ? THEN 1 ELSE abs(-9223372036854775808) END"
)
"""Fails, by overflow, unless the connection stands where its marks say."""


class _Batch(msgspec.Struct, frozen=True):
    step_results: list[msgspec.Raw]
    step_errors: list[ServerError | None]


class _Response(msgspec.Struct, frozen=True):
    result: _Batch | None = None


class _Outcome(msgspec.Struct, frozen=True):
    response: _Response | None = None
    error: ServerError | None = None


class _Body(msgspec.Struct, frozen=True):
    results: list[_Outcome]


class _Given(msgspec.Struct, frozen=True):
    cols: msgspec.Raw
    rows: msgspec.Raw


_decode_given: Final = msgspec.json.Decoder(_Given).decode
_decode: Final = msgspec.json.Decoder(_Body).decode


class Played(msgspec.Struct, frozen=True):
    """What came of a `transaction_request`.

    ``begun``: False where another client's transaction is open. ``answers`` are those of the statements that
    ran, as they came; ``error`` is why the next one, or the end, was refused. ``ended``: as it was to end.
    ``marks`` are the answers of what was asked after it all.
    """

    begun: bool
    answers: list[bytes]
    error: Exception | None
    ended: bool
    marks: list[bytes]


def transaction_request(begin: str, statements: Sequence[Statement], end: str) -> dict[str, Any]:
    """Ask for a whole transaction: none of ours is open before or after it, whatever fails.

    Args:
        begin: how it begins; not at all within a transaction of another client.
        statements: what to run, one after the other, none after one that failed.
        end: how it ends, if none failed; otherwise it is rolled back.
    """
    steps: list[dict[str, Any]] = [{"stmt": {"sql": begin}, "condition": {"type": "is_autocommit"}}]
    for statement in [*map(_statement, statements), {"sql": end}]:
        steps.append({"stmt": statement, "condition": {"type": "ok", "step": len(steps) - 1}})
    # Some errors end the transaction by themselves: it is rolled back if it is open, and ours.
    still_open = {"type": "and", "conds": [_OURS, {"type": "not", "cond": {"type": "is_autocommit"}}]}
    steps.append({"stmt": {"sql": "ROLLBACK"}, "condition": still_open})
    steps += [{"stmt": {"sql": sql}, "condition": _OURS} for sql in _MARKS]
    return {"type": "batch", "batch": {"steps": steps}}


def read_played(body: bytes) -> Played:
    """Read what came of a `transaction_request`.

    Raises:
        CdcError: it was refused as a whole, or cannot be understood.
    """
    try:
        outcome = _decode(body).results[0]
    except (msgspec.DecodeError, IndexError):
        raise garbled() from None
    if outcome.error is not None:
        raise refused_statement(outcome.error.message, outcome.error.code)
    if outcome.response is None or outcome.response.result is None:
        raise garbled()
    batch = outcome.response.result
    try:
        begin, *answers, end, _, counts, version = map(bytes, batch.step_results)
    except ValueError:
        raise garbled() from None
    refused = next((one for one in batch.step_errors if one is not None), None)
    ran = answers.index(_NOTHING) if _NOTHING in answers else len(answers)
    begun, ended = begin != _NOTHING, end != _NOTHING
    if begun and refused is None and (not ended or ran < len(answers)):
        raise garbled()
    error = None if refused is None else refused_statement(refused.message, refused.code)
    return Played(begun, answers[:ran], error, ended, [counts, version])


def digest(answer: bytes) -> bytes:
    """Digest what a statement gave, without what a server may say of how it did."""
    found = _decode_given(answer)
    return blake2b(bytes(found.cols) + b"\n" + bytes(found.rows), digest_size=16).digest()


def _statement(statement: Statement) -> dict[str, Any]:
    sql, args = with_parameters(statement.sql, statement.args, _written_out)
    return {"sql": sql, "args": [to_wire(arg) for arg in args]} if args else {"sql": sql}


def _written_out(value: Value) -> str | None:
    """Give a REAL as integers multiplied by powers of two, which loses nothing."""
    if not isinstance(value, float):
        return None
    if math.isinf(value):
        return infinity(value)
    fraction, exponent = math.frexp(value)
    # 53 bits; a subnormal number has fewer, and so many steps down keep them all.
    integer, exponent = int(math.ldexp(fraction, 53)), exponent - 53
    sign = -1 if math.copysign(1, value) < 0 else 1
    parts = [f"CAST({abs(integer)} AS REAL) * CAST({sign} AS REAL)"]
    sign_of_exponent = "*" if exponent > 0 else "/"
    left = abs(exponent)
    while left:
        bits = min(left, _STEP_BITS)
        parts.append(f"{sign_of_exponent} CAST({1 << bits} AS REAL)")
        left -= bits
    return f"({' '.join(parts)})"
