"""A stand-in for what sets Turso Cloud apart from sqld: it asks for a token and speaks only the pipeline.

Everything else is a real sqld behind it. It can also do what networks do: drop connections, answer late.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any, Self

from aiohttp import ClientSession, ClientTimeout, web

_CHUNK_BYTES = 64 * 1024
_JSON = {"Content-Type": "application/json"}


class TursoCloud:
    """A server on 127.0.0.1 in this process; use as ``async with``.

    Args:
        behind: host and port of the sqld that answers.
        token: the one that it lets in; None for anybody.
        versions: those of the pipeline that it has.
    """

    def __init__(
        self, behind: str, *, token: str | None = "the-token", versions: tuple[str, ...] = ("v3", "v2")
    ) -> None:
        self.token = token
        self.drop_next = 0
        """How many of the next answers to statements break off in the middle."""
        self.delay_s = 0.0
        """How late answers are."""
        self.expired = False
        """Whether it has forgotten every stream."""
        self.requests: list[str] = []
        self._behind = f"http://{behind}"
        self._versions = versions
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._session = ClientSession(timeout=ClientTimeout(total=60))
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    @property
    def url(self) -> str:
        """Its URL without TLS."""
        return f"libsql://{self.address}?tls=0"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "Unauthorized: `invalid token`"}, status=401)
        if request.path not in {f"/{version}/pipeline" for version in self._versions}:
            return web.Response(status=404)
        body: dict[str, Any] = await request.json()
        if self.expired and body["baton"] is not None:
            error = {"message": "The stream has expired due to inactivity", "code": "STREAM_EXPIRED"}
            return web.json_response(error, status=400)
        await asyncio.sleep(self.delay_s)
        assert self._session is not None
        whole = BytesIO(await request.read())
        async with self._session.post(self._behind + request.path, data=whole, headers=_JSON) as answer:
            content = await answer.read()
            if self.drop_next and body["requests"][0]["type"] == "batch":
                self.drop_next -= 1
                return await self._break_off(request, content)
            return web.Response(status=answer.status, body=content, content_type="application/json")

    async def _break_off(self, request: web.Request, content: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: min(_CHUNK_BYTES, len(content) // 2)])
        assert request.transport is not None
        request.transport.abort()
        return response
