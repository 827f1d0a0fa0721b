"""Hrana over HTTP: streams held by batons, as sqld and Turso Cloud speak it (v3, then v2).

Source: https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import msgspec

from cdc.source.client import Statement
from cdc.source.hrana_messages import (
    CLOSE,
    ExactAnswer,
    PlainAnswer,
    batch_of,
    batch_request,
    decode_exact,
    decode_plain,
    error_of,
    garbled,
    results_of,
    rows_of_last,
)
from cdc.source.listener import Listener
from cdc.source.remote_errors import (
    TooLargeError,
    lost_transaction,
    refused_certificate,
    refused_request,
    unreachable,
)
from cdc.source.remote_limits import (
    CONNECT_S_MAX,
    DECODE_INLINE_BYTES_MAX,
    GOODBYE_S_MAX,
    KEEP_ALIVE_S,
    REQUEST_S_MAX,
)
from cdc.source.remote_sql import tagged
from cdc.source.stream import BEGIN_READ, BEGIN_WRITE
from schemas.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cdc.source.client import ResultSet, Row
    from cdc.source.remote_sql import Form
    from cdc.source.remote_url import RemoteUrl

T = TypeVar("T")

_VERSIONS: Final = ("v3", "v2")
_OK: Final = 200
_NOT_FOUND: Final = 404
_COMMIT: Final = Statement("COMMIT")
_NOTHING: Final = Statement("SELECT 1")

_Answer = TypeVar("_Answer", PlainAnswer, ExactAnswer)


class HttpStreams:
    """A server over HTTP. Made by `connect`, ended by `close`.

    Args:
        url: where, and with what credentials.
        watch: a table that every commit of interest inserts into; None: there is none.
        request_s_max: how long one request may take.
    """

    def __init__(self, url: RemoteUrl, watch: str | None, request_s_max: float) -> None:
        self._url = url
        self.holds_transactions = True
        """Whether the server keeps a transaction open between two requests."""
        self._version = _VERSIONS[0]
        self._farewells: set[asyncio.Task[None]] = set()
        headers = {"Authorization": f"Bearer {url.token}"} if url.token else {}
        if url.user and not url.token:
            headers["Authorization"] = aiohttp.BasicAuth(*url.user, encoding="utf-8").encode()
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=request_s_max, connect=CONNECT_S_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._listener = None if watch is None else Listener(self._session, f"{url.base}/beta/listen", watch)

    @classmethod
    async def connect(
        cls, url: RemoteUrl, *, watch: str | None = None, request_s_max: float = REQUEST_S_MAX
    ) -> HttpStreams:
        """Find out which version the server speaks, and whether it lets us in.

        Raises:
            UsageError: the credentials are refused, or no database is there.
            SourceUnavailableError: it cannot be reached.
        """
        streams = cls(url, watch, request_s_max)
        try:
            await streams._greet()
        except BaseException:
            await streams.close()
            raise
        return streams

    async def _greet(self) -> None:
        look = [batch_request([Statement("SELECT 1")])]
        status, body = 0, b""
        for version in _VERSIONS:
            self._version = version
            status, body = await self._post(None, None, look)
            if status != _NOT_FOUND:
                break
        if status != _OK:
            raise _refusal(status, body)
        answer = _decode(body, decode_plain)
        results_of(batch_of(answer), 1)
        self.holds_transactions = answer.baton is not None
        if answer.baton is not None:
            self.say_goodbye(answer.base_url, answer.baton)

    @property
    def shown(self) -> str:
        """The server's address without scheme and credentials."""
        return self._url.shown

    def stream(self, begin: str) -> HttpStream:
        """Make a stream whose transaction begins with ``begin``."""
        return HttpStream(self, begin)

    async def run_alone(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements in one request: one by itself, several as one write transaction."""
        if len(statements) == 1:
            request = batch_request(statements)
        else:
            request = batch_request([Statement(BEGIN_WRITE), *statements, _COMMIT], rollback=True)
        body = await self.ask(None, None, [request, CLOSE])
        answer = await _off_loop(len(body), lambda: _decode(body, decode_plain))
        begun = int(len(statements) != 1)
        return results_of(batch_of(answer), begun + len(statements))[begun:]

    @property
    def form(self) -> Form:
        """The exact form of values, which SQLite can give."""
        return tagged

    @property
    def reads_move(self) -> bool:
        """A stream has a connection of its own."""
        return False

    async def changed(self) -> bool:
        """Say whether anything may have been committed; always True where the server does not tell."""
        return self._listener is None or self._listener.heard()

    async def ask(
        self,
        base_url: str | None,
        baton: str | None,
        requests: Sequence[dict[str, Any]],
        size_bytes_max: int | None = None,
    ) -> bytes:
        """Send requests on the stream that ``baton`` stands for, None for a new one; give the answer.

        Raises:
            CdcError: there is no answer, or a refusal of it all.
            TooLargeError: the answer is larger than ``size_bytes_max``.
        """
        status, body = await self._post(base_url, baton, requests, size_bytes_max)
        if status != _OK:
            raise _refusal(status, body)
        return body

    async def _post(
        self,
        base_url: str | None,
        baton: str | None,
        requests: Sequence[dict[str, Any]],
        size_bytes_max: int | None = None,
    ) -> tuple[int, bytes]:
        url = f"{base_url or self._url.base}/{self._version}/pipeline"
        # A stream of bytes: aiohttp warns of large bodies in one piece.
        data = BytesIO(msgspec.json.encode({"baton": baton, "requests": requests}))
        headers = {"Content-Type": "application/json"}
        try:
            # A redirected POST could take the credentials elsewhere.
            async with self._session.post(url, data=data, headers=headers, allow_redirects=False) as response:
                if size_bytes_max is not None and (response.content_length or 0) > size_bytes_max:
                    raise TooLargeError
                return response.status, await response.read()
        except TimeoutError:
            raise unreachable("no answer in time") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise refused_certificate(error.certificate_error) from None
        except aiohttp.ClientConnectorError as error:
            raise unreachable(error.os_error.strerror or type(error.os_error).__name__) from None
        except (aiohttp.ClientError, OSError) as error:
            # The name alone: messages of some of these repeat the URL.
            raise unreachable(f"the connection broke ({type(error).__name__})") from None

    def say_goodbye(self, base_url: str | None, baton: str) -> None:
        """Close a stream without waiting for it."""
        task = asyncio.get_running_loop().create_task(self._close_stream(base_url, baton))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _close_stream(self, base_url: str | None, baton: str) -> None:
        # An unclosed stream expires at the server.
        with suppress(CdcError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S_MAX):
                await self._post(base_url, baton, [CLOSE])

    async def close(self) -> None:
        """End whatever runs, and close every connection."""
        if self._listener is not None:
            await self._listener.close()
        if self._farewells:
            await asyncio.wait(self._farewells)
        await self._session.close()


class HttpStream:
    """A stream of one transaction, see `cdc.source.stream.Stream`.

    A read transaction that is not used for a while says now and then that it is still wanted.
    """

    def __init__(self, streams: HttpStreams, begin: str) -> None:
        self._streams = streams
        self._begin = begin
        self._begun = False
        self._lost = False
        self._abandoned = False
        self._baton: str | None = None
        self._base_url: str | None = None
        self._turn = asyncio.Lock()
        self._used_s = 0.0
        self._keeper: asyncio.Task[None] | None = None

    async def run(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements one after the other, none after one that failed."""
        async with self._turn:
            answer, begun, size_bytes = await self._ask(statements, decode_plain)
            results = await _off_loop(
                size_bytes, lambda: results_of(batch_of(answer), begun + len(statements))
            )
            return results[begun:]

    async def exact(self, statement: Statement, work: Callable[[list[Row]], T]) -> tuple[T, int]:
        """Run one query that is in the exact form, and ``work`` where its rows are decoded."""
        async with self._turn:
            answer, _, size_bytes = await self._ask([statement], decode_exact)
            return await _off_loop(size_bytes, lambda: work(rows_of_last(batch_of(answer)))), size_bytes

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Do nothing: a transaction may be asked as often as one likes."""

    async def commit(self) -> None:
        """Commit, and give the stream back; nothing where it never began."""
        if self._begun:
            await self.run([_COMMIT])
        self.abandon()

    def abandon(self) -> None:
        """Give the stream back without waiting; the server rolls back what was not committed."""
        if self._keeper is not None:
            self._keeper.cancel()
        self._abandoned = self._lost = True
        baton, self._baton = self._baton, None
        if baton is not None:
            self._streams.say_goodbye(self._base_url, baton)

    async def _ask(
        self, statements: Sequence[Statement], decode: Callable[[bytes], _Answer]
    ) -> tuple[_Answer, int, int]:
        """Give the answer, how many statements were put before, and the answer's size in bytes."""
        if self._lost:
            raise lost_transaction()
        begin = [] if self._begun else [Statement(self._begin)]
        # A baton is good for one request: until the next one is here the stream is nobody's.
        self._lost = True
        baton, self._baton = self._baton, None
        body = await self._streams.ask(self._base_url, baton, [batch_request([*begin, *statements])])
        answer = await _off_loop(len(body), lambda: _decode(body, decode))
        self._baton, self._base_url = answer.baton, answer.base_url or self._base_url
        self._lost = answer.baton is None
        self._begun = True
        if self._abandoned:
            self.abandon()
            return answer, len(begin), len(body)
        loop = asyncio.get_running_loop()
        self._used_s = loop.time()
        if self._keeper is None and self._begin == BEGIN_READ and not self._lost:
            self._keeper = loop.create_task(self._keep_alive())
        return answer, len(begin), len(body)

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            idle_s = loop.time() - self._used_s
            if self._turn.locked() or idle_s < KEEP_ALIVE_S:
                await asyncio.sleep(max(KEEP_ALIVE_S - idle_s, KEEP_ALIVE_S / 10))
                continue
            try:
                await self.run([_NOTHING])
            except CdcError:
                return  # whoever uses the stream next learns that it is lost


async def _off_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """Do what takes long with large answers on a thread."""
    return work() if size_bytes <= DECODE_INLINE_BYTES_MAX else await asyncio.to_thread(work)


def _decode(body: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(body)
    except msgspec.DecodeError:
        # Not chained: its message may tell of a cell.
        raise garbled() from None


def _refusal(status: int, body: bytes) -> CdcError:
    error = error_of(body)
    return refused_request(status, error.message, error.code)
