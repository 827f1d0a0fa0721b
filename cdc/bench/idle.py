"""What our processes cost when nothing happens."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import cdc
from cdc.bench import workload
from cdc.bench.counting import CountingServer
from cdc.bench.figure import Skipped, no_kafka
from cdc.bench.process import can_look, cpu_seconds
from cdc.source import open_client
from consumers.cache import Cache
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.bench import Bench, Remote
    from cdc.bench.figure import Figure

SUMMARY = "the cost of doing nothing"

_START_SECONDS_MAX = 30.0
_SETTLE_SECONDS = 2.0
_LOOK_SECONDS = 0.01

_START_REQUESTS = 3
"""Requests after which a command is at work: the first two say hello."""

_TABLE = "cdc_bench_idle"
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
    "AND name NOT LIKE 'libsql\\_%' ESCAPE '\\' LIMIT 1"
)


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures ``cdc run``, and ``cdc poll`` beside ``cdc consume``, at rest; ``run`` at a server too."""
    if not can_look():
        yield Skipped("idle", "this system does not say what a process uses (no /proc)")
        return
    yield from _at_rest(bench, ("run",), None)
    if bench.broker is None:
        yield no_kafka("idle.poll")
        yield no_kafka("idle.consume")
    else:
        yield from _at_rest(bench, ("poll", "consume"), bench.broker.new_topic())
    if bench.remote is not None:
        yield from _remote_at_rest(bench, bench.remote)


def _at_rest(bench: Bench, names: tuple[str, ...], topic: str | None) -> Iterator[Figure]:
    way = "embedded" if topic is None else "kafka"
    database, seconds = bench.folder / f"{way}.db", bench.scale.seconds
    workload.create(database, bench.scale.rows)
    commands = bench.commands(database, f"{way}.redb", topic)
    for once in [("sync",)] if topic is None else [("poll", "--once"), ("consume", "--once")]:
        commands.run(*once)
    runs: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        pids = {name: stack.enter_context(commands.running(name)) for name in names}
        cache = stack.enter_context(Cache.open(bench.folder / f"{way}.redb"))
        with closing(workload.connect(database)) as connection:
            connection.execute(workload.UPDATE, workload.Rows().update(1))
            cache.wait_for(cdc.position(connection), timeout=_START_SECONDS_MAX)
        time.sleep(min(_SETTLE_SECONDS, seconds))
        for _ in range(bench.scale.repeat):
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            began = time.monotonic()
            time.sleep(seconds)
            lasted = time.monotonic() - began
            for name, pid in pids.items():
                runs[name].append((cpu_seconds(pid) - before[name]) / lasted * 100)
    for name, values in runs.items():
        yield bench.figure(
            name, "% of a core", values, better="lower", note=f"over {seconds:g} s without a commit"
        )


def _remote_at_rest(bench: Bench, remote: Remote) -> Iterator[Figure]:
    seconds = bench.scale.seconds
    cpu: list[float] = []
    requests: list[float] = []
    rows_read: list[float] = []
    with CountingServer(remote) as server:
        asyncio.run(_make_table(server.url))
        commands = bench.commands(server.url, "remote.redb")
        try:
            commands.run("sync")
            begun = server.counted.requests
            with commands.running("run") as pid:
                deadline = time.monotonic() + _START_SECONDS_MAX
                while server.counted.requests < begun + _START_REQUESTS and time.monotonic() < deadline:
                    time.sleep(_LOOK_SECONDS)
                time.sleep(min(_SETTLE_SECONDS, seconds))
                for _ in range(bench.scale.repeat):
                    used, counted, began = cpu_seconds(pid), server.counted, time.monotonic()
                    time.sleep(seconds)
                    lasted, now = time.monotonic() - began, server.counted
                    cpu.append((cpu_seconds(pid) - used) / lasted * 100)
                    requests.append((now.requests - counted.requests) / lasted * 60)
                    rows_read.append((now.rows_read - counted.rows_read) / lasted * 60)
        finally:
            commands.run("uninstall")
            asyncio.run(_drop_table(server.url))
    note = f"over {seconds:g} s without a commit, at a source over HTTP"
    yield bench.figure("remote.run", "% of a core", cpu, better="lower", note=note)
    yield bench.figure("remote.requests", "a minute", requests, better="lower", note=note)
    yield bench.figure(
        "remote.rows_read", "rows a minute", rows_read, better="lower", note=f"{note}; as the source counts"
    )


async def _make_table(url: str) -> None:
    client = await open_client(url)
    try:
        if (await client.execute(_TABLES)).rows:
            raise UsageError(
                "the source at --source has tables: capture would be put into it, and removed",
                "give an empty database",
            )
        await client.execute(f"CREATE TABLE {_TABLE} (id INTEGER PRIMARY KEY, v)")
        await client.execute(f"INSERT INTO {_TABLE} VALUES (1, 'one')")
    finally:
        await client.close()


async def _drop_table(url: str) -> None:
    client = await open_client(url)
    try:
        await client.execute(f"DROP TABLE {_TABLE}")
    finally:
        await client.close()
