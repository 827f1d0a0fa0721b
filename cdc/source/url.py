"""Which driver a source URL asks for."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from cdc.source.sqlite import SqliteClient
from schemas.errors import UsageError

if TYPE_CHECKING:
    from cdc.source.client import Client

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_SERVER_SCHEMES = frozenset(("http", "https", "libsql", "ws", "wss"))


async def open_client(url: str, *, auth_token: str | None = None, watch: str | None = None) -> Client:
    """Connect to a source.

    Args:
        url: ``file:PATH`` (literal, no percent-decoding) or a bare path; ``http://``, ``https://``,
            ``libsql://``, ``ws://`` or ``wss://``; ``turso:PATH`` for the Turso engine in this process.
        auth_token: what a server knows us by.
        watch: a table that every commit of interest inserts into, for servers that can tell of those.

    Raises:
        UsageError: no driver for such a URL, nothing there that could be a database, or credentials refused.
        SourceUnavailableError: the source cannot be reached now.
    """
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    rest = url[match.end() :] if match else url
    if scheme in {"", "file"}:
        return await SqliteClient.open(rest)
    if scheme == "turso":
        return await _open_turso(rest)
    if scheme in _SERVER_SCHEMES:
        return await _open_server(scheme, url, auth_token, watch)
    raise UsageError(
        f'no driver for sources of "{scheme}:"', "give the source as file:PATH or http://HOST:PORT"
    )


def shown_url(url: str) -> str:
    """Return what `Client.url` of an open source is, without reaching it.

    Raises:
        UsageError: it is no URL of a source.
    """
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    if scheme in _SERVER_SCHEMES:
        from cdc.source.remote_url import parse_remote_url  # noqa: PLC0415 -- see below

        return parse_remote_url(url, None).shown
    return "file:" + os.path.realpath(url[match.end() :] if match else url)


# What follows imports late: readers of files need neither an HTTP client nor another engine.


async def _open_turso(path: str) -> Client:
    from cdc.source.turso_engine import TursoClient  # noqa: PLC0415 -- see above

    return await TursoClient.open(path)


async def _open_server(scheme: str, url: str, auth_token: str | None, watch: str | None) -> Client:
    from cdc.source.hrana import HttpStreams  # noqa: PLC0415 -- see above
    from cdc.source.remote import RemoteClient  # noqa: PLC0415 -- see above
    from cdc.source.remote_url import parse_remote_url  # noqa: PLC0415 -- see above
    from cdc.source.shared import SharedStreams  # noqa: PLC0415 -- see above
    from cdc.source.websocket import WebSocketStreams  # noqa: PLC0415 -- see above

    address = parse_remote_url(url, auth_token)
    if scheme in {"ws", "wss"}:
        return RemoteClient(await WebSocketStreams.connect(address))
    streams = await HttpStreams.connect(address, watch=watch)
    return RemoteClient(streams if streams.holds_transactions else await SharedStreams.over(streams))
