"""cdc why, on real files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers.marks import QuarantineMark, encode_mark
from consumers.meta import QUARANTINE_TABLE
from consumers.store import Store
from schemas.keys import encode_key, record_key
from tests.support.database import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]


@pytest.fixture
def source(tmp_path: Path, cdc: Cdc) -> Path:
    path = tmp_path / "app.db"
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    assert cdc("sync", "--source", "app.db").code == 0
    return path


def why(cdc: Cdc, *arguments: str, code: int = 0) -> dict[str, Any]:
    ended = cdc("why", "t", *arguments, "--source", "app.db", "--json")
    assert ended.code == code, ended.err
    return ended.json()


def test_a_row_is_shown_as_cached_and_at_the_source_with_what_is_pending(cdc: Cdc, source: Path):
    execute(source, "UPDATE t SET v = 'new' WHERE id = 1", "DELETE FROM t WHERE id = 2")
    document = why(cdc, "1")
    assert document["cache"]["row"] == {"id": 1, "v": "a"}
    assert document["source"]["row"] == {"id": 1, "v": "new"}
    assert [touch["op"] for touch in document["pending"]] == ["u"]
    assert document["pending"][0]["change_id"] > document["cache"]["change_id"]
    assert why(cdc, "2")["source"]["row"] is None


def test_the_log_row_that_wrote_what_is_cached_is_shown(cdc: Cdc, source: Path):
    execute(source, "UPDATE t SET v = 'new' WHERE id = 1")
    assert cdc("sync", "--source", "app.db").code == 0
    document = why(cdc, "1")
    assert document["event"]["op"] == "u"
    assert document["event"]["change_id"] == document["cache"]["change_id"]
    assert document["pending"] == []


def test_a_quarantine_mark_is_shown(cdc: Cdc, source: Path, tmp_path: Path):
    assert source.exists()
    store = Store.open(tmp_path / "cache.redb", shared=True)
    mark = encode_mark(QuarantineMark("too large", epoch=1, change_id=5, since_ms=7))
    store.database.apply({QUARANTINE_TABLE: [(record_key("t", encode_key((9,))), mark, 5)]}, {})
    store.close()
    assert why(cdc, "9")["quarantine"] == {
        "reason": "too large",
        "position": {"epoch": 1, "change_id": 5},
        "since": 7,
    }


def test_of_a_key_that_nobody_knows_it_says_so_with_6(cdc: Cdc, source: Path):
    assert source.exists()
    assert not why(cdc, "77", code=6)["known"]
    ended = cdc("why", "t", "77", "--source", "app.db")
    assert (ended.code, ended.out) == (6, "")
    assert ended.err.startswith("error: nothing is known")


def test_it_works_without_a_cache_and_without_a_source(cdc: Cdc, source: Path, tmp_path: Path):
    assert cdc("why", "t", "1").code == 0
    (tmp_path / "cache.redb").unlink()
    document = why(cdc, "1")
    assert document["source"]["row"] == {"id": 1, "v": "a"}
    assert "no cache file" in document["cache"]["trouble"]
    source.unlink()
    assert cdc("why", "t", "1", "--source", "app.db").code == 2


def test_an_unknown_table_or_a_wrong_key_is_refused(cdc: Cdc, source: Path):
    assert source.exists()
    assert cdc("why", "nothing", "1", "--source", "app.db").code == 2
    assert cdc("why", "t", "1", "2", "--source", "app.db").code == 2
    assert cdc("why", "t", "one", "--source", "app.db").code == 2


def test_people_see_a_table(cdc: Cdc, source: Path):
    execute(source, "UPDATE t SET v = 'new' WHERE id = 1")
    ended = cdc("why", "t", "1", "--source", "app.db")
    assert ended.code == 0
    assert '{"id":1,"v":"new"}' in ended.out
    assert "1 change in the log" in ended.out
