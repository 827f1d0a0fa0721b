"""Reading the redb file: one committed state, by key, in pages, and the layout that other programs read."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers import _redb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[_redb.Database]:
    with _redb.Database.create(tmp_path / "cache.redb") as database:
        yield database


def fill(database: _redb.Database, keys: list[bytes]) -> None:
    with database.begin() as transaction:
        transaction.truncate("t")
        transaction.append("t", [(key, b"row of " + key, n) for n, key in enumerate(keys)])
        transaction.commit()


def test_a_snapshot_does_not_change_while_others_write(database: _redb.Database) -> None:
    database.apply({"t": [(b"a", b"1", 1)], "u": [(b"a", b"1", 1)]}, {"name": b"1"})
    with database.snapshot() as snapshot:
        with database.begin() as transaction:
            transaction.put({"t": [(b"a", b"2", 2), (b"b", b"2", 2)]})
            transaction.drop_table("u")
            transaction.set_meta({"name": None})
            transaction.commit()
        assert snapshot.scan("t") == [(b"a", b"1", 1)]
        assert snapshot.get("u", b"a") == b"1"
        assert snapshot.tables() == ["t", "u"]
        assert snapshot.meta() == {"name": b"1"}
    assert database.get_many("t", [b"a", b"b"]) == [b"2", b"2"]
    assert database.meta() == {}


def test_get_many_answers_in_the_order_asked(database: _redb.Database) -> None:
    fill(database, [b"a", b"b"])
    expected = [b"row of b", None, b"row of a", b"row of b"]
    with database.snapshot() as snapshot:
        assert snapshot.get_many("t", [b"b", b"x", b"a", b"b"]) == expected
        assert snapshot.get_many("t", []) == []
    assert database.get_many("t", [b"b", b"x", b"a", b"b"]) == expected


def test_a_table_that_does_not_exist_reads_as_empty(database: _redb.Database) -> None:
    with database.snapshot() as snapshot:
        assert snapshot.get("t", b"a") is None
        assert snapshot.get_stamped("t", b"a") is None
        assert snapshot.get_many("t", [b"a", b"b"]) == [None, None]
        assert snapshot.scan("t") == []
        assert snapshot.count("t") == 0
        assert snapshot.tables() == []
        assert snapshot.meta() == {}


def test_tables_lists_the_users_by_name(database: _redb.Database) -> None:
    database.apply(
        {name: [(b"a", b"", 1)] for name in ("zebra", "Ärger", "_cdc_quarantine", "a b")}, {"x": b""}
    )
    with database.snapshot() as snapshot:
        assert snapshot.tables() == ["a b", "zebra", "Ärger"]
        assert snapshot.count("_cdc_quarantine") == 1


def test_a_scan_in_pages_sees_every_row_once(database: _redb.Database) -> None:
    keys = [n.to_bytes(2, "big") for n in range(2500)]
    fill(database, keys)
    seen: list[bytes] = []
    with database.snapshot() as snapshot:
        after = None
        while page := snapshot.scan("t", after):
            assert len(page) <= 1000
            seen += [key for key, _, _ in page]
            after = page[-1][0]
    assert seen == keys


def test_a_page_ends_at_its_limits(database: _redb.Database) -> None:
    fill(database, [b"%03d" % n for n in range(100)])
    with database.snapshot() as snapshot:
        assert len(snapshot.scan("t", limit=7)) == 7
        assert len(snapshot.scan("t", bytes_max=1)) == 1
        assert 2 <= len(snapshot.scan("t", bytes_max=100)) <= 10
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="limit must be at least 1"):
                snapshot.scan("t", limit=wrong)
            with pytest.raises(ValueError, match="bytes_max must be at least 1"):
                snapshot.scan("t", bytes_max=wrong)


BYTES = st.lists(st.sampled_from([0, 1, 0x61, 0xFE, 0xFF]), max_size=3).map(bytes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(BYTES, max_size=12), after=st.none() | BYTES, prefix=BYTES, limit=st.integers(1, 15))
def test_a_scan_returns_the_keys_after_a_key_that_begin_with_a_prefix(
    database: _redb.Database, keys: set[bytes], after: bytes | None, prefix: bytes, limit: int
) -> None:
    fill(database, sorted(keys))
    with database.snapshot() as snapshot:
        page = snapshot.scan("t", after, limit, prefix)
    wanted = [key for key in sorted(keys) if key.startswith(prefix) and (after is None or key > after)]
    assert [key for key, _, _ in page] == wanted[:limit]
    assert all(row == b"row of " + key for key, row, _ in page)


@pytest.mark.parametrize(
    "call",
    [
        lambda snapshot: snapshot.get("t", b"a"),
        lambda snapshot: snapshot.get_stamped("t", b"a"),
        lambda snapshot: snapshot.get_many("t", []),
        lambda snapshot: snapshot.scan("t"),
        lambda snapshot: snapshot.count("t"),
        lambda snapshot: snapshot.tables(),
        lambda snapshot: snapshot.meta(),
    ],
    ids=["get", "get_stamped", "get_many", "scan", "count", "tables", "meta"],
)
def test_a_closed_snapshot_refuses_every_call(
    database: _redb.Database, call: Callable[[_redb.Snapshot], object]
) -> None:
    snapshot = database.snapshot()
    snapshot.close()
    snapshot.close()
    with pytest.raises(_redb.ClosedError):
        call(snapshot)


def test_stored_values_end_with_what_checks_them(tmp_path: Path) -> None:
    path = tmp_path / "cache.redb"
    key, row, change_id = b"the key", b"the row", 0x0102030405060708
    with _redb.Database.create(path) as database:
        database.apply({"t": [(key, row, change_id)]}, {"the name": b"the value"})
    content = path.read_bytes()
    body = row + change_id.to_bytes(8, "little")
    assert key + body + zlib.crc32(b"t\0" + key + body).to_bytes(4, "little") in content
    assert b"the name" + b"the value" + zlib.crc32(b"the namethe value").to_bytes(4, "little") in content
