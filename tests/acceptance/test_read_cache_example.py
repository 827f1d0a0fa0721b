"""examples/read-cache, a Rust program written from docs/cache-file.md: what `cdc` wrote, and damage."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from consumers import _redb
from schemas.keys import encode_key
from schemas.rows import encode_row
from tests.support.caches import living_writer
from tests.support.commands import PROJECT, cdc
from tests.support.parts import need_command
from tests.support.sqlite_values import EDGE_INTEGERS, EDGE_REALS

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = PROJECT / "examples/read-cache"
BUILT = PROJECT / ".cache/read-cache"
BUILD_S_MAX = 600.0
READ_S_MAX = 30.0
VALUES = [
    *EDGE_INTEGERS,
    *EDGE_REALS,
    "",
    "a\x00b",
    'quo"te\\',
    "\n\x1f",
    "\U0001f600",
    b"",
    b"\x00\xff",
    b"1234",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program() -> Path:
    """The built program; only the first run on a machine builds it."""
    build = [need_command("cargo"), "build", "--quiet", "--locked", "--target-dir", str(BUILT)]
    subprocess.run(build, cwd=EXAMPLE, check=True, timeout=BUILD_S_MAX)
    return BUILT / "debug/read-cache"


def read(program: Path, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=READ_S_MAX, check=False)
    assert done.returncode == code, done.stderr
    return done


def lines(text: str | bytes) -> list[str]:
    """Documents as texts that tell every type, in a form of their own."""
    return [json.dumps(json.loads(line), sort_keys=True) for line in text.splitlines()]


def test_it_reads_every_value_of_a_synced_cache_beside_a_writer(program: Path, tmp_path: Path):
    source, cache = tmp_path / "app.db", tmp_path / "cache.redb"
    make_database(source)
    cdc("sync", "--source", source, "--cache", cache)
    expected = lines(cdc("dump", "--cache", cache).stdout)
    position = cdc("status", "--json", "--cache", cache).json["cache"]["position"]

    writer = living_writer(cache)
    try:
        read_rows = [json.loads(line) for line in read(program, cache).stdout.splitlines()]
        checkpoint = json.loads(read(program, cache, "--checkpoint").stdout)
        one_table = read(program, cache, "plain").stdout
    finally:
        writer.kill()
        writer.communicate()

    change_ids = [row.pop("change_id") for row in read_rows]
    assert [json.dumps(row, sort_keys=True) for row in read_rows] == expected
    assert all(0 < change_id <= position["change_id"] for change_id in change_ids)
    assert {name: checkpoint[name] for name in position} == position
    assert [json.loads(line)["row"] for line in one_table.splitlines()] == [{"id": 7, "note": None}]


def test_it_reads_tables_with_native_keys(program: Path, tmp_path: Path):
    source, cache, config = tmp_path / "app.db", tmp_path / "cache.redb", tmp_path / "cdc.toml"
    keys = {
        "text": ["", "a", "a\x00b", "\U0001f600"],
        "integer": [-(2**63), -1, 0, 2**63 - 1],
        "bytes": [b"", b"\x00", b"\xff\x00"],
    }
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for key_type, values in keys.items():
            connection.execute(f"CREATE TABLE {key_type}_keys (k NOT NULL PRIMARY KEY, v)")
            rows = [(value, value) for value in values]
            connection.executemany(f"INSERT INTO {key_type}_keys VALUES (?, ?)", rows)
    settings = "".join(f'[tables.{name}_keys]\nkey_type = "{name}"\n' for name in keys)
    config.write_text(f'[source]\nurl = "file:{source}"\n[cache]\npath = "{cache}"\n{settings}')
    cdc("sync", "--config", config)
    assert quarantined(config) == 0
    found = [json.loads(line) for line in read(program, cache).stdout.splitlines()]
    assert len(found) == sum(map(len, keys.values()))
    assert all(row.pop("change_id") > 0 for row in found)
    expected = lines(cdc("dump", "--config", config).stdout)
    assert [json.dumps(row, sort_keys=True) for row in found] == expected


def quarantined(config: Path) -> int:
    return cdc("status", "--json", "--config", config).json["cache"]["quarantined"]


def test_it_refuses_a_damaged_row_and_a_table_that_is_not_there(program: Path, tmp_path: Path):
    path = tmp_path / "cache.redb"
    with _redb.Database.create(path) as database:
        row = encode_row(("note",), ("a text that stands in the file once",))
        database.apply({"t": [(encode_key(("k",)), row, 1)]}, {"checkpoint": b"\x80"})
    assert "does not exist" in read(program, path, "u", code=1).stderr
    data = path.read_bytes()
    assert data.count(b"once") == 1
    path.write_bytes(data.replace(b"once", b"ONCE"))
    damaged = read(program, path, code=1)
    assert damaged.stderr == "error: a damaged row in t: its checksum does not hold\n"


def make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            'CREATE TABLE anything (k NOT NULL, "$blob" NOT NULL, v, PRIMARY KEY (k, "$blob"))'
        )
        rows: list[tuple[Any, ...]] = [(value, place, value) for place, value in enumerate(VALUES)]
        connection.executemany("INSERT INTO anything VALUES (?, ?, ?)", rows)
        connection.execute(
            "INSERT INTO anything VALUES (CAST(x'61ff00' AS TEXT), x'00ff', CAST(x'ff' AS TEXT))"
        )
        connection.execute("CREATE TABLE plain (id INTEGER PRIMARY KEY, note)")
        connection.execute("INSERT INTO plain VALUES (7, NULL)")
        connection.execute("CREATE TABLE empty (id INTEGER PRIMARY KEY)")
