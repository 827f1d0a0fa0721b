"""Serves a site: routes, the token, limits on connections, size and time."""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import web

from cdc.http import limits
from cdc.http.address import Address, check_exposed
from schemas.errors import CdcError, GaveUpError, NoRowError, UsageError
from schemas.values import json_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiohttp.web_protocol import RequestHandler
    from multidict import MultiMapping

_log = structlog.get_logger("cdc.http")

_Handler = "Callable[[web.Request], Awaitable[web.StreamResponse]]"


class Ready(msgspec.Struct, frozen=True):
    """Whether a part does its work, and if not, why."""

    ready: bool
    reason: str = ""


class Site(Protocol):
    """What is served."""

    def ready(self) -> Ready:
        """Whether the part does its work."""
        ...

    def metrics(self) -> bytes:
        """The metrics, in Prometheus' text format."""
        ...

    async def status(self) -> Any:
        """What ``cdc status --json`` prints; None where this part has no such thing."""
        ...

    async def row(self, table: str, query: MultiMapping[str]) -> bytes:
        """One row as a JSON line.

        Raises:
            NoRowError: there is none; its message is the document.
            UsageError: the table or the key is none.
            GaveUpError: the position was not reached in time.
        """
        ...


@asynccontextmanager
async def serving(address: Address, token: str | None, site: Site) -> AsyncIterator[Address]:
    """Serve a site for the length of a block; gives the address, with the port that was free.

    Raises:
        UsageError: the address would be open to everybody, or is no address of this machine.
        CdcError: it is in use.
    """
    check_exposed(address, token)
    listening = _listen(address)
    app = web.Application(
        middlewares=[_answer_errors, _ask_who(address, token)], client_max_size=limits.REQUEST_BYTES_MAX
    )
    app.add_routes(_routes(site))
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=limits.KEEPALIVE_SECONDS,
        shutdown_timeout=limits.SHUTDOWN_SECONDS,
        max_line_size=limits.REQUEST_BYTES_MAX,
        max_field_size=limits.REQUEST_BYTES_MAX,
    )
    await runner.setup()
    gate = _Gate(runner)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(gate, sock=listening)
    sweeping = asyncio.create_task(gate.sweep())
    bound = Address(address.host, listening.getsockname()[1])
    _log.info("serving http", listen=str(bound))
    try:
        yield bound
    finally:
        sweeping.cancel()
        server.close()
        await runner.cleanup()


def _listen(address: Address) -> socket.socket:
    """Bind before any work begins, so that an address in use is told at once."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(
            f"http.listen {address}: {error.strerror}", "give an address of this machine"
        ) from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(limits.CONNECTIONS_MAX)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise CdcError(
                f"the address {address} for HTTP is in use", "give another one with --http or http.listen"
            ) from None
        raise UsageError(
            f"http.listen {address}: {error.strerror}", "give an address of this machine"
        ) from None
    return listening


class _Refusal(asyncio.Protocol):
    """Answers a connection too many, and closes it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
        transport.close()


class _Gate:
    """Makes the protocol of every connection, counts them, and ends those that are too old."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._seen: dict[RequestHandler, float] = {}

    def __call__(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= limits.CONNECTIONS_MAX:
            return _Refusal()
        return server()

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(limits.SWEEP_SECONDS)
            server, now = self._runner.server, time.monotonic()
            alive = [] if server is None else server.connections
            self._seen = {one: self._seen.get(one, now) for one in alive}
            for one, since in self._seen.items():
                if now - since > limits.CONNECTION_SECONDS_MAX and one.transport is not None:
                    one.transport.abort()


def _routes(site: Site) -> Iterable[web.RouteDef]:
    async def live(_request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def ready(_request: web.Request) -> web.Response:
        found = site.ready()
        return _json({"ready": found.ready, "reason": found.reason or None}, 200 if found.ready else 503)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=site.metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def status(_request: web.Request) -> web.Response:
        document = await site.status()
        if document is None:
            return _json({"error": "this part has health and metrics only"}, 404)
        return _json(document)

    async def row(request: web.Request) -> web.Response:
        body = await site.row(request.match_info["table"], request.query)
        return web.Response(body=body, content_type="application/json")

    return [
        web.get("/live", live),
        web.get("/ready", ready),
        web.get("/metrics", metrics),
        web.get("/status", status),
        web.get("/tables/{table}/rows", row),
        web.get("/", _page(site)),
    ]


def _page(site: Site) -> Any:
    async def page(_request: web.Request) -> web.Response:
        found = site.ready()
        state = "ready" if found.ready else f"not ready: {found.reason}"
        text = f"cdc, {state}\n\n/live /ready /metrics /status /tables/TABLE/rows?key=KEY\n"
        return web.Response(text=text)

    return page


def _json(document: Any, code: int = 200) -> web.Response:
    return web.Response(body=json_line(document), status=code, content_type="application/json")


@web.middleware
async def _answer_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response = await handler(request)
    except NoRowError as error:
        response = web.Response(body=error.message.encode(), status=404, content_type="application/json")
    except web.HTTPException as error:
        response = _json({"error": error.reason}, error.status)
    except UsageError as error:
        response = _json({"error": str(error)}, 400)
    except GaveUpError as error:
        response = _json({"error": str(error)}, 504)
    except CdcError as error:
        response = _json({"error": str(error)}, 503)
    except Exception as error:  # noqa: BLE001 -- a bug here must not end the part that it tells of
        _log.exception("a request failed", path=request.path)
        response = _json({"error": f"unexpected {type(error).__name__}"}, 500)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _ask_who(address: Address, token: str | None) -> Any:
    """Ask for the token; without one, answer only whoever names this machine.

    A page of another site may have its own name lead to 127.0.0.1; the Host header still tells that name.
    """
    wanted = None if token is None else f"Bearer {token}".encode()

    @web.middleware
    async def ask(request: web.Request, handler: Any) -> web.StreamResponse:
        if wanted is not None:
            given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if request.path != "/live" and not hmac.compare_digest(given, wanted):
                refused = _json({"error": "give Authorization: Bearer TOKEN"}, 401)
                refused.headers["WWW-Authenticate"] = "Bearer"
                return refused
        elif not _names_us(request.host, address):
            return _json({"error": "this Host is not served"}, 403)
        return await handler(request)

    return ask


def _names_us(host: str, address: Address) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
        if name in ("localhost", address.host.lower()):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
