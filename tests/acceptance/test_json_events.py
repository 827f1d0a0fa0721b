"""A topic in JSON: nodes end up with the same bytes as from msgpack, and a topic may switch."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from schemas.documents import EVENTS_SCHEMA
from schemas.values import InvalidText
from tests.support.commands import cdc
from tests.support.rows import assert_same_rows, dumped_rows, source_rows
from tests.support.sqlite_values import EDGE_INTEGERS, EDGE_REALS
from tests.support.topics import records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

KEYS = {"anything": ["k"], "odd\\name": ["id"]}
TEXTS = [
    "",
    "\x00",
    "a\x00b",
    "\u2028",
    "\U0001f600",
    "{",
    '"',
    "\\",
    "x" * 70_000,
    InvalidText(b"a\xff\x00"),
]
BLOBS = [b"", b"\x00", b"{", b"caf\xe9", bytes(range(256)) * 300]
VALUES: list[Any] = [*EDGE_INTEGERS, *EDGE_REALS, *TEXTS, *BLOBS]


@pytest.mark.slow
def test_every_value_reaches_the_cache_through_json_and_through_a_switch(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source, cache = tmp_path / "app.db", tmp_path / "cache.redb"
    make_database(source)
    config = tmp_path / "cdc.toml"

    def publish_and_apply(encoding: str) -> None:
        config.write_text(
            f'[source]\nurl = "file:{source}"\n[cache]\npath = "{cache}"\nnode = "{topic}"\n'
            f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"\nencoding = "{encoding}"\n'
        )
        cdc("poll", "--once", "--config", config)
        cdc("consume", "--once", "--config", config)
        dumped = dumped_rows(cdc("dump", "--config", config).json_lines)
        assert_same_rows(dumped, source_rows(source, KEYS), encoding)

    publish_and_apply("json")
    change(source, "UPDATE anything SET w = v WHERE rowid % 2; DELETE FROM anything WHERE rowid % 5 = 0")
    # More than a record holds: it comes in parts.
    change(source, "INSERT INTO anything (k, v, w) VALUES ('large', randomblob(3000000), 1e22)")
    publish_and_apply("json")
    change(source, "UPDATE anything SET w = NULL, v = w")
    publish_and_apply("msgpack")
    change(
        source, 'ALTER TABLE anything ADD COLUMN x DEFAULT 9e999; UPDATE "odd\\name" SET "a""\\b" = -9e999'
    )
    publish_and_apply("json")

    report = cdc("verify", "--json", "--config", config).json
    assert report["equal"]
    values = [record.value or b"" for record in records(kafka, topic)]
    in_json = [json.loads(value) for value in values if value[:1] == b"{"]
    assert 0 < len(in_json) < len(values)
    schema = Draft202012Validator(json.loads(EVENTS_SCHEMA.read_bytes()))
    for event in in_json:
        schema.validate(event)


def make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE anything (k NOT NULL PRIMARY KEY, v, w)")
        for value in VALUES:
            bound, expression = (
                (value.data, "CAST(? AS TEXT)") if isinstance(value, InvalidText) else (value, "?")
            )
            # Some are equal to SQL: 1 and 1.0.
            connection.execute(
                f"INSERT OR IGNORE INTO anything (k, v) VALUES ({expression}, {expression})", (bound, bound)
            )
        connection.execute('CREATE TABLE "odd\\name" (id INTEGER PRIMARY KEY, "a""\\b", "$blob")')
        connection.execute("INSERT INTO \"odd\\name\" VALUES (-1, 0.1, 'AAAA'), (2, NULL, x'00')")


def change(path: Path, statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"BEGIN; {statements}; COMMIT")
