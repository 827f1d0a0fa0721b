"""A server whose clients share one connection, as `tursodb --sync-server` does: a transaction is a script.

Whatever one client leaves open there is open for all of them: others would read what it has not committed,
and commit or roll back what it wrote. So nothing of ours is open between two requests. Each request runs the
transaction's statements from the first one on, in a transaction of its own, and the answers that were given
before must be what they were: then all of them are of the moment of the newest. Otherwise the transaction
has ended (`SourceMovedError`). Only `commit` lets the last of these requests stand.

The server takes one request after the other (cli/sync_server.rs of https://github.com/tursodatabase/turso).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from cdc.source.client import Statement
from cdc.source.errors import SourceLockedError, SourceMovedError
from cdc.source.hrana_messages import marked_rows, plain_result
from cdc.source.limits import BUSY_TIMEOUT_S
from cdc.source.remote_errors import TooLargeError, lost_transaction
from cdc.source.remote_limits import DECODE_INLINE_BYTES_MAX, SHARED_ANSWER_BYTES_MAX, SHARED_COMMITS_MAX
from cdc.source.remote_sql import is_query, is_window, marked
from cdc.source.shared_messages import UNMOVED_SQL, digest, read_played, transaction_request
from cdc.source.stream import BEGIN_WRITE
from schemas.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cdc.source.client import ResultSet, Row
    from cdc.source.hrana import HttpStreams
    from cdc.source.remote_sql import Form
    from cdc.source.shared_messages import Played

T = TypeVar("T")

_LOCKED_PAUSE_S: Final = 0.02

_NOW: Final = "'now'"
_CHANGES: Final = Statement("SELECT changes(), last_insert_rowid()")


class SharedStreams:
    """A server of the Turso engine, whose clients share one connection. Made by `over`, ended by `close`."""

    def __init__(self, http: HttpStreams) -> None:
        self._http = http

    @classmethod
    async def over(cls, http: HttpStreams) -> SharedStreams:
        """Make sure that the server is of the kind that is known.

        Raises:
            UsageError: it is another one, or its journal is not the WAL.
        """
        streams = cls(http)
        try:
            await streams._recognise()
        except BaseException:
            await streams.close()
            raise
        return streams

    async def _recognise(self) -> None:
        try:
            await self.run_alone([Statement("SELECT turso_version()")])
        except SourceError as error:
            if isinstance(error, SourceLockedError):
                raise
            raise UsageError(
                "the source's server keeps no transaction open between two requests",
                "give the URL of sqld, Turso Cloud or `tursodb --sync-server`",
            ) from None
        journal = (await self.run_alone([Statement("PRAGMA journal_mode")]))[0].rows[0][0]
        if journal != "wal":
            raise UsageError(
                f'the source has the journal "{journal}", whose ids need not be in the order of commits',
                "set PRAGMA journal_mode = 'wal' there",
            )

    @property
    def shown(self) -> str:
        """The server's address without scheme and credentials."""
        return self._http.shown

    @property
    def form(self) -> Form:
        """The exact form of values that the Turso engine can give."""
        return marked

    @property
    def reads_move(self) -> bool:
        """Nothing keeps others from writing between two requests."""
        return True

    def stream(self, begin: str) -> SharedStream:
        """Make a stream whose transaction begins with ``begin``."""
        return SharedStream(self, begin)

    async def run_alone(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements in one request, as one write transaction."""
        played = await self.play(BEGIN_WRITE, _told(statements), "COMMIT")
        if played.error is not None:
            raise played.error
        return _results(statements, played.answers)

    async def play(self, begin: str, statements: Sequence[Statement], end: str) -> Played:
        """Run a whole transaction in one request, when no other client's is open.

        Raises:
            SourceLockedError: one is open for too long.
            TooLargeError: the answer is larger than we take.
        """
        request = transaction_request(begin, statements, end)
        until_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            body = await self._http.ask(None, None, [request], SHARED_ANSWER_BYTES_MAX)
            played = read_played(body)
            if played.begun:
                return played
            if time.monotonic() > until_s:
                raise played.error or SourceLockedError(
                    "another client of the source's server has a transaction open",
                    "try again when it has ended; the server keeps it open until somebody ends it",
                )
            await asyncio.sleep(_LOCKED_PAUSE_S)

    async def changed(self) -> bool:
        """Say True: the server does not tell."""
        return True

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()


class _Line(msgspec.Struct, frozen=True):
    """A statement of a script, and the digest of what it gave: empty where that is of no moment."""

    statement: Statement
    digest: bytes


class SharedStream:
    """A stream of one transaction, see `cdc.source.stream.Stream`; it is open only while a request runs."""

    def __init__(self, streams: SharedStreams, begin: str) -> None:
        self._streams = streams
        self._begin = begin
        self._lost = False
        self._turn = asyncio.Lock()
        self._script: list[_Line] = []
        self._ahead: list[Statement] = []
        self._fetched: dict[str, bytes] = {}
        self._marks: list[bytes] = []

    async def run(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements one after the other, none after one that failed."""
        async with self._turn:
            answers = [self._fetched.get(repr(one), b"") for one in statements]
            if not all(answers):
                answers = await self._ask(_told(statements))
            return _results(statements, answers)

    async def exact(self, statement: Statement, work: Callable[[list[Row]], T]) -> tuple[T, int]:
        """Run one query that is in the exact form, and ``work`` where its rows are decoded."""
        async with self._turn:
            answer = self._fetched.pop(repr(statement), b"") or (await self._ask([statement]))[0]
            return await _off_loop(len(answer), lambda: work(marked_rows(answer))), len(answer)

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Have these answered with the next ones: they are of one moment whatever others commit."""
        self._ahead = list(statements)

    async def commit(self) -> None:
        """Commit, and give the stream back; nothing where nothing was written.

        Raises:
            SourceMovedError: what was read is not so any more, or others commit without a pause.
        """
        async with self._turn:
            written = [line.statement for line in self._script if _writes(line.statement)]
            if written:
                await self._commit(written)
        self.abandon()

    def abandon(self) -> None:
        """Give the stream back; there is nothing at the server that belongs to it."""
        self._lost = True
        self._fetched.clear()

    async def _commit(self, written: list[Statement]) -> None:
        for _ in range(SHARED_COMMITS_MAX):
            # What was read is so, or this raises; and the mark is that of the same moment.
            await self._ask([])
            marks = [value for answer in self._marks for value in plain_result(answer).rows[0]]
            # Lost, should the answer not come: it may have been committed.
            self._lost = True
            unmoved = Statement(UNMOVED_SQL, tuple(marks))
            played = await self._streams.play(BEGIN_WRITE, [unmoved, *written], "COMMIT")
            if played.ended:
                return
            if played.answers and played.error is not None:
                raise played.error
            self._lost = False
        raise SourceMovedError(written)

    async def _ask(self, statements: Sequence[Statement]) -> list[bytes]:
        """Run the script and then these statements; give their answers."""
        ahead = [one for one in self._ahead if one not in statements]
        self._ahead = []
        if ahead:
            with suppress(TooLargeError):
                return await self._play(statements, ahead)
        return await self._play(statements, [])

    async def _play(self, statements: Sequence[Statement], ahead: Sequence[Statement]) -> list[bytes]:
        if self._lost:
            raise lost_transaction()
        known = self._script
        told = [*(line.statement for line in known), *statements, *ahead]
        played = await self._streams.play(self._begin, told, "ROLLBACK")
        lines = await _off_loop(sum(map(len, played.answers)), lambda: _lines(told, played.answers))
        if lines[: len(known)] != known:
            self._lost = True
            raise SourceMovedError([one for one in told if is_query(one.sql)])
        # What was refused did nothing; what came before it is told again.
        self._script, self._marks = lines, played.marks
        answers = played.answers[len(known) :]
        if len(answers) < len(statements):
            raise played.error or lost_transaction()
        further = answers[len(statements) :]
        self._fetched |= {repr(one): answer for one, answer in zip(ahead, further, strict=False)}
        return answers[: len(statements)]


def _lines(told: Sequence[Statement], answers: Sequence[bytes]) -> list[_Line]:
    return [
        _Line(one, b"" if _is_of_no_moment(one) else digest(answer))
        for one, answer in zip(told, answers, strict=False)
    ]


def _is_of_no_moment(statement: Statement) -> bool:
    """Say whether an answer may differ though nothing was committed: one that tells the time, a new rowid."""
    tells_time = _NOW in statement.sql and not is_window(statement.sql)
    return tells_time or statement is _CHANGES or _writes(statement)


def _told(statements: Sequence[Statement]) -> list[Statement]:
    """Ask for the count of rows after what writes some: the server does not tell it."""
    return [told for one in statements for told in ((one, _CHANGES) if _writes(one) else (one,))]


def _results(statements: Sequence[Statement], answers: Sequence[bytes]) -> list[ResultSet]:
    results: list[ResultSet] = []
    coming = iter(answers)
    for statement in statements:
        result = plain_result(next(coming))
        if _writes(statement):
            rows, rowid = plain_result(next(coming)).rows[0]
            result = msgspec.structs.replace(result, rows_affected=rows, last_insert_rowid=rowid)
        results.append(result)
    return results


def _writes(statement: Statement) -> bool:
    return not is_query(statement.sql) and not statement.sql.upper().startswith(("PRAGMA", "EXPLAIN"))


async def _off_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """Do what takes long with large answers on a thread."""
    return work() if size_bytes <= DECODE_INLINE_BYTES_MAX else await asyncio.to_thread(work)
