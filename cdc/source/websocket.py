"""Hrana over WebSocket, through libsql-client.

That library is archived at 0.3.1, so that the few private parts used here stay what they are: its public
interface has no BEGIN IMMEDIATE, fails on infinities, and loses the connection with any answer above 4 MB.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import msgspec
from libsql_client import LibsqlError
from libsql_client.hrana.client import HranaClient
from libsql_client.hrana.conn import HranaConn, HranaStream

from cdc.source.client import Statement
from cdc.source.hrana_messages import (
    ExactBatch,
    PlainBatch,
    batch_request,
    garbled,
    results_of,
    rows_of_last,
)
from cdc.source.remote_errors import (
    lost_transaction,
    refused_certificate,
    refused_handshake,
    refused_statement,
    unreachable,
)
from cdc.source.remote_limits import CONNECT_S_MAX, HEARTBEAT_S, REQUEST_S_MAX
from cdc.source.remote_sql import tagged
from cdc.source.stream import BEGIN_WRITE
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cdc.source.client import ResultSet, Row
    from cdc.source.remote_sql import Form
    from cdc.source.remote_url import RemoteUrl

T = TypeVar("T")
_Batch = TypeVar("_Batch", PlainBatch, ExactBatch)

_COMMIT: Final = Statement("COMMIT")
_LOST_CODES: Final = frozenset(
    ("HRANA_WEBSOCKET_ERROR", "CLIENT_CLOSED", "STREAM_CLOSED", "HRANA_PROTO_ERROR")
)


class _Connection(HranaConn):
    async def _do_connect(self, session: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
        # Idle connections are dropped on the way; the server itself limits how much it answers.
        return await session.ws_connect(
            url,
            protocols=["hrana2"],
            autoclose=False,
            autoping=True,
            heartbeat=HEARTBEAT_S,
            max_msg_size=0,
        )


class _Connections(HranaClient):
    def _open_conn(self) -> HranaConn:
        return _Connection(self._session, self._url, self._auth_token)

    def open_stream(self) -> HranaStream:
        """Make a stream; on a new connection where the old one is gone."""
        return self._open_stream()


class WebSocketStreams:
    """A server over one WebSocket, opened anew when it breaks. Made by `connect`, ended by `close`."""

    def __init__(self, url: RemoteUrl, request_s_max: float) -> None:
        self.shown = url.shown
        self.request_s_max = request_s_max
        self._connections = _Connections(url.base, url.token)

    @classmethod
    async def connect(cls, url: RemoteUrl, *, request_s_max: float = REQUEST_S_MAX) -> WebSocketStreams:
        """Find out whether the server speaks Hrana over WebSocket, and lets us in.

        Raises:
            UsageError: it does not, or the credentials are refused.
            SourceUnavailableError: it cannot be reached.
        """
        if url.user is not None:
            raise UsageError(
                "a WebSocket takes no user and password", "give a token in source.auth_token, or use http://"
            )
        streams = cls(url, request_s_max)
        try:
            async with asyncio.timeout(min(request_s_max, CONNECT_S_MAX)):
                await streams.run_alone([Statement("SELECT 1")])
        except TimeoutError:
            await streams.close()
            raise unreachable("no answer in time") from None
        except BaseException:
            await streams.close()
            raise
        return streams

    def stream(self, begin: str | None) -> WebSocketStream:
        """Make a stream whose transaction begins with ``begin``."""
        return WebSocketStream(self, begin)

    def open_stream(self) -> HranaStream:
        """Make a stream of the library's."""
        return self._connections.open_stream()

    async def run_alone(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements in one request: one by itself, several as one write transaction."""
        stream = self.stream(None)
        try:
            if len(statements) == 1:
                return await stream.run(statements)
            whole = [Statement(BEGIN_WRITE), *statements, _COMMIT]
            return (await stream.run(whole))[1:-1]
        finally:
            # The server rolls back what a stream leaves open.
            stream.abandon()

    @property
    def form(self) -> Form:
        """The exact form of values, which SQLite can give."""
        return tagged

    @property
    def reads_move(self) -> bool:
        """A stream has a connection of its own."""
        return False

    async def changed(self) -> bool:
        """Say True: the server does not tell."""
        return True

    async def close(self) -> None:
        """End whatever runs, and close the connection."""
        await self._connections.close()


class WebSocketStream:
    """A stream of one transaction, see `cdc.source.stream.Stream`."""

    def __init__(self, streams: WebSocketStreams, begin: str | None) -> None:
        self._streams = streams
        self._begin = [] if begin is None else [Statement(begin)]
        self._begun = False
        self._lost = False
        self._turn = asyncio.Lock()
        self._stream: HranaStream | None = None

    async def run(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements one after the other, none after one that failed."""
        async with self._turn:
            batch, begun = await self._ask(statements, PlainBatch)
            return results_of(batch, begun + len(statements))[begun:]

    async def exact(self, statement: Statement, work: Callable[[list[Row]], T]) -> tuple[T, int]:
        """Run one query that is in the exact form, and ``work`` on a thread."""
        async with self._turn:
            batch, _ = await self._ask([statement], ExactBatch)
            rows = await asyncio.to_thread(rows_of_last, batch)
            return await asyncio.to_thread(work, rows), sum(map(_size_bytes, rows))

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Do nothing: a transaction may be asked as often as one likes."""

    async def commit(self) -> None:
        """Commit, and give the stream back; nothing where it never began."""
        if self._begun:
            await self.run([_COMMIT])
        self.abandon()

    def abandon(self) -> None:
        """Give the stream back without waiting; the server rolls back what was not committed."""
        self._lost = True
        if self._stream is not None:
            self._stream.close()

    async def _ask(self, statements: Sequence[Statement], kind: type[_Batch]) -> tuple[_Batch, int]:
        """Give what came of it, and how many statements were put before."""
        if self._lost:
            raise lost_transaction()
        begin = [] if self._begun else self._begin
        request: Any = batch_request([*begin, *statements])["batch"]
        self._lost = True
        try:
            async with asyncio.timeout(self._streams.request_s_max):
                if self._stream is None:
                    self._stream = self._streams.open_stream()
                answer = await self._stream.batch(request)
        except TimeoutError:
            raise unreachable("no answer in time") from None
        except LibsqlError as error:
            self._lost = error.code in _LOST_CODES
            raise _refusal(error) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise refused_certificate(error.certificate_error) from None
        except aiohttp.WSServerHandshakeError as error:
            raise refused_handshake(error.status) from None
        except (aiohttp.ClientError, aiohttp.WebSocketError, OSError) as error:
            raise unreachable(f"the connection broke ({type(error).__name__})") from None
        self._lost = False
        self._begun = True
        try:
            return await asyncio.to_thread(msgspec.convert, answer, kind, strict=False), len(begin)
        except msgspec.ValidationError:
            raise garbled() from None


def _refusal(error: LibsqlError) -> Exception:
    if error.code in _LOST_CODES:
        return unreachable("the connection broke")
    if error.code.startswith("AUTH"):
        return UsageError(
            f"the source refuses the credentials ({error.code})", "give a valid token in source.auth_token"
        )
    return refused_statement(error.explanation, error.code)


def _size_bytes(row: Row) -> int:
    return sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row) * 4 // 3
