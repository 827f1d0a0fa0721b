"""Write transactions of the redb file: what they do to rows, and what nobody sees of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers import _redb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Model = dict[bytes, tuple[bytes, int]]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[_redb.Database]:
    with _redb.Database.create(tmp_path / "cache.redb") as database:
        yield database


def rows(database: _redb.Database, table: str = "t") -> list[tuple[bytes, bytes, int]]:
    with database.snapshot() as snapshot:
        return snapshot.scan(table, limit=1_000_000)


def test_of_several_operations_on_a_key_the_last_counts(database: _redb.Database) -> None:
    database.apply(
        {"t": [(b"b", b"1", 1), (b"a", b"2", 2), (b"b", None, 3), (b"b", b"4", 4), (b"a", None, 5)]}, {}
    )
    assert rows(database) == [(b"b", b"4", 4)]
    database.apply({"t": [(b"a", b"6", 6), (b"b", b"7", 7), (b"b", None, 8)]}, {})
    assert rows(database) == [(b"a", b"6", 6)]


def test_a_later_put_of_a_transaction_counts_over_an_earlier_one(database: _redb.Database) -> None:
    with database.begin() as transaction:
        transaction.put({"t": [(b"a", b"1", 1), (b"b", b"1", 1)]})
        transaction.put({"t": [(b"a", None, 2), (b"b", b"2", 2)]})
        transaction.commit()
    assert rows(database) == [(b"b", b"2", 2)]


def test_deleting_what_is_not_there_changes_nothing(database: _redb.Database) -> None:
    database.apply({"t": [(b"a", b"1", 1), (b"z", None, 2)], "u": [(b"a", None, 2)]}, {"gone": None})
    assert rows(database) == [(b"a", b"1", 1)]
    assert rows(database, "u") == []


@pytest.mark.parametrize("size", [0, 1, 4096, 5_000_000])
def test_rows_and_keys_of_every_size_come_back(database: _redb.Database, size: int) -> None:
    key, row = b"k" * min(size, 100_000), b"r" * size
    database.apply({"t": [(key, row, 2**64 - 1), (b"other", b"", 0)]}, {"name": row})
    with database.snapshot() as snapshot:
        assert snapshot.get_stamped("t", key) == (row, 2**64 - 1)
        assert snapshot.get_stamped("t", b"other") == (b"", 0)
        assert snapshot.meta() == {"name": row}


@pytest.mark.parametrize("call", ["append", "put"])
def test_a_bulk_load_goes_on_where_keys_are_not_above_the_last(database: _redb.Database, call: str) -> None:
    parts: list[list[tuple[bytes, bytes, int]]] = [
        [(b"c", b"1", 1), (b"d", b"1", 1)],
        [(b"e", b"2", 2), (b"d", b"2", 2), (b"a", b"2", 2)],
        [(b"d", b"3", 3), (b"f", b"3", 3), (b"f", b"4", 4)],
    ]
    with database.begin() as transaction:
        for part in parts:
            if call == "append":
                transaction.append("t", part)
            else:
                transaction.put({"t": [*part]})
        transaction.commit()
    assert rows(database) == [
        (b"a", b"2", 2),
        (b"c", b"1", 1),
        (b"d", b"3", 3),
        (b"e", b"2", 2),
        (b"f", b"4", 4),
    ]


def test_a_table_truncated_and_filled_in_one_transaction_holds_the_new_rows_only(
    database: _redb.Database,
) -> None:
    database.apply({"t": [(n.to_bytes(4, "big"), b"old", n) for n in range(5000)]}, {})
    with database.begin() as transaction:
        transaction.put({"t": [(b"early", b"lost", 1)]})
        transaction.truncate("t")
        transaction.append("t", [(n.to_bytes(4, "big"), b"new", n) for n in range(10, 20)])
        transaction.put({"t": [(b"\0\0\0\x0f", None, 20)]})
        transaction.commit()
    assert [int.from_bytes(key) for key, _, _ in rows(database)] == [10, 11, 12, 13, 14, 16, 17, 18, 19]
    assert {row for _, row, _ in rows(database)} == {b"new"}


def test_a_truncated_table_stays_and_a_dropped_one_goes(database: _redb.Database) -> None:
    database.apply({"t": [(b"a", b"1", 1)], "u": [(b"a", b"1", 1)]}, {})
    with database.begin() as transaction:
        transaction.truncate("t")
        transaction.truncate("new")
        assert transaction.drop_table("u")
        assert not transaction.drop_table("never")
        transaction.commit()
    with database.snapshot() as snapshot:
        assert snapshot.tables() == ["new", "t"]
        assert snapshot.count("t") == 0


def test_nobody_sees_a_transaction_before_its_commit(database: _redb.Database) -> None:
    with database.begin() as transaction:
        transaction.put({"t": [(b"a", b"1", 1)]})
        transaction.set_meta({"name": b"value"})
        assert database.get("t", b"a") is None
        assert database.meta() == {}
        transaction.commit()
    assert database.get("t", b"a") == b"1"
    assert database.meta() == {"name": b"value"}


def test_an_aborted_transaction_leaves_nothing(database: _redb.Database) -> None:
    database.apply({"t": [(b"a", b"1", 1)]}, {"name": b"1"})
    transaction = database.begin()
    transaction.put({"t": [(b"a", None, 2)], "u": [(b"a", b"2", 2)]})
    transaction.truncate("t")
    transaction.set_meta({"name": None})
    transaction.abort()
    transaction.abort()
    with database.snapshot() as snapshot:
        assert snapshot.scan("t") == [(b"a", b"1", 1)]
        assert snapshot.tables() == ["t"]
        assert snapshot.meta() == {"name": b"1"}


def test_leaving_the_block_of_a_transaction_without_a_commit_aborts_it(database: _redb.Database) -> None:
    def interrupted() -> None:
        with database.begin() as transaction:
            transaction.put({"t": [(b"a", b"1", 1)]})
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    database.apply({}, {}, timeout=0)
    assert database.count("t") == 0


def test_a_forgotten_transaction_is_aborted(database: _redb.Database) -> None:
    database.begin().put({"t": [(b"a", b"1", 1)]})
    database.apply({}, {}, timeout=0)
    assert database.count("t") == 0


def test_an_ended_transaction_refuses_every_call(database: _redb.Database) -> None:
    transaction = database.begin()
    transaction.commit()
    for call in (
        lambda: transaction.put({}),
        lambda: transaction.append("t", []),
        lambda: transaction.truncate("t"),
        lambda: transaction.drop_table("t"),
        lambda: transaction.set_meta({}),
        transaction.commit,
    ):
        with pytest.raises(_redb.ClosedError):
            call()


def test_a_transaction_that_failed_halfway_cannot_be_committed(database: _redb.Database) -> None:
    with database.begin() as transaction:
        with pytest.raises(_redb.RedbError, match="_cdc_meta"):
            transaction.put({"a": [(b"a", b"1", 1)], "_cdc_meta": [(b"a", b"1", 1)]})
        transaction.put({"t": [(b"a", b"1", 1)]})
        with pytest.raises(_redb.RedbError, match="abort"):
            transaction.commit()
    with database.snapshot() as snapshot:
        assert snapshot.tables() == []


def test_the_meta_table_is_written_by_name_only(database: _redb.Database) -> None:
    with pytest.raises(_redb.RedbError, match="_cdc_meta"):
        database.apply({"a": [(b"a", b"1", 1)], "_cdc_meta": [(b"a", b"1", 1)]}, {"name": b"1"})
    assert database.count("a") == 0
    assert database.meta() == {}


def test_a_second_transaction_gives_up_after_its_timeout(database: _redb.Database) -> None:
    with database.begin() as transaction:
        for call in (
            lambda: database.begin(timeout=0.01),
            lambda: database.apply({}, {}, timeout=0),
            lambda: database.check_integrity(timeout=0),
        ):
            with pytest.raises(_redb.BusyError, match="another write transaction"):
                call()
        transaction.commit()
    database.begin(timeout=0).abort()


def test_a_second_transaction_waits_for_the_first(database: _redb.Database) -> None:
    first = database.begin()
    first.put({"t": [(b"a", b"1", 1)]})
    begun = threading.Event()

    def second() -> None:
        begun.set()
        database.apply({"t": [(b"a", b"2", 2)]}, {})

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(second)
        begun.wait(10)
        first.commit()
        waiting.result(10)
    assert rows(database) == [(b"a", b"2", 2)]


def test_a_transaction_may_be_used_from_another_thread(database: _redb.Database) -> None:
    transaction = database.begin()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(transaction.put, {"t": [(b"a", b"1", 1)]}).result(10)
        pool.submit(transaction.commit).result(10)
    assert rows(database) == [(b"a", b"1", 1)]


def test_threads_that_write_at_once_lose_nothing(database: _redb.Database) -> None:
    def write(thread: int) -> None:
        for n in range(20):
            database.apply({"t": [(b"%d-%d" % (thread, n), b"", n)]}, {f"thread {thread}": b"%d" % n})

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, thread) for thread in range(4)]:
            done.result(60)
    assert database.count("t") == 80
    assert set(database.meta().values()) == {b"19"}


KEYS = st.binary(max_size=3)
OPS = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3), st.integers(0, 2**64 - 1)), max_size=20)
ROWS = st.lists(st.tuples(KEYS, st.binary(max_size=3), st.integers(0, 2**64 - 1)), max_size=20)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), OPS),
        st.tuples(st.just("append"), ROWS),
        st.tuples(st.just("truncate"), st.just([])),
        st.tuples(st.just("drop_table"), st.just([])),
    ),
    max_size=8,
)


def follow(model: Model, step: str, ops: list[tuple[bytes, bytes | None, int]]) -> Model:
    after = {} if step in ("truncate", "drop_table") else dict(model)
    for key, row, change_id in ops:
        after.pop(key, None)
        if row is not None:
            after[key] = (row, change_id)
    return after


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions=st.lists(st.tuples(STEPS, st.booleans()), max_size=5))
def test_any_transactions_leave_what_a_dict_would(
    database: _redb.Database, transactions: list[tuple[list, bool]]
) -> None:
    with database.begin() as transaction:
        transaction.truncate("t")
        transaction.commit()
    model: Model = {}
    for steps, committed in transactions:
        changed = model
        with database.begin() as transaction:
            for step, ops in steps:
                match step:
                    case "put":
                        transaction.put({"t": ops})
                    case "append":
                        transaction.append("t", ops)
                    case _:
                        getattr(transaction, step)("t")
                changed = follow(changed, step, ops)
            if committed:
                transaction.commit()
                model = changed
    assert rows(database) == [(key, *model[key]) for key in sorted(model)]
    assert database.count("t") == len(model)
