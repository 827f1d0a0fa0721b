"""A server that hands everything on to a source over HTTP, and counts: requests, and rows that they read."""

from __future__ import annotations

import asyncio
import threading
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from aiohttp import BasicAuth, ClientError, ClientSession, ClientTimeout, DummyCookieJar, web

from cdc.source.remote_url import parse_remote_url
from schemas.errors import UsageError

if TYPE_CHECKING:
    from cdc.bench.bench import Remote

_BODY_BYTES_MAX: Final = 64 * 2**20
_START_SECONDS_MAX: Final = 10.0
_REQUEST_SECONDS_MAX: Final = 60.0
_FORWARDED: Final = frozenset(("content-type", "accept"))


class Counted(msgspec.Struct, frozen=True):
    """How much there was so far; ``rows_read`` is what the source itself says it read."""

    requests: int = 0
    rows_read: int = 0


class CountingServer:
    """On 127.0.0.1, in a thread of its own; use as ``with``. It also proves who we are to the source.

    Args:
        remote: the source behind it.
    """

    def __init__(self, remote: Remote) -> None:
        self._behind = parse_remote_url(remote.url, remote.auth_token)
        if not self._behind.base.startswith("http"):
            raise UsageError("requests are counted over HTTP only", "give --source as https:// or http://")
        self.counted = Counted()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_START_SECONDS_MAX)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_START_SECONDS_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        behind, headers = self._behind, {}
        if behind.token:
            headers["Authorization"] = f"Bearer {behind.token}"
        elif behind.user:
            headers["Authorization"] = BasicAuth(*behind.user, encoding="utf-8").encode()
        self._session = ClientSession(
            headers=headers, timeout=ClientTimeout(total=None), cookie_jar=DummyCookieJar()
        )
        application = web.Application(client_max_size=_BODY_BYTES_MAX)
        application.router.add_post("/{path:.*}", self._answer)
        application.router.add_get("/{path:.*}", self._stream)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def _requests(self) -> ClientSession:
        if self._session is None:
            raise RuntimeError("this server is not started: use it with `with`")
        return self._session

    async def _answer(self, request: web.Request) -> web.Response:
        timeout = ClientTimeout(total=_REQUEST_SECONDS_MAX)
        body = BytesIO(await request.read())
        try:
            async with self._requests.post(
                f"{self._behind.base}{request.path_qs}",
                data=body,
                headers=_forwarded(request),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                answer = await response.read()
        except (ClientError, TimeoutError):
            return web.Response(status=502)
        before = self.counted
        self.counted = Counted(before.requests + 1, before.rows_read + _rows_read(answer))
        return web.Response(status=response.status, body=answer, content_type=response.content_type)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Answers what lasts: sqld tells of commits by an answer without end."""
        before = self.counted
        self.counted = Counted(before.requests + 1, before.rows_read)
        try:
            async with self._requests.get(
                f"{self._behind.base}{request.path_qs}", headers=_forwarded(request), allow_redirects=False
            ) as response:
                answer = web.StreamResponse(
                    status=response.status, headers={"Content-Type": response.content_type}
                )
                await answer.prepare(request)
                async for chunk in response.content.iter_any():
                    await answer.write(chunk)
                return answer
        except ClientError:
            return web.Response(status=502)


def _forwarded(request: web.Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.lower() in _FORWARDED}


def _rows_read(answer: bytes) -> int:
    """Adds up what the server says of each statement; 0 where it says nothing."""
    try:
        return _sum_of(msgspec.json.decode(answer))
    except msgspec.DecodeError:
        return 0


def _sum_of(part: Any) -> int:
    if not isinstance(part, dict):
        return 0
    own = part.get("rows_read")
    count = own if isinstance(own, int) else 0
    for name in ("results", "step_results"):
        count += sum(map(_sum_of, part.get(name) or ()))
    return count + _sum_of(part.get("response")) + _sum_of(part.get("result"))
