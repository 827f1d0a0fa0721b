"""Which driver a source URL asks for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdc.source.hrana import HttpStreams
from cdc.source.remote import RemoteClient
from cdc.source.remote_url import parse_remote_url
from cdc.source.sqlite import SqliteClient
from cdc.source.websocket import WebSocketStreams
from schemas.errors import UsageError

if TYPE_CHECKING:
    from cdc.source.client import Client

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_HTTP_SCHEMES = frozenset(("http", "https", "libsql"))
_SOCKET_SCHEMES = frozenset(("ws", "wss"))


async def open_client(url: str, *, auth_token: str | None = None, watch: str | None = None) -> Client:
    """Connect to a source.

    Args:
        url: ``file:PATH`` (literal, no percent-decoding) or a bare path; ``http://``, ``https://``,
            ``libsql://``, ``ws://`` or ``wss://``.
        auth_token: what a server knows us by.
        watch: a table that every commit of interest inserts into, for servers that can tell of those.

    Raises:
        UsageError: no driver for such a URL, nothing there that could be a database, or credentials refused.
        SourceUnavailableError: the source cannot be reached now.
    """
    match = _SCHEME.match(url)
    if match is None:
        return await SqliteClient.open(url)
    scheme = match[1].lower()
    if scheme == "file":
        return await SqliteClient.open(url[match.end() :])
    if scheme in _SOCKET_SCHEMES:
        return RemoteClient(await WebSocketStreams.connect(parse_remote_url(url, auth_token)))
    if scheme in _HTTP_SCHEMES:
        address = parse_remote_url(url, auth_token)
        return RemoteClient(await HttpStreams.connect(address, watch=watch))
    raise UsageError(
        f'no driver for sources of "{scheme}:"', "give the source as file:PATH or http://HOST:PORT"
    )
