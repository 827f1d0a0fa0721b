"""Tables whose redb keys are native: loaded, changed, read, verified; what does not fit is quarantined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers import Cache, _redb
from tests.support.commands import NO_ROW, USAGE, cdc
from tests.support.database import execute

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {"texts": "text", "numbers": "integer", "blobs": "bytes"}
CONFIG = "".join(f'[tables.{table}]\nkey_type = "{kind}"\n' for table, kind in TABLES.items())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        *(f"CREATE TABLE {table}(k PRIMARY KEY, v TEXT)" for table in TABLES),
        "INSERT INTO texts VALUES ('ab', 'one'), ('abc', 'two'), ('b', 'three'), ('', 'four'), (5, 'misfit')",
        "INSERT INTO numbers VALUES (1, 'one'), (-1, 'two'), (9223372036854775807, 'three'), (1.5, 'misfit')",
        "INSERT INTO blobs VALUES (x'6100', 'one'), (x'', 'two'), (x'ff', 'three'), ('a', 'misfit')",
    )
    (tmp_path / "cdc.toml").write_text(
        f'[source]\nurl = "file:{path}"\n[cache]\npath = "{tmp_path / "cache.redb"}"\n{CONFIG}'
    )
    return path


def keys(lines: list[Any]) -> list[Any]:
    return [line["key"][0] for line in lines]


def test_tables_of_native_keys_are_loaded_followed_read_and_verified(source: Path, tmp_path: Path):
    config = ("--config", tmp_path / "cdc.toml")
    cdc("sync", *config)
    with _redb.Database.open_read_only(tmp_path / "cache.redb") as database, database.snapshot() as snapshot:
        assert {table: snapshot.count(table) for table in TABLES} == {"texts": 4, "numbers": 3, "blobs": 3}
    execute(
        source,
        "UPDATE texts SET v = 'new' WHERE k = 'ab'",
        "INSERT INTO texts VALUES (6, 'misfit'), ('abd', 'five')",
        "DELETE FROM numbers WHERE k = -1",
        "DELETE FROM numbers WHERE k = 1.5",
        "UPDATE blobs SET k = x'00' WHERE k = 'a'",
    )
    cdc("sync", *config)
    assert keys(cdc("scan", "texts", *config).json_lines) == ["", "ab", "abc", "abd", "b"]
    assert keys(cdc("scan", "texts", "--prefix", "ab", *config).json_lines) == ["ab", "abc", "abd"]
    assert keys(cdc("dump", "numbers", *config).json_lines) == [1, 9223372036854775807]
    assert keys(cdc("scan", "numbers", "--prefix", "9", *config).json_lines) == [9223372036854775807]
    blobs = [{"$blob": text} for text in ("", "AA==", "YQA=", "/w==")]
    assert keys(cdc("dump", "blobs", *config).json_lines) == blobs
    assert cdc("get", "texts", "ab", "--json", *config).json["row"] == {"k": "ab", "v": "new"}
    cdc("get", "texts", "--key", "[5]", "--json", *config, code=NO_ROW)
    report = cdc("verify", "--json", *config).json
    assert report["equal"]
    assert {table: one["quarantined"] for table, one in report["tables"].items()} == {
        "texts": 2,
        "numbers": 0,
        "blobs": 0,
    }
    with Cache.open(tmp_path / "cache.redb") as cache:
        assert cache.get("numbers", 1) == {"k": 1, "v": "one"}
        assert cache.get("numbers", 1.0) is None
        assert cache.get_many("blobs", [(b"a\0",), ("a",), (b"\xff",)])[1] is None


def test_a_native_type_needs_a_key_of_one_column(source: Path, tmp_path: Path):
    execute(source, "CREATE TABLE pairs(a TEXT, b TEXT, PRIMARY KEY (a, b))")
    config = tmp_path / "cdc.toml"
    config.write_text(config.read_text() + '[tables.pairs]\nkey_type = "text"\n')
    error = cdc("sync", "--config", config, code=USAGE).error
    assert "tables.pairs.key_type" in error
    assert "one column" in error


def test_a_change_of_the_type_reads_the_table_anew(source: Path, tmp_path: Path):
    config = tmp_path / "cdc.toml"
    cdc("sync", "--config", config)
    for kind, quarantined in (("tuple", 0), ("integer", 4), ("text", 1)):
        config.write_text(
            config.read_text().replace(
                config.read_text().partition("[tables.texts]\n")[2].partition("\n")[0],
                f'key_type = "{kind}"',
                1,
            )
        )
        cdc("sync", "--config", config)
        report = cdc("verify", "--json", "--config", config).json
        assert report["equal"]
        assert report["tables"]["texts"]["quarantined"] == quarantined
        assert report["tables"]["numbers"]["quarantined"] == 1
    assert source.exists()
