"""verify --repair and cdc quarantine on real files, with and without a running node."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from msgspec import Raw
from msgspec.structs import replace

from consumers import _redb
from consumers.cache import Cache
from consumers.marks import QuarantineMark, encode_mark
from consumers.meta import QUARANTINE_TABLE
from schemas import encode_key, encode_row, encode_values
from schemas.codec import decode_event, encode_event
from schemas.errors import DamagedRowError
from schemas.event import Op
from schemas.keys import record_key
from tests.support.commands import Running, cdc
from tests.support.conditions import wait_until
from tests.support.topics import end_offset, records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

DIFFERENT, NO_ROW = 3, 6


class Pair:
    """A database of 50 rows and a cache of it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.cache = folder / "app.db", folder / "cache.redb"
        self.here = ("--source", self.source, "--cache", self.cache)
        self.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        self.run("INSERT INTO t SELECT value, 'v' || value FROM generate_series(1, 50)")
        cdc("sync", *self.here)

    def run(self, statement: str) -> None:
        with closing(sqlite3.connect(self.source)) as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            if "generate_series" in statement:
                connection.executemany(
                    "INSERT INTO t VALUES (?, ?)", [(number, f"v{number}") for number in range(1, 51)]
                )
            else:
                connection.execute(statement)

    def tamper(self, ops: dict[str, list[tuple[bytes, bytes | None, int]]]) -> None:
        """Change the cache behind everybody's back."""
        with _redb.Database.open(self.cache) as database:
            database.apply(ops, {})

    def damage(self) -> None:
        """A row is missing, one is there that must not, one is different."""
        self.tamper(
            {"t": [(key(3), None, 1), (key(4), encode_row(("id", "v"), (4, "x")), 1), (key(99), row(99), 1)]}
        )

    def row(self, number: int) -> dict[str, Any] | None:
        with Cache.open(self.cache) as cache:
            return cache.get("t", number)


def key(number: int) -> bytes:
    return encode_key((number,))


def row(number: int) -> bytes:
    return encode_row(("id", "v"), (number, f"v{number}"))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_just_the_differing_keys_are_mended_alone(pair: Pair):
    pair.damage()
    found = cdc("verify", "--json", *pair.here, code=DIFFERENT).json
    assert found["tables"]["t"]["missing"] == [[3]]
    assert found["checks"]["row_counts"] is True
    assert found["repaired"] == 0
    repaired = cdc("verify", "--repair", "--json", *pair.here).json
    assert repaired["equal"]
    assert repaired["repaired"] == 3
    assert repaired["found"]["t"] == {"missing": [[3]], "unexpected": [[99]], "different": [[4]]}
    assert pair.row(3) == {"id": 3, "v": "v3"}
    assert pair.row(99) is None


def test_a_running_node_mends_them_itself_while_the_source_is_written_to(pair: Pair, tmp_path: Path):
    pair.damage()
    with Running(tmp_path, "run", *pair.here) as node:
        wait_until((tmp_path / "cache.redb.ctl").exists, 20, "the node listens")
        with Running(tmp_path, "run", "--source", pair.source, "--cache", tmp_path / "other.redb"):
            # A key with changes of its own is the log's to mend.
            pair.run("UPDATE t SET v = 'new' WHERE id = 4")
            repaired = cdc("verify", "--repair", "--json", *pair.here).json
        assert repaired["equal"]
        assert repaired["repaired"] >= 2
        assert pair.row(3) == {"id": 3, "v": "v3"}
        wait_until(lambda: pair.row(4) == {"id": 4, "v": "new"}, 10, "the log's own change")
        node.check_alive()


def test_a_damaged_row_is_found_by_its_key_and_mended(pair: Pair):
    data = bytearray(pair.cache.read_bytes())
    at = data.rfind(b"\xa1v\xa3v37") + 5
    assert at > 5
    data[at] ^= 1
    pair.cache.write_bytes(data)
    config = pair.cache.parent / "cdc.toml"
    config.write_text('[cache]\ncheck = "never"\n')
    where = ("--config", config, *pair.here)
    found = cdc("verify", "--json", *where, code=DIFFERENT).json
    assert found["tables"]["t"]["different"] == [[37]]
    assert found["tables"]["t"]["cache_rows"] == 50
    assert cdc("verify", "--repair", "--json", *where).json["repaired"] == 1
    assert pair.row(37) == {"id": 37, "v": "v37"}


def mark(number: int, event: bytes = b"") -> tuple[bytes, bytes, int]:
    quarantined = QuarantineMark("it was damaged", 1, 2, since_ms=1_700_000_000_000, event=event)
    return record_key("t", key(number)), encode_mark(quarantined), 1


def test_quarantined_rows_are_listed_said_and_brought_back_from_the_source(pair: Pair):
    pair.tamper({QUARANTINE_TABLE: [mark(5), mark(6)], "t": [(key(5), None, 1), (key(6), None, 1)]})
    lines = cdc("quarantine", "list", "--cache", pair.cache).json_lines
    assert lines[0] == {
        "table": "t",
        "key": [5],
        "reason": "it was damaged",
        "position": {"epoch": 1, "change_id": 2},
        "since": "2023-11-14T22:13:20+00:00",
    }
    assert len(lines) == 2
    said = cdc("get", "t", "5", "--json", "--cache", pair.cache, code=NO_ROW)
    assert said.json["quarantined"]
    assert cdc("status", "--json", *pair.here).json["cache"]["quarantined"] == 2
    # Quarantined rows are no differences.
    assert cdc("verify", "--json", *pair.here).json["tables"]["t"]["quarantined"] == 2
    assert cdc("quarantine", "retry", "t", "5", "--json", *pair.here).json == {"retried": 1, "left": 0}
    assert pair.row(5) == {"id": 5, "v": "v5"}
    assert cdc("quarantine", "drop", "--json", *pair.here).json == {"dropped": 1, "left": 0}
    assert pair.row(6) is None
    assert cdc("quarantine", "list", "--cache", pair.cache).stdout == b""
    cdc("quarantine", "retry", "t", "5", *pair.here, code=NO_ROW)
    assert cdc("verify", "--json", *pair.here, code=DIFFERENT).json["tables"]["t"]["missing"] == [[6]]


def test_a_retry_of_rows_that_still_cannot_be_applied_says_that_they_are_left(tmp_path: Path):
    source, cache, config = tmp_path / "app.db", tmp_path / "cache.redb", tmp_path / "cdc.toml"
    config.write_text('[tables.t]\nkey_type = "text"\n')
    here = ("--config", config, "--source", source, "--cache", cache)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES ('whole'), (NULL), (x'00')")
    cdc("sync", *here)
    assert len(cdc("quarantine", "list", *here).json_lines) == 2
    assert cdc("quarantine", "retry", "--json", *here).json == {"retried": 0, "left": 2}
    assert len(cdc("quarantine", "list", *here).json_lines) == 2


@pytest.mark.kafka
def test_a_counting_record_without_a_row_is_quarantined_told_and_brought_back(
    tmp_path: Path, kafka: KafkaBroker, topic: str
):
    pair = Pair(tmp_path)
    reach = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    cache = tmp_path / "node.redb"
    cdc("poll", "--once", "--source", pair.source, *reach)
    cdc("consume", "--once", "--cache", cache, *reach)
    last = decode_event(records(kafka, topic)[-1].value or b"")
    damaged = replace(
        last,
        op=Op.UPDATE,
        table="t",
        key=Raw(encode_values((7,))),
        after=Raw(b"\x07"),
        prev=last.high,
        prev_nonce=last.nonce,
        high=last.high + 1,
        change_id=last.high + 1,
        index=0,
        last=True,
        offset=end_offset(kafka, topic),
    )
    asyncio.run(send(kafka.bootstrap, topic, record_key("t", key(7)), encode_event(damaged)))
    cdc("consume", "--once", "--cache", cache, *reach)
    (line,) = cdc("quarantine", "list", "--cache", cache).json_lines
    assert line["key"] == [7]
    (told,) = [msgspec.json.decode(record.value or b"") for record in records(kafka, f"{topic}.quarantine")]
    assert told["key"] == [7]
    assert told["reason"] == line["reason"]
    assert told["event"]["$blob"]
    # Nothing can be made of what was stored, and there is no source here.
    retried = cdc("quarantine", "retry", "--json", "--cache", cache, "--node", "n").json
    assert retried == {"retried": 0, "left": 1}


async def send(bootstrap: str, topic: str, name: bytes, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic, value, key=name, partition=0)


def test_a_node_that_verifies_on_schedule_is_unhealthy_from_a_difference_until_its_repair(tmp_path: Path):
    pair = Pair(tmp_path)
    pair.damage()
    (tmp_path / "cdc.toml").write_text('[cache]\nverify_every = "300ms"\n')
    with Running(tmp_path, "run", *pair.here, "--config", tmp_path / "cdc.toml") as node:

        def status() -> dict[str, Any]:
            return cdc("status", *pair.here, "--json").json

        def verified() -> dict[str, Any] | None:
            return status()["cache"]["verified"]

        found = wait_until(verified, 30.0, "a verification has ended")
        assert (found["equal"], found["differences"]) == (False, 3)
        assert not status()["healthy"]
        node.wait_for("the cache differs from its source")
        assert any("cdc verify --repair" in str(line) for line in node.stderr.splitlines())
        cdc("verify", "--repair", *pair.here)
        wait_until(lambda: status()["healthy"], 30.0, "it was verified again, and is equal")
        found = verified()
        assert found is not None
        assert (found["equal"], found["differences"]) == (True, 0)


def test_to_verify_on_schedule_a_source_and_a_shared_file_are_needed(tmp_path: Path):
    Pair(tmp_path)
    config = tmp_path / "cdc.toml"
    config.write_text('[cache]\nreaders = "process"\nverify_every = "1h"\n')
    usage = 2
    assert (
        "readers"
        in cdc("run", "--config", config, "--source", tmp_path / "app.db", code=usage, cwd=tmp_path).error
    )
    config.write_text(
        '[cache]\nverify_every = "1h"\n[kafka]\nbootstrap_servers = "localhost:1"\ntopic = "t"\n'
    )
    assert "no source" in cdc("consume", "--config", config, code=usage, cwd=tmp_path).error


def test_a_row_that_a_reader_met_damaged_is_mended_by_the_running_node_alone(tmp_path: Path):
    pair = Pair(tmp_path)
    pair.run("INSERT INTO t VALUES (1000, 'a value that is found once in the file')")
    with Running(tmp_path, "run", *pair.here) as node:
        wait_until(lambda: pair.row(1000), 30.0, "the node has applied it")
        content = pair.cache.read_bytes()
        value = b"a value that is found once"
        with pair.cache.open("r+b") as file:
            # In every place: pages that are no longer used hold it, too.
            at = content.find(value)
            while at >= 0:
                file.seek(at)
                file.write(b"A")
                at = content.find(value, at + 1)
        error = cdc("get", "t", "1000", *pair.here, code=1).error
        assert "is damaged" in error
        node.wait_for("mended damaged rows")
        row = cdc("get", "t", "1000", *pair.here, "--json").json["row"]
        assert row == {"id": 1000, "v": "a value that is found once in the file"}
        assert cdc("verify", *pair.here, "--json").json["equal"]


@pytest.mark.slow
def test_a_node_without_a_source_loads_everything_anew_after_several_damaged_rows(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    pair = Pair(tmp_path)
    kafka_flags = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    cdc("poll", "--once", "--source", pair.source, *kafka_flags)
    path = tmp_path / "node.redb"
    with Running(tmp_path, "consume", "--cache", path, *kafka_flags) as node:
        wait_until(
            lambda: path.exists() and cdc("scan", "t", "--cache", path).json_lines, 30.0, "it is loaded"
        )
        content = bytearray(path.read_bytes())
        for number in range(10, 51):
            value = f"\xa1v\xa3v{number}".encode("latin-1")
            at = content.find(value)
            while at >= 0:
                content[at + 3] = ord("w")
                at = content.find(value)
        with path.open("r+b") as file:
            file.write(content)
        damaged = list(range(10, 51))

        def loaded_anew() -> bool:
            with Cache.open(path) as cache, suppress(DamagedRowError):
                cache.get("t", damaged[0])
            damaged.append(damaged.pop(0))
            return node.said("loading everything anew")

        wait_until(loaded_anew, 60.0, "enough damaged rows were met")
        node.wait_for("damaged rows are refused to readers")

        def sound() -> bool:
            with Cache.open(path) as cache, suppress(DamagedRowError):
                return all(cache.get("t", number) == {"id": number, "v": f"v{number}"} for number in damaged)
            return False

        wait_until(sound, 60.0, "every row is right again")
