"""exclude, hash and where at every kind of source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdc.capture import Capture
from cdc.hash_key import HashKey
from cdc.table_settings import TableSettings
from schemas import encode_key
from schemas.errors import UsageError
from tests.support.replica import Replica
from tests.support.sources import KINDS

if TYPE_CHECKING:
    from tests.support.sources import Source

KEY = HashKey("a key")

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
async def test_every_source_gives_only_what_is_published(source: Source) -> None:
    settings = TableSettings(
        exclude=("secret",),
        hash=("email",),
        where="ts > 5 AND lower(kind) COLLATE NOCASE IN ('A', 'b') AND secret IS NOT NULL",
    )
    db = await source.open()
    try:
        await db.execute("CREATE TABLE people (id TEXT PRIMARY KEY, email, secret, kind TEXT, ts INTEGER)")
        for number, kind in enumerate("aBcA"):
            await db.execute(
                "INSERT INTO people VALUES (?, ?, ?, ?, ?)",
                (str(number), f"e{number}", "s", kind, 4 + number),
            )
        capture = Capture(source.url, auth_token=source.token, settings={"people": settings}, hash_key=KEY)
        replica = Replica()
        async with capture:
            await replica.poll(capture)
            row = {"id": "3", "email": KEY.digest("e3"), "kind": "A", "ts": 7}
            assert replica.tables["people"] == {encode_key(("3",)): row}
            await db.execute("UPDATE people SET ts = 11 - ts WHERE id <> '2'")
            await replica.poll(capture)
            shown = {(one["id"], one["ts"]) for one in replica.tables["people"].values()}
            assert shown == {("0", 7), ("1", 6)}
            async with capture.reading() as reader:
                assert await reader.row("people", encode_key(("3",))) is None
                assert await reader.row("people", encode_key(("0",))) is not None
    finally:
        await db.close()


@every_kind
async def test_every_source_refuses_a_condition_that_it_does_not_understand(source: Source) -> None:
    db = await source.open()
    try:
        await db.execute("CREATE TABLE people (id TEXT PRIMARY KEY, ts INTEGER)")
    finally:
        await db.close()
    settings = {"people": TableSettings(where="ts > AND 1")}
    async with Capture(source.url, auth_token=source.token, settings=settings) as capture:
        with pytest.raises(UsageError, match="people"):
            await capture.install()
