"""cdc bench idle at a server: what it costs is counted, and the database is left empty."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from cdc.source import open_client
from tests.support.command import Ended, cdc_process
from tests.support.sources import empty_source

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sqld import Sqld

TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'libsql%'"


async def _bench(folder: Path, url: str) -> Ended:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_")}
    scale = ("--rows", "20", "--repeat", "1", "--seconds", "1", "--folder", ".")
    words = ("bench", "idle", "--json", "--source", url, *scale)
    return await asyncio.to_thread(cdc_process, *words, cwd=folder, env=environment)


async def test_what_an_idle_run_costs_at_a_server_is_counted_and_the_database_left_empty(
    sqld: Sqld, tmp_path: Path
):
    async with empty_source("http", tmp_path, sqld) as source:
        ended = await _bench(tmp_path, source.url)
        assert ended.code == 0, ended.err
        found = {figure["name"]: figure["value"] for figure in ended.json()["figures"]}
        assert found["idle.remote.requests"] > 0
        assert found["idle.remote.rows_read"] > 0
        assert found["idle.remote.run"] >= 0
        client = await open_client(source.url)
        assert (await client.execute(TABLES)).rows == []
        await client.close()


async def test_a_database_with_tables_is_refused_untouched(sqld: Sqld, tmp_path: Path):
    async with empty_source("http", tmp_path, sqld) as source:
        client = await open_client(source.url)
        await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        ended = await _bench(tmp_path, source.url)
        assert ended.code == 2
        assert "give an empty database" in ended.err
        assert (await client.execute(TABLES)).rows == [("t",)]
        await client.close()
