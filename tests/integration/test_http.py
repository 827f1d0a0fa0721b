"""HTTP of running parts, asked by a client of its own."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from cdc.http import limits
from cdc.http.address import Address
from cdc.http.server import Ready, serving
from schemas.errors import CdcError, UsageError
from tests.support.commands import USAGE, Running, cdc
from tests.support.conditions import wait_until
from tests.support.database import execute
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

FAILED = 1


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO t VALUES (1, 'a'), (-2, x'00')",
    )
    return path


class Client:
    """Asks one server."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self._port = port
        self.headers = headers or {}

    def get(self, path: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def json(self, path: str) -> tuple[int, Any]:
        code, text = self.get(path)
        return code, json.loads(text)


def metric(text: str, name: str) -> float | None:
    for line in text.splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            return float(line.rpartition(" ")[2])
    return None


def test_a_node_tells_its_health_metrics_status_and_rows(tmp_path: Path, source: Path):
    port = free_port()
    client = Client(port)
    cache = tmp_path / "cache.redb"
    with Running(
        tmp_path, "run", "--source", source, "--cache", cache, "--http", f"127.0.0.1:{port}"
    ) as node:
        wait_until(lambda: client.get("/ready")[0] == 200, 20, "the node is ready")
        assert client.get("/live") == (200, "live\n")
        assert client.json("/tables/t/rows?key=1") == (
            200,
            {"table": "t", "key": [1], "row": {"id": 1, "v": "a"}},
        )
        assert client.json("/tables/t/rows?key=-2")[1]["row"]["v"] == {"$blob": "AA=="}
        assert client.json("/tables/t/rows?key=7") == (404, {"table": "t", "key": [7], "row": None})
        for path in (
            "/tables/nothing/rows?key=1",
            "/tables/t/rows",
            "/tables/t/rows?key=x",
            "/tables/t/rows?key=1&key=2",
            "/tables/t/rows?key=1&limit=3",
            "/tables/t/rows?key=1&min_position=now",
            "/tables/t/rows?key=1&min_position=1:1&timeout=soon",
        ):
            code, document = client.json(path)
            assert code == 400, path
            assert document["error"]
        execute(source, "INSERT INTO t VALUES (3, 'new')")
        code, document = client.json("/status")
        assert code == 200
        assert document["source"]["reachable"]
        wanted = document["source"]["position"]
        position = f"{wanted['epoch']}:{wanted['change_id']}"
        code, document = client.json(f"/tables/t/rows?key=3&min_position={position}&timeout=5s")
        assert (code, document["row"]["v"]) == (200, "new")
        assert client.get("/tables/t/rows?key=3&min_position=9:9&timeout=50ms")[0] == 504
        code, text = client.get("/metrics")
        assert code == 200
        assert metric(text, "cdc_rows") == 3
        assert metric(text, "cdc_position_change_id") == wanted["change_id"]
        assert metric(text, "cdc_ready") == 1
        assert metric(text, "cdc_events_total") >= 1
        assert client.get("/")[0] == 200
        assert client.get("/nothing")[0] == 404
        # A web page whose name leads here asks under its own name.
        client.headers = {"Host": "evil.example"}
        assert client.get("/status")[0] == 403
        other = ("run", "--source", source, "--cache", tmp_path / "b.redb", "--http", f"127.0.0.1:{port}")
        assert "in use" in cdc(*other, code=FAILED).error
        node.stop()


def test_with_a_token_only_live_is_open(tmp_path: Path, source: Path):
    port = free_port()
    (tmp_path / "token").write_text("s3cret\n")
    config = tmp_path / "cdc.toml"
    config.write_text(f'[http]\nlisten = "127.0.0.1:{port}"\nauth_token = "file:{tmp_path}/token"\n')
    where = ("--config", config, "--source", source, "--cache", tmp_path / "cache.redb")
    with Running(tmp_path, "run", *where):
        stranger, friend = Client(port), Client(port, {"Authorization": "Bearer s3cret"})
        wait_until(lambda: stranger.get("/live")[0] == 200, 20, "it listens")
        for path in ("/ready", "/metrics", "/status", "/tables/t/rows?key=1", "/"):
            assert stranger.get(path)[0] == 401
        stranger.headers = {"Authorization": "Bearer s3cre"}
        assert stranger.get("/ready")[0] == 401
        wait_until(lambda: friend.get("/ready")[0] == 200, 20, "it is ready")


def test_nobody_is_shown_rows_over_a_network_without_a_token(tmp_path: Path, source: Path):
    where = ("--source", source, "--cache", tmp_path / "cache.redb")
    assert "for everybody" in cdc("run", *where, "--http", "0.0.0.0:0", code=USAGE).error
    cdc("run", *where, "--http", "nowhere", code=USAGE)
    assert not (tmp_path / "cache.redb").exists()


def test_a_node_is_not_ready_while_it_is_paused_for_longer_than_it_may_be_stale(tmp_path: Path, source: Path):
    port = free_port()
    client = Client(port)
    config = tmp_path / "cdc.toml"
    config.write_text('[cache]\nmax_staleness = "1s"\n')
    cache = tmp_path / "cache.redb"
    where = ("--config", config, "--source", source, "--cache", cache, "--http", f"127.0.0.1:{port}")
    with Running(tmp_path, "run", *where):
        wait_until(lambda: client.get("/ready")[0] == 200, 20, "it is ready")
        cdc("pause", "--cache", cache)
        wait_until(lambda: client.get("/ready")[0] == 503, 10, "it is stale")
        assert "stale" in client.json("/ready")[1]["reason"]
        assert client.json("/tables/t/rows?key=1")[0] == 200
        cdc("resume", "--cache", cache)
        wait_until(lambda: client.get("/ready")[0] == 200, 10, "it is ready again")


@pytest.mark.kafka
def test_a_poller_and_a_node_fed_by_kafka_are_ready_once_the_node_has_heard_of_the_poller(
    tmp_path: Path, source: Path, kafka: KafkaBroker, topic: str
):
    reach = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    ports = free_port(), free_port()
    poller, node = Client(ports[0]), Client(ports[1])
    with Running(tmp_path, "poll", "--source", source, *reach, "--http", f"127.0.0.1:{ports[0]}"):
        wait_until(lambda: poller.get("/ready")[0] == 200, 30, "the poller is ready")
        assert poller.get("/status")[0] == 404
        arguments = ("--cache", tmp_path / "cache.redb", *reach, "--http", f"127.0.0.1:{ports[1]}")
        with Running(tmp_path, "consume", *arguments):
            wait_until(lambda: node.get("/ready")[0] == 200, 30, "the node is ready")
            execute(source, "INSERT INTO t VALUES (3, 'c')")
            wait_until(lambda: node.get("/tables/t/rows?key=3")[0] == 200, 10, "the row")
            assert metric(poller.get("/metrics")[1], "cdc_published_events_total") >= 1
            assert metric(node.get("/metrics")[1], "cdc_lag_seconds") < 10


class Nothing:
    """A site that has nothing to show."""

    def ready(self) -> Ready:
        return Ready(ready=True)

    def metrics(self) -> bytes:
        return b""

    async def status(self) -> Any:
        raise RuntimeError("a bug")

    async def row(self, table: str, query: Any) -> bytes:
        raise CdcError(f"no {table} {query}")


async def test_connections_beyond_the_limit_are_refused_and_a_bug_is_an_answer(
    monkeypatch: pytest.MonkeyPatch,
):
    import asyncio

    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 2)
    async with serving(Address("127.0.0.1", 0), None, Nothing()) as address:
        idle = [socket.create_connection((address.host, address.port)) for _ in range(2)]
        client = Client(address.port)
        await asyncio.to_thread(wait_until, lambda: client.get("/live")[0] == 503, 10, "it is refused")
        for one in idle:
            one.close()
        await asyncio.to_thread(wait_until, lambda: client.get("/live")[0] == 200, 10, "it is served")
        assert (await asyncio.to_thread(client.get, "/status"))[0] == 500
        with pytest.raises(CdcError, match="in use"):
            async with serving(address, None, Nothing()):
                pass
    with pytest.raises(UsageError):
        async with serving(Address("", 0), None, Nothing()):
            pass
