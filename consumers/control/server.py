"""Listens on the control socket: one request a connection, with limits on size, time and number."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from consumers import limits
from consumers.control.address import BoundSocket, NoSocketError
from consumers.control.messages import Reply, Request, decode_request, encode
from consumers.mending import OvertakenError
from schemas.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_log = structlog.get_logger("consumers.control")


class ControlServer:
    """The listening end of a cache's control socket; open only while its process holds the node's lock.

    Args:
        cache: the cache file.
        answer: does what is asked and returns the result.
    """

    def __init__(self, cache: Path, answer: Callable[[Request], Awaitable[Any]]) -> None:
        self._cache = cache
        self._answer = answer
        self._bound: BoundSocket | None = None
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; where that is not possible the node works without, and says so."""
        try:
            self._bound = BoundSocket(self._cache)
        except NoSocketError as error:
            _log.warning("there is no control socket: this node cannot be talked to", reason=str(error))
            return
        self._server = await asyncio.start_unix_server(
            self._connected, sock=self._bound.socket, limit=limits.CONTROL_REQUEST_BYTES_MAX
        )

    async def close(self) -> None:
        """Stop listening; whoever is being answered is cut off."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._bound is not None:
            self._bound.close()
            self._bound = None
        for task in list(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        crowded = len(self._serving) >= limits.CONTROL_CONNECTIONS_MAX
        self._serving.add(task)
        try:
            # Whoever asks may go away at any moment, and a node that ends cuts them off.
            with contextlib.suppress(
                OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError
            ):
                if crowded:
                    await _send(writer, Reply(error="too many ask this node at once", remedy="try again"))
                else:
                    await self._serve(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(limits.CONTROL_REQUEST_SECONDS):
                request = decode_request(await reader.readuntil(b"\n"))
        except (msgspec.DecodeError, UnicodeDecodeError, asyncio.LimitOverrunError):
            await _send(writer, Reply(error="this is no request of this version", remedy="use one version"))
            return
        work = asyncio.ensure_future(self._answer(request))
        try:
            while not (await asyncio.wait([work], timeout=limits.CONTROL_WORKING_SECONDS))[0]:
                await _send(writer, Reply(working=True))
            await _send(writer, _reply_of(work))
        finally:
            work.cancel()
            await asyncio.wait([work])


def _reply_of(work: asyncio.Future[Any]) -> Reply:
    try:
        return Reply(result=work.result())
    except OneShotError as error:
        return Reply(error=error.message, remedy=error.remedy, attended=False)
    except CdcError as error:
        overtaken = isinstance(error, OvertakenError)
        code = int(error.exit_code)
        return Reply(error=error.message, remedy=error.remedy, code=code, overtaken=overtaken)
    except Exception as error:  # noqa: BLE001 -- whoever asks must be answered
        _log.exception("a request failed")
        return Reply(error=f"unexpected {type(error).__name__}", remedy="see the node's log, and report it")


class OneShotError(CdcError):
    """What writes the cache is a one-shot command: it cannot be asked to do more, and ends by itself."""


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    async with asyncio.timeout(limits.CONTROL_REQUEST_SECONDS):
        writer.write(encode(reply) + b"\n")
        await writer.drain()
