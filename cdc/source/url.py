"""Which driver a source URL asks for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdc.source.sqlite import SqliteClient
from schemas.errors import UsageError

if TYPE_CHECKING:
    from cdc.source.client import Client

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


async def open_client(url: str) -> Client:
    """Connect to a source.

    Args:
        url: ``file:PATH`` (literal, no percent-decoding) or a bare path.

    Raises:
        UsageError: no driver for such a URL, or nothing there that could be a database.
        SourceUnavailableError: the source cannot be reached now.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return await SqliteClient.open(url)
    if scheme[1].lower() == "file":
        return await SqliteClient.open(url[scheme.end() :])
    raise UsageError(f'no driver for sources of "{scheme[1]}:"', "give the source as file:PATH")
