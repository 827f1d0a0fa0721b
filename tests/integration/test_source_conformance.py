"""Every driver gives the same: values of every class, pages, transactions, errors, and what networks do."""

from __future__ import annotations

import asyncio
import math
import struct
from typing import TYPE_CHECKING

import pytest

from cdc.source import Statement, open_client
from schemas import InvalidText
from schemas.errors import SourceError, SourceUnavailableError, UsageError
from tests.support.sources import KINDS, SERVED_KINDS
from tests.support.sqlite_values import EDGE_INTEGERS, EDGE_REALS, exact

if TYPE_CHECKING:
    from cdc.source.client import Client, Row
    from schemas.values import Value
    from tests.support.sources import Source
    from tests.support.sqld import Sqld

TEXTS = [
    "",
    "a",
    "é",
    "\U0001f600",
    "a\x00b",
    "\x00",
    "\u2028\u2029",
    "\ufeff",
    "'\"\\\n\r\t?",
    "x" * 70_000,
    "1",
    "inf",
]
BLOBS = [b"", b"\x00", b"\xff", b"ab", b"abc", b"abcd", bytes(range(256)), b"\x00\xff" * 40_000]
NOT_UTF8 = [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\x00\xfe\x00"]
ROWS_MANY = 100_000

MOVING_KINDS = ("tursodb",)
"""Those whose transactions end when others commit what changes their answers."""

every_kind = pytest.mark.parametrize("kind", KINDS)
served_kinds = pytest.mark.parametrize("kind", SERVED_KINDS)


def pairs(rows: list[Row]) -> tuple[list[Row], int]:
    return rows, 0


async def all_pages(client: Client, sql: str, args: tuple[Value, ...] = ()) -> list[list[Row]]:
    async with client.reading() as transaction:
        return [page async for page in transaction.pages(sql, args, pairs)]


@every_kind
async def test_values_of_every_class_come_back_as_they_were_given(source: Source):
    values = [None, *EDGE_INTEGERS, *EDGE_REALS, *TEXTS, *BLOBS]
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY, v)")
        await client.batch([Statement("INSERT INTO v VALUES (?, ?)", pair) for pair in enumerate(values)])
        sql = "SELECT id, v, typeof(v) FROM v ORDER BY id"
        rows = (await client.execute(sql)).rows
        assert exact([row[1] for row in rows]) == exact(values)
        kinds = {int: "integer", float: "real", str: "text", bytes: "blob", type(None): "null"}
        assert [row[2] for row in rows] == [kinds[type(value)] for value in values]
        assert exact([row for page in await all_pages(client, sql) for row in page]) == exact(rows)
        # One of them alone, as a parameter and as a result.
        for value in values:
            async with client.reading() as transaction:
                found = (await transaction.execute("SELECT ? AS v", (value,))).rows
            assert exact(found) == exact([(value,)])
    finally:
        await client.close()


@pytest.mark.parametrize("kind", ["file", *SERVED_KINDS])
async def test_text_that_is_not_utf8_is_read_and_written_byte_for_byte(source: Source):
    texts = [InvalidText(data) for data in NOT_UTF8]
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY, v)")
        insert = "INSERT INTO v VALUES (?, CAST(? AS TEXT))"
        await client.batch([Statement(insert, pair) for pair in enumerate(texts)])
        await client.execute("INSERT INTO v VALUES (100, 'fine')")
        async with client.reading() as transaction:
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(5,)]
            rows = (await transaction.execute("SELECT v FROM v ORDER BY id")).rows
            assert rows == [*((text,) for text in texts), ("fine",)]
            pages = [page async for page in transaction.pages("SELECT v FROM v ORDER BY id", (), pairs)]
            assert [row for page in pages for row in page] == rows
            # The transaction is still the same one.
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(5,)]
            sql = "SELECT id FROM v WHERE v = CAST(? AS TEXT)"
            assert (await transaction.execute(sql, (texts[2],))).rows == [(2,)]
    finally:
        await client.close()


@every_kind
async def test_column_names_rows_affected_and_the_last_rowid_are_given(source: Source):
    client = await source.open()
    try:
        assert (await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY, v)")).rows == []
        inserted = await client.execute("INSERT INTO v VALUES (7, 'a'), (9, 'b')")
        assert (inserted.rows_affected, inserted.last_insert_rowid) == (2, 9)
        assert (await client.execute("UPDATE v SET v = 'c'")).rows_affected == 2
        found = await client.execute('SELECT id, v AS "a b", id, 1 + 1 FROM v WHERE id = ?', (7,))
        assert (found.columns, found.rows) == (("id", "a b", "id", "1 + 1"), [(7, "c", 7, 2)])
        await client.execute("ALTER TABLE v ADD COLUMN w DEFAULT 5")
        assert (await client.execute("SELECT * FROM v WHERE id = 7")).columns == ("id", "v", "w")
        assert (await client.execute("PRAGMA schema_version")).rows[0][0] > 0
    finally:
        await client.close()


@every_kind
async def test_a_hundred_thousand_rows_come_in_pages_in_order(source: Source):
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (k TEXT PRIMARY KEY, v)")
        async with client.writing() as transaction:
            for begin in range(0, ROWS_MANY, 1000):
                rows = ", ".join(
                    f"('key-{(i * 7919) % ROWS_MANY:06}', {i})" for i in range(begin, begin + 1000)
                )
                await transaction.execute(f"INSERT INTO v VALUES {rows}")
        pages = await all_pages(client, "SELECT k, v FROM v ORDER BY k")
        assert max(map(len, pages)) <= 2500
        rows = [row for page in pages for row in page]
        assert [row[0] for row in rows] == [f"key-{i:06}" for i in range(ROWS_MANY)]
        assert sum(row[1] for row in rows) == ROWS_MANY * (ROWS_MANY - 1) // 2
        assert await all_pages(client, "SELECT k FROM v WHERE v < ?", (0,)) == []
    finally:
        await client.close()


@every_kind
async def test_rows_of_five_megabytes_are_read_whole(source: Source):
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY, a TEXT, b)")
        text, blob = "é" * 1_200_000, struct.pack(">Q", 2**63) * 320_000
        for number in range(5):
            await client.execute("INSERT INTO v VALUES (?, ?, ?)", (number, text, blob))
        await client.execute("INSERT INTO v VALUES (9, 'small', 1)")
        pages = await all_pages(client, "SELECT * FROM v ORDER BY id")
        rows = [row for page in pages for row in page]
        assert [row[0] for row in rows] == [0, 1, 2, 3, 4, 9]
        assert all(row[1:] == (text, blob) for row in rows[:5])
        wide = "SELECT a, b, a, b FROM v WHERE id = ?"
        assert (await client.execute(wide, (1,))).rows == [(text, blob, text, blob)]
    finally:
        await client.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MOVING_KINDS])
async def test_a_read_transaction_sees_one_moment(source: Source):
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY)")
        await client.execute("INSERT INTO v VALUES (1)")
        async with client.reading() as transaction:
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(1,)]
            await client.execute("INSERT INTO v VALUES (2)")
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(1,)]
            pages = [page async for page in transaction.pages("SELECT id FROM v", (), pairs)]
            assert pages == [[(1,)]]
        assert (await client.execute("SELECT count(*) FROM v")).rows == [(2,)]
    finally:
        await client.close()


@every_kind
async def test_what_fails_is_rolled_back_and_leaves_the_client_usable(source: Source):
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY)")
        with pytest.raises(SourceError, match="refused a statement"):
            await client.batch([Statement("INSERT INTO v VALUES (1)"), Statement("INSERT INTO v VALUES (1)")])
        with pytest.raises(ZeroDivisionError):
            await _write_and_fail(client)
        for sql in ("SELEC 1", "SELECT * FROM nothing", "INSERT INTO v VALUES (1, 2)", "SELECT nothing(1)"):
            with pytest.raises(SourceError) as caught:
                await client.execute(sql)
            assert not isinstance(caught.value, SourceUnavailableError)
        async with client.reading() as transaction:
            with pytest.raises(SourceError):
                _ = [page async for page in transaction.pages("SELECT * FROM nothing", (), pairs)]
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(0,)]
        async with client.writing() as transaction:
            await transaction.execute("INSERT INTO v VALUES (3)")
            with pytest.raises(SourceError):
                await transaction.execute("INSERT INTO v VALUES (3)")
            await transaction.execute("INSERT INTO v VALUES (4)")
        assert (await client.execute("SELECT id FROM v ORDER BY id")).rows == [(3,), (4,)]
    finally:
        await client.close()


@every_kind
async def test_pages_may_be_left_early_and_the_transaction_goes_on(source: Source):
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY, v)")
        rows = ", ".join(f"({i}, 'value {i}')" for i in range(6000))
        await client.execute(f"INSERT INTO v VALUES {rows}")
        async with client.reading() as transaction:
            pages = transaction.pages("SELECT * FROM v ORDER BY id", (), pairs)
            assert (await anext(pages))[0] == (0, "value 0")
            await pages.aclose()
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(6000,)]
            with pytest.raises(ZeroDivisionError):
                async for _ in transaction.pages("SELECT 1", (), lambda rows: (rows, 1 // 0)):
                    pass
            assert (await transaction.execute("SELECT max(id) FROM v")).rows == [(5999,)]
    finally:
        await client.close()


@every_kind
async def test_a_commit_is_seen_by_data_changed(source: Source):
    client = await source.open(watch="v")
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY)")
        assert await client.data_changed()
        for number in range(3):
            await client.data_changed()
            await client.execute("INSERT INTO v VALUES (?)", (number,))
            async with asyncio.timeout(5):
                while not await client.data_changed():  # noqa: ASYNC110 -- what is tested is the polling
                    await asyncio.sleep(0.001)
    finally:
        await client.close()


async def _write_and_fail(client: Client) -> None:
    async with client.writing() as transaction:
        await transaction.execute("INSERT INTO v VALUES (2)")
        raise ZeroDivisionError


async def _write_while_another_does(client: Client, other: Client) -> None:
    async with client.writing() as transaction:
        await transaction.execute("INSERT INTO v VALUES (1)")
        await other.execute("INSERT INTO v VALUES (2)")  # sqld lets it wait for 5 s
        await transaction.execute("INSERT INTO v VALUES (3)")


@served_kinds
async def test_a_database_that_is_gone_is_unavailable_and_found_again(source: Source, sqld: Sqld):
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY)")
        async with client.reading() as transaction:
            await transaction.execute("SELECT 1")
            await asyncio.to_thread(sqld.kill)
            with pytest.raises(SourceUnavailableError):
                await transaction.execute("SELECT 1")
            with pytest.raises(SourceUnavailableError):
                await transaction.execute("SELECT 1")
        with pytest.raises(SourceUnavailableError):
            await client.execute("INSERT INTO v VALUES (1)")
        if source.cloud is None:
            with pytest.raises(SourceUnavailableError, match="cannot be reached"):
                await source.open()
        await asyncio.to_thread(sqld.start)
        async with asyncio.timeout(20):
            while True:
                try:
                    await client.execute("INSERT INTO v VALUES (1)")
                    break
                except SourceUnavailableError:
                    await asyncio.sleep(0.02)
        assert (await client.execute("SELECT count(*) FROM v")).rows == [(1,)]
    finally:
        await client.close()


@served_kinds
async def test_a_transaction_forgotten_by_a_restarted_server_is_unavailable(source: Source, sqld: Sqld):
    client = await source.open()
    try:
        async with client.reading() as transaction:
            await transaction.execute("SELECT 1")
            await asyncio.to_thread(sqld.restart)
            with pytest.raises(SourceUnavailableError):
                await transaction.execute("SELECT 1")
    finally:
        await client.close()


@pytest.mark.slow
@served_kinds
async def test_a_read_transaction_outlives_a_long_pause(source: Source):
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY)")
        async with client.reading() as transaction:
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(0,)]
            await client.execute("INSERT INTO v VALUES (1)")
            await asyncio.sleep(11)  # sqld ends streams that are silent for 10 s
            assert (await transaction.execute("SELECT count(*) FROM v")).rows == [(0,)]
    finally:
        await client.close()


@pytest.mark.slow
@served_kinds
async def test_a_write_transaction_that_was_stolen_is_unavailable_and_wrote_nothing(source: Source):
    client = await source.open()
    other = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY)")
        with pytest.raises(SourceUnavailableError):
            await _write_while_another_does(client, other)
        assert (await other.execute("SELECT id FROM v")).rows == [(2,)]
    finally:
        await client.close()
        await other.close()


@pytest.mark.parametrize("kind", ["cloud"])
async def test_an_answer_that_breaks_off_is_unavailable_and_the_next_one_is_whole(source: Source):
    assert source.cloud is not None
    client = await source.open()
    try:
        await client.execute("CREATE TABLE v (id INTEGER PRIMARY KEY)")
        source.cloud.drop_next = 1
        with pytest.raises(SourceUnavailableError, match="the connection broke"):
            await client.execute("SELECT count(*) FROM v")
        assert (await client.execute("SELECT count(*) FROM v")).rows == [(0,)]
        async with client.reading() as transaction:
            await transaction.execute("SELECT count(*) FROM v")
            source.cloud.drop_next = 1
            with pytest.raises(SourceUnavailableError):
                _ = [page async for page in transaction.pages("SELECT id FROM v", (), pairs)]
            with pytest.raises(SourceUnavailableError, match="ended the transaction"):
                await transaction.execute("SELECT count(*) FROM v")
    finally:
        await client.close()


@pytest.mark.parametrize("kind", ["cloud"])
async def test_an_expired_stream_is_unavailable(source: Source):
    assert source.cloud is not None
    client = await source.open()
    try:
        async with client.reading() as transaction:
            await transaction.execute("SELECT 1")
            source.cloud.expired = True
            with pytest.raises(SourceUnavailableError, match="ended the transaction"):
                await transaction.execute("SELECT 1")
    finally:
        await client.close()


@pytest.mark.parametrize("token", [None, "wrong-token"])
@pytest.mark.parametrize("kind", ["cloud"])
async def test_refused_credentials_are_a_usage_error_that_shows_none(source: Source, token: str | None):
    with pytest.raises(UsageError, match="refuses the credentials") as caught:
        await open_client(source.url, auth_token=token)
    assert "token" not in str(caught.value).replace("valid token in source.auth_token", "")


@pytest.mark.parametrize("kind", ["cloud"])
async def test_a_server_without_websockets_says_so(source: Source):
    assert source.cloud is not None
    source.cloud.token = None
    with pytest.raises(UsageError, match="opens no WebSocket"):
        await open_client(f"ws://{source.cloud.address}")


async def test_a_server_that_has_only_version_2_is_read(sqld: Sqld):
    from tests.support.turso_cloud import TursoCloud

    async with TursoCloud(sqld.address, versions=("v2",)) as cloud:
        client = await open_client(cloud.url, auth_token=cloud.token)
        assert (await client.execute("SELECT 9e999, x'ff'")).rows == [(math.inf, b"\xff")]
        await client.close()
        assert "POST /v2/pipeline" in cloud.requests


async def test_a_server_that_is_silent_is_unavailable_within_the_limit(sqld: Sqld):
    from cdc.source.hrana import HttpStreams
    from cdc.source.remote_url import parse_remote_url
    from cdc.source.websocket import WebSocketStreams

    sqld.suspend()
    try:
        async with asyncio.timeout(5):
            for streams, scheme in ((HttpStreams, "http"), (WebSocketStreams, "ws")):
                with pytest.raises(SourceUnavailableError, match="no answer in time"):
                    await streams.connect(
                        parse_remote_url(f"{scheme}://{sqld.address}", None), request_s_max=0.3
                    )
    finally:
        sqld.resume()


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://h:x",
        "https://h#f",
        "libsql://h?x=1",
        "https://h?tls=0",
        "ws://h?tls=1",
        "http://h?tls=2",
    ],
)
async def test_a_url_that_names_no_server_is_a_usage_error(url: str):
    with pytest.raises(UsageError, match=r"source\.url"):
        await open_client(url)


@pytest.mark.parametrize("token", ["a\nb", "é"])
async def test_a_token_that_is_none_is_refused_unseen(token: str):
    with pytest.raises(UsageError) as caught:
        await open_client("http://127.0.0.1:1", auth_token=token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
async def test_a_server_that_is_not_there_is_unavailable_and_no_secret_is_shown(scheme: str):
    from tests.support.ports import free_port

    with pytest.raises(SourceUnavailableError, match="cannot be reached") as caught:
        await open_client(f"{scheme}://127.0.0.1:{free_port()}/?authToken=hunter2")
    assert "hunter2" not in str(caught.value)
