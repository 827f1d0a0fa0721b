"""One empty database for each kind of driver, so that one suite holds them all to the same behaviour."""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import turso

from cdc.source import open_client
from tests.support.turso_cloud import TursoCloud
from tests.support.tursodb import TursoServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cdc.source import Client
    from tests.support.sqld import Sqld

KINDS = ("file", "http", "cloud", "websocket", "turso", "tursodb")
SERVED_KINDS = ("http", "cloud", "websocket")

_OTHER_THAN_OURS = (
    "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
    "AND name NOT LIKE 'libsql\\_%' ESCAPE '\\' AND type IN ('table', 'trigger', 'view') ORDER BY type DESC"
)


class Source(msgspec.Struct, frozen=True):
    """Where a database is, and what lets us in."""

    kind: str
    url: str
    token: str | None = None
    cloud: TursoCloud | None = None
    server: TursoServer | None = None

    async def open(self, *, watch: str | None = None) -> Client:
        """Connect to it by the driver of its kind."""
        return await open_client(self.url, auth_token=self.token, watch=watch)


@asynccontextmanager
async def empty_source(kind: str, tmp_path: Path, sqld: Sqld | None) -> AsyncIterator[Source]:
    """Give an empty database; servers are shared, and emptied first."""
    async with AsyncExitStack() as stack:
        if kind == "file":
            path = tmp_path / "source.db"
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()
            yield Source(kind, f"file:{path}")
            return
        if kind == "turso":
            path = tmp_path / "source.db"
            turso.connect(str(path)).close()
            yield Source(kind, f"turso:{path}")
            return
        if kind == "tursodb":
            server = stack.enter_context(TursoServer(tmp_path / "source.db"))
            yield Source(kind, server.url, server=server)
            return
        assert sqld is not None
        await _empty(f"http://{sqld.address}")
        if kind == "cloud":
            cloud = await stack.enter_async_context(TursoCloud(sqld.address))
            yield Source(kind, cloud.url, cloud.token, cloud)
        else:
            scheme = {"http": "http", "websocket": "ws"}[kind]
            yield Source(kind, f"{scheme}://{sqld.address}")


async def _empty(url: str) -> None:
    client = await open_client(url)
    try:
        for kind, name in (await client.execute(_OTHER_THAN_OURS)).rows:
            await client.execute(f'DROP {kind} IF EXISTS "{name}"')
    finally:
        await client.close()
