"""The commands on sources that are no files: load, changes, verify; credentials."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from cdc.source import open_client
from tests.support.command import Ended, cdc_process
from tests.support.sources import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sources import Source
    from tests.support.sqld import Sqld


async def _cdc(folder: Path, *arguments: str, token: str | None = None) -> Ended:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_")}
    environment |= {"TURSO_TEST_TOKEN": token} if token else {}
    return await asyncio.to_thread(cdc_process, *arguments, cwd=folder, env=environment)


def _configure(folder: Path, source: Source) -> None:
    token = 'auth_token = "env:TURSO_TEST_TOKEN"\n' if source.token else ""
    (folder / "cdc.toml").write_text(f'[source]\nurl = "{source.url}"\n{token}')


@pytest.mark.parametrize("kind", KINDS)
async def test_sync_brings_the_cache_to_what_the_source_has(source: Source, tmp_path: Path):
    _configure(tmp_path, source)
    for statements in (
        ["CREATE TABLE t (k TEXT PRIMARY KEY, v)", "INSERT INTO t VALUES ('a', 9e999), ('b', x'00ff')"],
        ["UPDATE t SET k = 'c', v = 9223372036854775807 WHERE k = 'a'", "INSERT INTO t VALUES ('d', NULL)"],
    ):
        client = await source.open()
        for sql in statements:
            await client.execute(sql)
        await client.close()
        synced = await _cdc(tmp_path, "sync", "--json", token=source.token)
        assert synced.code == 0, synced.err
        verified = await _cdc(tmp_path, "verify", "--json", token=source.token)
        assert verified.code == 0, verified.out + verified.err
        assert verified.json()["equal"]
    dumped = await _cdc(tmp_path, "dump", token=source.token)
    assert [(line["key"], line["row"]["v"]) for line in dumped.json_lines()] == [
        (["b"], {"$blob": "AP8="}),
        (["c"], 2**63 - 1),
        (["d"], None),
    ]


@pytest.mark.parametrize("kind", ["cloud"])
async def test_a_source_far_away_is_loaded_and_followed_while_it_is_written_to(
    source: Source, sqld: Sqld, tmp_path: Path
):
    """Each question takes longer than there is between two of the application's transactions."""
    assert source.cloud is not None
    _configure(tmp_path, source)
    near = await open_client(f"http://{sqld.address}")
    await near.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    await near.execute("INSERT INTO t VALUES (1, 0), (2, 0), (3, 0)")
    source.cloud.delay_s = 0.05

    async def write() -> None:
        while True:
            await near.execute("UPDATE t SET v = v + 1")
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    for what in ("rows", "events"):
        synced = await _cdc(tmp_path, "sync", "--json", token=source.token)
        assert synced.code == 0, synced.err
        assert synced.json()[what] >= 3
        verified = await _cdc(tmp_path, "verify", token=source.token)
        assert verified.code == 0, verified.out + verified.err
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    await near.close()


@pytest.mark.parametrize("kind", ["cloud"])
async def test_refused_credentials_end_with_2_and_are_not_shown(source: Source, tmp_path: Path):
    _configure(tmp_path, source)
    ended = await _cdc(tmp_path, "sync", "--json", token="hunter2")
    assert ended.code == 2, ended.err
    assert "refuses the credentials" in ended.err
    assert "hunter2" not in ended.out + ended.err
    assert source.cloud is not None
    ended = await _cdc(tmp_path, "sync", "--source", f"http://me:hunter2@{source.cloud.address}")
    assert ended.code == 2, ended.err
    assert "hunter2" not in ended.out + ended.err
