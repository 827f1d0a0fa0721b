"""What Python may hand to the redb file, and how anything else is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consumers import _redb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = (b"k", b"row", 1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[_redb.Database]:
    with _redb.Database.create(tmp_path / "cache.redb") as database:
        yield database


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, msgspec.Raw])
def test_any_buffer_of_bytes_is_taken(database: _redb.Database, kind: type) -> None:
    database.apply({"t": [(kind(b"k"), kind(b"row"), 1)]}, {"name": kind(b"value")})
    with database.snapshot() as snapshot:
        assert snapshot.get("t", kind(b"k")) == b"row"
        assert snapshot.get_many("t", [kind(b"k")]) == [b"row"]
        assert snapshot.scan("t", kind(b"a"), prefix=kind(b"k")) == [(b"k", b"row", 1)]
        assert snapshot.meta() == {"name": b"value"}


@pytest.mark.parametrize(
    "wrong",
    [
        ("k", b"secret", 1),
        (b"k", "secret", 1),
        (b"k", b"secret", "1"),
        (b"k", b"secret", 1.5),
        (b"k", b"secret", None),
        (None, b"secret", 1),
        (b"k", b"secret"),
        (b"k", b"secret", 1, 2),
        [b"k", b"secret", 1],
        b"secret",
        None,
    ],
)
def test_an_operation_of_a_wrong_kind_is_named_by_its_place(database: _redb.Database, wrong: object) -> None:
    ops: Any = [GOOD, wrong]
    for call in (
        lambda: database.apply({"t": ops}, {}),
        lambda: database.begin().put({"t": ops}),
        lambda: database.begin().append("t", ops),
    ):
        with pytest.raises(TypeError, match='operation 1 of "t" must be') as caught:
            call()
        assert "secret" not in f"{caught.value} {caught.value.__cause__}"
    assert database.count("t") == 0


@pytest.mark.parametrize("change_id", [-1, 2**64])
def test_a_change_id_out_of_range_is_refused(database: _redb.Database, change_id: int) -> None:
    with pytest.raises(ValueError, match="operation 0"):
        database.apply({"t": [(b"k", b"row", change_id)]}, {})


@pytest.mark.parametrize(
    "ops", [None, [], {"t": None}, {"t": (GOOD,)}, {"t": {}}, {1: [GOOD]}, {b"t": [GOOD]}]
)
def test_operations_that_are_no_dict_of_lists_are_refused(database: _redb.Database, ops: Any) -> None:
    with pytest.raises(TypeError):
        database.apply(ops, {})
    with database.begin() as transaction, pytest.raises(TypeError):
        transaction.put(ops)


@pytest.mark.parametrize("meta", [None, [], {"name": "text"}, {"name": 1}, {b"name": b""}, {1: b""}])
def test_meta_of_a_wrong_kind_is_refused(database: _redb.Database, meta: Any) -> None:
    with pytest.raises(TypeError):
        database.apply({}, meta)
    with database.begin() as transaction, pytest.raises(TypeError):
        transaction.set_meta(meta)


def test_a_refused_argument_does_not_end_the_transaction(database: _redb.Database) -> None:
    wrong: Any = {"t": [None]}
    with database.begin() as transaction:
        with pytest.raises(TypeError):
            transaction.put(wrong)
        transaction.put({"t": [GOOD]})
        transaction.commit()
    assert database.get("t", b"k") == b"row"


def test_reading_refuses_keys_and_names_of_a_wrong_kind(database: _redb.Database) -> None:
    text: Any = "k"
    nothing: Any = None
    with database.snapshot() as snapshot:
        for call in (
            lambda: database.get("t", text),
            lambda: database.get(nothing, b"k"),
            lambda: database.get_many("t", [b"k", text]),
            lambda: database.get_many("t", b"k"),  # pyright: ignore[reportArgumentType]
            lambda: database.count(nothing),
            lambda: snapshot.get("t", text),
            lambda: snapshot.get_stamped("t", nothing),
            lambda: snapshot.get_many("t", nothing),
            lambda: snapshot.scan(nothing),
            lambda: snapshot.scan("t", text),
            lambda: snapshot.scan("t", None, text),
            lambda: snapshot.scan("t", prefix=text),
        ):
            with pytest.raises(TypeError):
                call()


def test_opening_refuses_paths_and_settings_of_a_wrong_kind(tmp_path: Path) -> None:
    number: Any = 1
    text: Any = "64MiB"
    for call in (_redb.Database.create, _redb.Database.open, _redb.Database.open_read_only):
        with pytest.raises(TypeError):
            call(number)
        with pytest.raises(TypeError):
            call(tmp_path / "new.redb", cache_bytes=text)
    with pytest.raises(OverflowError):
        _redb.Database.create(tmp_path / "new.redb", cache_bytes=-1)
    assert not (tmp_path / "new.redb").exists()


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_number_of_seconds(database: _redb.Database, timeout: float) -> None:
    for call in (
        lambda: database.begin(timeout=timeout),
        lambda: database.apply({}, {}, timeout=timeout),
        lambda: database.check_integrity(timeout=timeout),
    ):
        with pytest.raises(ValueError, match="timeout"):
            call()


def test_handles_are_made_by_a_database_only() -> None:
    for kind in (_redb.Database, _redb.Snapshot, _redb.WriteTransaction):
        with pytest.raises(TypeError):
            kind()
