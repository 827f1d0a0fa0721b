"""Tables whose redb keys are native: the same keys, rows and order as a table of tuples has."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from consumers import _redb
from schemas.keys import encode_key, text_prefix

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consumers._redb import KeyType
    from schemas.values import Value

_ALPHABET = "a\x00\xff\x01\ud7ff\ue000\U0010ffffb"


def _text(rng: random.Random) -> str:
    return "".join(rng.choices(_ALPHABET, k=rng.randrange(5)))


def _integer(rng: random.Random) -> int:
    return rng.choice((0, -1, 1, 2**63 - 1, -(2**63), rng.randrange(-300, 300)))


def _bytes(rng: random.Random) -> bytes:
    return bytes(rng.choices(b"a\x00\xff\x05\x04", k=rng.randrange(5)))


KINDS: dict[KeyType, Callable[[random.Random], Value]] = {
    "text": _text,
    "integer": _integer,
    "bytes": _bytes,
}


@pytest.fixture
def database(tmp_path: Path) -> _redb.Database:
    return _redb.Database.create(tmp_path / "cache.redb")


def make(database: _redb.Database, table: str, key_type: KeyType) -> None:
    with database.begin() as transaction:
        transaction.truncate(table, key_type)
        transaction.commit()


@pytest.mark.parametrize("key_type", KINDS)
def test_a_native_table_answers_as_one_of_tuples_does(database: _redb.Database, key_type: KeyType) -> None:
    rng = random.Random(7)
    value = KINDS[key_type]
    make(database, "native", key_type)
    make(database, "tuples", "tuple")
    for turn in range(30):
        ops: list[tuple[bytes, bytes | None, int]] = [
            (encode_key((value(rng),)), None if rng.random() < 0.3 else b"row %d" % turn, turn)
            for _ in range(rng.randrange(1, 20))
        ]
        database.apply({"native": [*ops], "tuples": [*ops]}, {})
    with database.snapshot() as snapshot:
        assert snapshot.count("native") == snapshot.count("tuples") > 5
        assert snapshot.scan("native") == snapshot.scan("tuples")
        rows = snapshot.scan("native")
        probes: list[bytes] = [encode_key((value(rng),)) for _ in range(100)]
        probes += [encode_key((other,)) for other in (None, 1, 1.5, "a", b"a")]
        for probe in probes:
            assert snapshot.get("native", probe) == snapshot.get("tuples", probe)
            for bounds in ({"after": probe}, {"before": probe}, {"after": probe, "before": probes[0]}):
                for reverse in (False, True):
                    asked = {**bounds, "reverse": reverse, "limit": 7}
                    assert snapshot.scan("native", **asked) == snapshot.scan("tuples", **asked)
        assert snapshot.get_many("native", probes) == snapshot.get_many("tuples", probes)
        for prefix in ("", "a", "a\x00", "\U0010ffff", "\ud7ff", "\ue000b"):
            for encoded in (text_prefix(prefix), encode_key((prefix.encode(),))[:-1], encode_key((0,))[:1]):
                assert snapshot.scan("native", prefix=encoded) == snapshot.scan("tuples", prefix=encoded)
        assert snapshot.scan("native", reverse=True) == rows[::-1]


@pytest.mark.parametrize("key_type", KINDS)
def test_a_row_whose_key_is_of_another_class_is_refused(database: _redb.Database, key_type: KeyType) -> None:
    make(database, "native", key_type)
    values: tuple[Value, ...] = (None, 1, 1.5, "a", b"a")
    wrong = [
        encode_key((value,)) for value in values if type(value) is not type(KINDS[key_type](random.Random()))
    ]
    wrong += [encode_key((1, 1)), encode_key(("a", "a")), encode_key((b"a", b"a")), b"\x04\xff\x00", b""]
    for key in wrong:
        with pytest.raises(_redb.RedbError, match="another class"):
            database.apply({"native": [(key, b"row", 1)]}, {})
        database.apply({"native": [(key, None, 1)]}, {})
        assert database.get("native", key) is None
    assert database.count("native") == 0


def test_a_key_is_never_taken_for_one_of_another_type(database: _redb.Database) -> None:
    tuple_key = encode_key((b"a",))
    make(database, "t", "bytes")
    database.apply({"t": [(encode_key((tuple_key,)), b"of the longer key", 1)]}, {})
    assert database.get("t", tuple_key) is None
    assert database.get("t", encode_key((tuple_key,))) == b"of the longer key"
    make(database, "t", "tuple")
    database.apply({"t": [(tuple_key, b"row", 1)]}, {})
    assert database.get("t", tuple_key) == b"row"
    assert database.get("t", encode_key((tuple_key,))) is None


def test_truncating_changes_the_type_and_dropping_forgets_it(database: _redb.Database) -> None:
    key = encode_key(("a",))
    for key_type in ("text", "bytes", "tuple", "integer", "text"):
        make(database, "t", key_type)
        assert database.count("t") == 0
        fits = key_type in ("text", "tuple")
        if fits:
            database.apply({"t": [(key, b"row", 1)]}, {})
        assert database.get("t", key) == (b"row" if fits else None)
    make(database, "t", "bytes")
    with database.begin() as transaction:
        assert transaction.drop_table("t")
        transaction.commit()
    database.apply({"t": [(key, b"row", 1)]}, {})
    assert database.get("t", key) == b"row"
    assert database.meta() == {}


@pytest.mark.parametrize("key_type", ["tuple", *KINDS])
def test_a_write_transaction_reads_what_it_has_written(database: _redb.Database, key_type: KeyType) -> None:
    value = 5 if key_type == "integer" else b"a" if key_type == "bytes" else "a"
    key, other = encode_key((value,)), encode_key((value * 2,))
    with database.begin() as transaction:
        transaction.truncate("t", key_type)
        transaction.put({"t": [(key, b"row", 3)]})
        assert transaction.get_many("t", [key, other]) == [b"row", None]
        transaction.put({"t": [(other, b"second", 4)]})
        both = [(key, b"row", 3), (other, b"second", 4)]
        assert transaction.scan("t") == both
        assert transaction.scan("t", reverse=True, limit=1) == both[1:]
        assert transaction.scan("t", before=other) == both[:1]
        assert transaction.count("t") == 2
