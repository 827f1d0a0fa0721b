"""cdc get, scan and dump on real cache files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas import Column, InvalidText, TableDefinition
from tests.support.caches import EPISODES, STEPS, living_writer, make_cache
from tests.support.command import cdc_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]

VALUES = TableDefinition(
    "values",
    tuple(Column(name, "BLOB") for name in ("k", "integer", "real", "text", "blob", "odd", "inf", "null")),
    ("k",),
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path):
    make_cache(
        tmp_path / "cache.redb",
        {
            STEPS: [("second", "ep-1", 2), ("first", "ep-1", -1), ("x", "ep-2", 1)],
            EPISODES: [("ep-1", 0.5), ("-dash", 1.0), ("e\nx", None)],
            VALUES: [(b"\0", 2**63 - 1, 1.0, 'é"\x1b', b"\0\xff", InvalidText(b"\xff"), float("-inf"), None)],
            TableDefinition("empty", (Column("id", "INTEGER"),), ("id",)): [],
        },
    ).close()


def test_get_prints_the_row_as_one_document(cdc: Cdc):
    ended = cdc("get", "steps", "ep-1", "2", "--json")
    assert ended.code == 0
    assert ended.out == (
        '{"table":"steps","key":["ep-1",2],"row":{"note":"second","episode":"ep-1","number":2}}\n'
    )


def test_every_class_of_value_is_printed_without_loss(cdc: Cdc):
    line = (
        '{"table":"values","key":[{"$blob":"AA=="}],"row":{"k":{"$blob":"AA=="},"integer":9223372036854775807,'
        '"real":1.0,"text":"é\\"\\u001b","blob":{"$blob":"AP8="},"odd":{"$text":"/w=="},"inf":{"$real":"-inf"},'
        '"null":null}}\n'
    )
    assert cdc("scan", "values").out == line
    assert cdc("get", "values", "--key", '[{"$blob": "AA=="}]', "--json").out == line


def test_get_is_readable_for_people_and_safe_for_terminals(cdc: Cdc):
    assert cdc("get", "steps", "ep-1", "2").out == 'note: "second"\nepisode: "ep-1"\nnumber: 2\n'
    assert "\x1b" not in cdc("get", "values", "--key", '[{"$blob": "AA=="}]').out


def test_get_of_no_row_is_null_and_exit_6(cdc: Cdc):
    ended = cdc("get", "episodes", "ep-9", "--json")
    assert (ended.code, ended.err) == (6, "")
    assert ended.json() == {"table": "episodes", "key": ["ep-9"], "row": None}
    ended = cdc("get", "episodes", "ep-9")
    assert (ended.code, ended.out) == (6, "")
    assert ended.err.startswith("error: there is no such row in episodes")


def test_negative_numbers_and_dashes_come_after_two_dashes(cdc: Cdc):
    assert cdc("get", "steps", "--json", "--", "ep-1", "-1").code == 0
    assert cdc("get", "episodes", "--json", "--", "-dash").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["steps", "ep-1"],
        ["steps", "ep-1", "2", "3"],
        ["steps"],
        ["steps", "ep-1", "two"],
        ["steps", "--key", '["ep-1"]'],
        ["steps", "--key", "ep-1"],
        ["steps", "--key", '{"a": 1}'],
        ["steps", "--key", '["ep-1", true]'],
        ["steps", "ep-1", "--key", '["ep-1", 2]'],
        ["steps", "--key", "[" * 5000],
        ["nothing", "x"],
    ],
)
def test_a_wrong_key_or_table_is_exit_2(cdc: Cdc, arguments: list[str]):
    ended = cdc("get", *arguments, "--json")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


def test_scan_prints_rows_in_key_order_and_ends_at_its_limit(cdc: Cdc):
    rows = cdc("scan", "steps").json_lines()
    assert [row["key"] for row in rows] == [["ep-1", -1], ["ep-1", 2], ["ep-2", 1]]
    assert cdc("scan", "steps", "--limit", "2").json_lines() == rows[:2]
    assert cdc("scan", "steps", "--limit", "0", "--json").out == ""
    assert cdc("scan", "steps", "--prefix", "ep-2").json_lines() == rows[2:]
    assert cdc("scan", "steps", "--limit", "-1").code == 2


def test_an_empty_table_prints_no_line_and_an_unknown_one_is_exit_2(cdc: Cdc):
    ended = cdc("scan", "empty")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert cdc("scan", "nothing", "--limit", "0").code == 2
    assert cdc("dump", "episodes", "nothing").code == 2
    assert cdc("dump", "episodes", "nothing").out == ""


def test_dump_prints_tables_by_name_and_each_once(cdc: Cdc):
    lines = cdc("dump").json_lines()
    assert [line["table"] for line in lines] == ["episodes"] * 3 + ["steps"] * 3 + ["values"]
    assert cdc("dump", "steps", "episodes", "steps").json_lines() == lines[:6]


def test_a_missing_or_foreign_cache_is_exit_2(cdc: Cdc, tmp_path: Path):
    (tmp_path / "text").write_text("not a database")
    for path, words in {"none.redb": "there is no cache file", ".": "no redb", "text": "no redb"}.items():
        ended = cdc("scan", "steps", "--cache", path)
        assert (ended.code, ended.out) == (2, "")
        assert words in ended.err


def test_a_cache_that_its_writer_does_not_share_is_exit_1(cdc: Cdc, tmp_path: Path):
    writer = living_writer(tmp_path / "cache.redb", shared=False)
    try:
        ended = cdc("get", "episodes", "ep-1")
    finally:
        writer.kill()
        writer.communicate()
    assert ended.code == 1
    assert 'cache.readers = "shared"' in ended.err


def test_the_cache_is_found_through_the_configuration(cdc: Cdc, tmp_path: Path):
    (tmp_path / "cdc.toml").write_text('[cache]\npath = "moved.redb"')
    (tmp_path / "cache.redb").rename(tmp_path / "moved.redb")
    assert cdc("get", "episodes", "ep-1").code == 0
    assert cdc("get", "episodes", "ep-1", "--cache", "cache.redb").code == 2


def test_an_argument_that_is_not_utf8_is_a_key_like_any_other(tmp_path: Path):
    table = TableDefinition("odd", (Column("id", "TEXT"),), ("id",))
    make_cache(tmp_path / "odd.redb", {table: [(InvalidText(b"a\xff"),)]}).close()
    ended = cdc_process("get", "odd", "a\udcff", "--cache", "odd.redb", "--json", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.json() == {"table": "odd", "key": [{"$text": "Yf8="}], "row": {"id": {"$text": "Yf8="}}}


@pytest.mark.parametrize("arguments", [["--limit", "9" * 30], ["--prefix", "\udcff"]])
def test_a_limit_or_prefix_that_can_be_none_is_a_wrong_flag(tmp_path: Path, arguments: list[str]):
    ended = cdc_process("scan", "episodes", *arguments, "--cache", "cache.redb", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
