"""A damaged redb file: never a wrong row, never anything but this module's errors."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from consumers import _redb

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [(n.to_bytes(4, "big"), b"row %d " % n * 10, n) for n in range(3000)]
META = {"checkpoint": b"here and no further"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "cache.redb"
    with _redb.Database.create(path) as database:
        database.apply({"t": [(key, b"older", 0) for key, _, _ in ROWS[::7]]}, {})
        database.apply({"t": [*ROWS]}, {**META})
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.redb"


def read_all(database: _redb.Database) -> tuple[list[tuple[bytes, bytes, int]], dict[str, bytes]]:
    with database.snapshot() as snapshot:
        return snapshot.scan("t", limit=10_000), snapshot.meta()


def flipped(content: bytes, at: int, bit: int = 0) -> bytes:
    damaged = bytearray(content)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


@pytest.mark.parametrize("part", ["row", "change id", "check"])
def test_a_row_with_a_flipped_bit_is_refused_by_every_read(path: Path, whole: bytes, part: str) -> None:
    key, row, change_id = ROWS[1234]
    stored = row + change_id.to_bytes(8, "little")
    place = whole.rindex(stored)
    offset = {"row": 3, "change id": len(row), "check": len(stored)}[part]
    path.write_bytes(flipped(whole, place + offset))
    with _redb.Database.open(path) as database, database.snapshot() as snapshot:
        for call in (
            lambda: database.get("t", key),
            lambda: snapshot.get("t", key),
            lambda: snapshot.get_stamped("t", key),
            lambda: snapshot.get_many("t", [ROWS[0][0], key]),
            lambda: snapshot.scan("t", limit=10_000),
        ):
            with pytest.raises(_redb.DamagedRowError) as caught:
                call()
            assert (caught.value.table, caught.value.key) == ("t", key)
            assert repr(key) not in str(caught.value)
        assert snapshot.get("t", ROWS[1235][0]) == ROWS[1235][1]
        assert snapshot.scan("t", after=key, limit=10_000) == ROWS[1235:]


def test_a_damaged_row_can_be_written_anew(path: Path, whole: bytes) -> None:
    key, row, change_id = ROWS[1234]
    path.write_bytes(flipped(whole, whole.rindex(row + change_id.to_bytes(8, "little"))))
    with _redb.Database.open(path) as database:
        database.apply({"t": [ROWS[1234]]}, {})
        assert database.get("t", key) == row
        assert read_all(database) == (ROWS, META)


def test_a_meta_value_with_a_flipped_bit_is_refused(path: Path, whole: bytes) -> None:
    path.write_bytes(flipped(whole, whole.rindex(META["checkpoint"])))
    with _redb.Database.open(path) as database, pytest.raises(_redb.DamagedRowError) as caught:
        database.meta()
    assert (caught.value.table, caught.value.key) == ("_cdc_meta", b"checkpoint")


def test_a_check_of_a_damaged_file_says_so(path: Path, whole: bytes) -> None:
    path.write_bytes(flipped(whole, whole.rindex(ROWS[1234][1])))
    database = _redb.Database.open(path)
    with pytest.raises(_redb.CorruptedError):
        database.check_integrity()
    assert not database.close()
    path.write_bytes(flipped(whole, whole.rindex(ROWS[1234][1])))
    with pytest.raises(_redb.CorruptedError):
        _redb.Database.open(path, check=True)


CUTS = [1, 9, 64, 320, 4095, 4096, 8192, 300_000, -8192, -4096, -1]


@pytest.mark.parametrize("cut", CUTS)
def test_a_file_cut_off_anywhere_is_refused_by_a_writer(path: Path, whole: bytes, cut: int) -> None:
    path.write_bytes(whole[:cut])
    with pytest.raises((_redb.CorruptedError, _redb.NotADatabaseError)):
        _redb.Database.open(path)
    assert path.read_bytes() == whole[:cut]


@pytest.mark.parametrize("cut", CUTS)
def test_a_reader_of_a_file_cut_off_anywhere_gets_the_right_rows_or_an_error(
    path: Path, whole: bytes, cut: int
) -> None:
    path.write_bytes(whole[:cut])
    try:
        with _redb.Database.open_read_only(path) as database:
            assert read_all(database) == (ROWS, META)
    except (_redb.CorruptedError, _redb.NotADatabaseError):
        pass
    else:
        assert cut < 0


def test_a_flipped_bit_anywhere_gives_the_right_rows_or_an_error(path: Path, whole: bytes) -> None:
    chance = random.Random(20)
    used = whole.rstrip(b"\0")
    outcomes: set[str] = set()
    for _ in range(300):
        path.write_bytes(flipped(whole, chance.randrange(len(used)), chance.randrange(8)))
        try:
            with _redb.Database.open(path) as database:
                assert read_all(database) == (ROWS, META)
        except _redb.RedbError as error:
            outcomes.add(type(error).__name__)
    assert "DamagedRowError" in outcomes


def test_a_check_at_opening_finds_every_flipped_bit_that_matters(path: Path, whole: bytes) -> None:
    chance = random.Random(21)
    used = whole.rstrip(b"\0")
    found = 0
    for _ in range(200):
        path.write_bytes(flipped(whole, chance.randrange(len(used)), chance.randrange(8)))
        try:
            with _redb.Database.open(path, check=True) as database:
                assert read_all(database) == (ROWS, META)
        except (_redb.CorruptedError, _redb.NotADatabaseError):
            found += 1
    assert found > 50
