"""A changed setting reaches the cache on the next sync, and nothing that did not change is read anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from cdc.plan import plan_reread
from schemas.definition import TableDefinition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]

CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("", {"a": {"id": 1, "v": "x", "w": 1}, "b": {"id": 2, "v": "y"}}),
    ('[tables.a]\nexclude = ["v"]', {"a": {"id": 1, "w": 1}, "b": {"id": 2, "v": "y"}}),
    ('[tables.A]\nexclude = ["V"]', {"a": {"id": 1, "w": 1}, "b": {"id": 2, "v": "y"}}),
    ('tables = ["b"]', {"b": {"id": 2, "v": "y"}}),
    ('tables = ["b", "a"]\n[tables.a]\nwhere = "w > 1"', {"b": {"id": 2, "v": "y"}}),
    ('[tables.a]\nwhere = "w = 1"', {"a": {"id": 1, "v": "x", "w": 1}, "b": {"id": 2, "v": "y"}}),
    ('[tables.b]\nwhere = "v IS NULL"', {"a": {"id": 1, "v": "x", "w": 1}}),
]


def configure(folder: Path, text: str) -> None:
    (folder / "cdc.toml").write_text(f'[source]\nurl = "app.db"\n{text}')


def cached(cdc: Cdc) -> dict[str, Any]:
    return {line["table"]: line["row"] for line in cdc("dump").json_lines()}


def make(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "app.db")) as db:
        db.executescript(
            "CREATE TABLE a (id INTEGER PRIMARY KEY, v, w); CREATE TABLE b (id INTEGER PRIMARY KEY, v);"
            "INSERT INTO a VALUES (1, 'x', 1); INSERT INTO b VALUES (2, 'y')"
        )


def test_every_change_of_the_configuration_reaches_the_cache(cdc: Cdc, tmp_path: Path) -> None:
    make(tmp_path)
    for text, rows in [*CONFIGURATIONS, *reversed(CONFIGURATIONS)]:
        configure(tmp_path, text)
        document = cdc("sync", "--json").json()
        assert cached(cdc) == rows, text
        assert cdc("verify", "--json").json()["equal"], text
        again = cdc("sync", "--json").json()
        assert (again["rows"], again["events"], again["position"]) == (0, 0, document["position"])


def test_only_tables_of_which_something_else_is_published_are_read_anew(cdc: Cdc, tmp_path: Path) -> None:
    make(tmp_path)
    configure(tmp_path, "")
    cdc("sync")
    configure(tmp_path, '[tables.b]\nexclude = ["v"]')
    assert cdc("sync", "--json").json()["events"] == 1
    assert cached(cdc)["b"] == {"id": 2}
    configure(tmp_path, 'tables = ["a", "b"]\n[tables.b]\nexclude = ["v"]')
    assert cdc("sync", "--json").json()["events"] == 0


def test_another_hash_key_is_another_setting(
    cdc: Cdc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    configure(tmp_path, 'hash_key = "env:HASHING"\n[tables.a]\nhash = ["v"]')
    seen = set()
    for key in ("one", "two"):
        monkeypatch.setenv("HASHING", key)
        assert cdc("sync").code == 0
        seen.add(cached(cdc)["a"]["v"])
        assert cdc("verify").code == 0
    assert len(seen) == 2


def test_verify_refuses_to_compare_by_other_settings(cdc: Cdc, tmp_path: Path) -> None:
    make(tmp_path)
    configure(tmp_path, "")
    cdc("sync")
    configure(tmp_path, '[tables.a]\nexclude = ["v"]')
    ended = cdc("verify")
    assert ended.code == 1
    assert 'holds table "a" by other settings' in ended.err


def test_verify_refuses_to_compare_other_tables_than_the_cache_was_told_to_hold(
    cdc: Cdc, tmp_path: Path
) -> None:
    make(tmp_path)
    for tables, others, words in (
        ("", 'tables = ["a"]', 'the cache holds table "b", by other settings'),
        ('tables = ["a"]', "", 'the cache leaves out table "b", by other settings'),
    ):
        configure(tmp_path, tables)
        cdc("sync")
        configure(tmp_path, others)
        ended = cdc("verify")
        assert (ended.code, ended.out) == (1, "")
        assert words in ended.err
        # Whether all tables are named, or none is, makes no difference to what is compared.
        configure(tmp_path, tables or 'tables = ["a", "b"]')
        assert cdc("verify").code == 0


def test_verify_finds_a_table_that_was_dropped_since_pending_whatever_the_settings(
    cdc: Cdc, tmp_path: Path
) -> None:
    make(tmp_path)
    configure(tmp_path, "")
    cdc("sync")
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.execute("CREATE TABLE c (id INTEGER PRIMARY KEY)")
        db.execute("DROP TABLE b")
    cdc("install")
    assert cdc("verify").code == 0


@pytest.mark.parametrize(
    ("held", "reread"),
    [
        (None, {"a", "b", "gone"}),
        ({"a": 0, "b": 7}, {"gone"}),
        ({"a": 1, "b": 7}, {"a", "gone"}),
        ({"a": 0}, {"b", "gone"}),
        ({"a": 0, "b": 7, "stranger": 0}, {"gone", "stranger"}),
    ],
)
def test_what_is_read_anew_follows_from_what_readers_hold(
    held: dict[str, int] | None, reread: set[str]
) -> None:
    captured = {"a": TableDefinition("a", (), ("id",)), "b": TableDefinition("b", (), ("id",), settings=7)}
    assert plan_reread(captured, {"a", "b", "gone"}, held) == reread


def test_single_rows_are_not_written_by_other_settings(cdc: Cdc, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript("CREATE TABLE a (id TEXT PRIMARY KEY, v); INSERT INTO a VALUES (NULL, 'x')")
    configure(tmp_path, '[tables.a]\nexclude = ["v"]')
    cdc("sync")
    assert cdc("quarantine", "retry").code == 0
    configure(tmp_path, "")
    ended = cdc("quarantine", "retry")
    assert ended.code == 1
    assert 'holds table "a" by other settings' in ended.err
