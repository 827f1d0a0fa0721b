"""Cache files damaged at random: never a wrong row is read, and each ends equal to its source again."""

from __future__ import annotations

import os
import random
import sqlite3
import zlib
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from cdc.capture import Capture
from cdc.embedded import sync
from consumers import _redb, limits
from consumers.cache import Cache
from consumers.cache_path import MAGIC
from consumers.meta import Identity, identity_meta
from consumers.opening import open_to_read
from consumers.verify import Verification
from consumers.writer import CacheWriter
from schemas.errors import CacheCorruptError, CacheError, UsageError
from schemas.keys import encode_key
from tests.support.commands import DIFFERENT, FAILED, cdc

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"small": 20, "full": 200}[os.environ.get("CDC_TEST_SCALE", "small")]
ROWS = 600
TABLES = ("texts", "numbers")

Expected = dict[str, dict[Any, dict[str, Any]]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "app.db"
    rng = random.Random(3)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE texts(k TEXT PRIMARY KEY, v BLOB)")
        db.execute("CREATE TABLE numbers(k INTEGER PRIMARY KEY, v TEXT)")
        rows = [(f"key {n:05}", rng.randbytes(rng.randrange(400))) for n in range(ROWS)]
        db.executemany("INSERT INTO texts VALUES (?, ?)", rows)
        db.executemany("INSERT INTO numbers VALUES (?, ?)", [(n, "v" * (n % 90)) for n in range(ROWS)])
    return path


@pytest.fixture(scope="module")
def expected(source: Path) -> Expected:
    with closing(sqlite3.connect(source)) as db:
        return {
            table: {key: {"k": key, "v": value} for key, value in db.execute(f"SELECT k, v FROM {table}")}
            for table in TABLES
        }


async def bring_up_to_date(source: Path, cache: Path) -> None:
    async with CacheWriter(cache, "test", check=True) as writer:
        await sync(lambda: Capture(str(source)), writer)


def damaged(content: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """Damages the part that is in use: behind it redb keeps room that nobody reads.

    Returns:
        The damaged file, and whether a page of it is whole but in another's place. No check of single rows
        tells that, only a look at every page, which a node takes when it starts.
    """
    used = len(content.rstrip(b"\0"))
    at = rng.randrange(used)
    length = rng.choice((1, 1, 1, 50, 4096, 40_000))
    kind = rng.randrange(5)
    if kind == 0:
        return content[:at], False
    if kind == 1:
        return content[:at] + bytes(length) + content[at + length :], False
    if kind == 2:
        return content[:at] + rng.randbytes(length) + content[at + length :], False
    if kind == 3:
        page, other = at // 4096 * 4096, rng.randrange(used) // 4096 * 4096
        return content[:page] + content[other : other + 4096] + content[page + 4096 :], True
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :], False


def read_or_refused(path: Path, expected: Expected) -> None:
    """Whatever is read is right; what cannot be is refused with one of our errors."""
    try:
        with Cache.open(path) as cache:
            for table, rows in expected.items():
                for key in [*rows][:: ROWS // 40]:
                    with suppress(CacheError):
                        assert cache.get(table, key) in (rows[key], None)
                with suppress(CacheError):
                    for (key,), row in cache.scan(table):
                        assert row == rows[key]
    except (CacheError, UsageError):
        pass


def kept_aside(folder: Path) -> int:
    return sum(".corrupt-" in path.name for path in folder.iterdir())


async def test_files_damaged_at_random_end_equal_and_never_show_a_wrong_row(
    source: Path, expected: Expected, tmp_path: Path
):
    with capture_logs():
        await _damage_and_heal(source, expected, tmp_path)
    assert kept_aside(tmp_path) <= limits.CORRUPT_FILES_MAX


async def _damage_and_heal(source: Path, expected: Expected, folder: Path) -> None:
    path = folder / "cache.redb"
    await bring_up_to_date(source, path)
    whole = path.read_bytes()
    rng = random.Random(11)
    for number in range(FILES):
        content, misplaced = damaged(whole, rng)
        path.write_bytes(content)
        header = path.read_bytes()[: len(MAGIC)] == MAGIC
        if not misplaced:
            read_or_refused(path, expected)
        try:
            await bring_up_to_date(source, path)
        except UsageError:
            # Only what does not even begin as a redb file may be somebody else's, and is left alone.
            assert not header, f"file {number}"
            continue
        with Cache.open(path) as cache:
            for table, rows in expected.items():
                assert {key: row for (key,), row in cache.scan(table)} == rows, f"file {number}"
        with _redb.Database.open(path, check=True) as database:
            assert database.count("texts") == ROWS


async def test_a_damaged_row_is_refused_and_verify_names_it(source: Path, expected: Expected, tmp_path: Path):
    path = tmp_path / "cache.redb"
    await bring_up_to_date(source, path)
    content = bytearray(path.read_bytes())
    keys = ["key 00100", "key 00101", "key 00599"]
    for key in keys:
        value = expected["texts"][key]["v"]
        content[content.index(value) + len(value) // 2] ^= 4
    path.write_bytes(content)
    with Cache.open(path) as cache:
        for key in keys:
            with pytest.raises(CacheCorruptError, match="a row in table 'texts'"):
                cache.get("texts", key)
        assert cache.get("texts", "key 00102") == expected["texts"]["key 00102"]
    report = cdc("verify", "--json", "--source", source, "--cache", path, code=DIFFERENT).json
    assert report["tables"]["texts"]["different"] == [[key] for key in keys]
    assert not report["tables"]["texts"]["missing"]
    assert report["tables"]["texts"]["cache_rows"] == ROWS
    error = cdc("get", "texts", keys[0], "--cache", path, code=FAILED).error
    assert "is damaged" in error
    assert keys[0] not in error


def test_a_key_that_is_damaged_ends_a_comparison_that_could_not_be_trusted(
    source: Path, expected: Expected, tmp_path: Path
):
    assert expected
    path = tmp_path / "cache.redb"
    cdc("sync", "--source", source, "--cache", path)
    content = bytearray(path.read_bytes())
    key = encode_key(("key 00300",))
    # Smaller than the keys before it: a scan that went on behind it would begin anew.
    content[content.index(key) + 1] = 1
    path.write_bytes(content)
    with open_to_read(path)[0] as database, database.snapshot() as snapshot:
        assert Verification(snapshot).definitions
    done = cdc("verify", "--source", source, "--cache", path, code=(FAILED, DIFFERENT))
    if done.code == FAILED:
        assert "cdc rebuild" in done.error


def test_a_row_of_another_table_is_no_row_of_this_one(tmp_path: Path):
    path = tmp_path / "cache.redb"
    key, value = encode_key(("one",)), b"x" * 100
    with _redb.Database.create(path) as database:
        database.apply({"left": [(key, value, 7)], "rght": [(key, value, 7)]}, {})
    content = path.read_bytes()
    body = value + (7).to_bytes(8, "little")
    left, right = (
        body + zlib.crc32(name + b"\0" + key + body).to_bytes(4, "little") for name in (b"left", b"rght")
    )
    assert left in content
    # As if the page of one had been written where that of the other belongs.
    path.write_bytes(content.replace(right, left))
    with _redb.Database.open_read_only(path) as database:
        assert database.get("left", key) == value
        with pytest.raises(_redb.DamagedRowError):
            database.get("rght", key)


def test_a_file_of_an_earlier_format_is_refused_to_readers_and_loaded_anew_by_its_node(
    source: Path, expected: Expected, tmp_path: Path
):
    path = tmp_path / "cache.redb"
    cdc("sync", "--source", source, "--cache", path)
    with _redb.Database.open(path) as database:
        database.apply({}, identity_meta(Identity("node-a", 0, format=1)))
    assert "format 1" in cdc("get", "texts", "key 00102", "--cache", path, code=FAILED).error
    done = cdc("sync", "--source", source, "--cache", path)
    assert "loading the cache file anew" in done.stderr
    with Cache.open(path) as cache:
        assert cache.get("texts", "key 00102") == expected["texts"]["key 00102"]
    assert not list(tmp_path.glob("*.corrupt-*"))
