"""What a node learns from a real source: whether a group leads on from where its cache was loaded."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from cdc.capture import Capture
from cdc.embedded import NodeSource
from cdc.plan import log_head
from consumers.groups import Group
from consumers.writer import CacheWriter
from schemas.errors import CdcError, SourceUnavailableError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.event import Head


class Site:
    """A source whose cache was loaded just after the backup was taken."""

    def __init__(self, folder: Path) -> None:
        self.path, self.backup = folder / "app.db", folder / "backup.db"
        self.source = NodeSource(lambda: Capture(str(self.path)))
        self.write("CREATE TABLE a (id INTEGER PRIMARY KEY, v)")

    def write(self, sql: str = "INSERT INTO a DEFAULT VALUES") -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.executescript(sql)

    async def load(self) -> Head:
        async with Capture(str(self.path)) as capture:
            await capture.install()
        shutil.copy(self.path, self.backup)
        self.write()
        async with CacheWriter(self.path.with_name("cache.redb"), "node") as writer:
            assert await self.source.load(writer) == 1
            assert writer.groups.between
            assert writer.groups.head is not None
            return writer.groups.head

    async def group_to_the_end(self) -> Group:
        async with Capture(str(self.path)) as capture, capture.reading() as reader:
            head = log_head(await reader.state(), reader.settings)
        return Group(head.epoch, head.epoch_nonce, 0, head.change_id, head.nonce)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_group_of_the_same_history_leads_on(site: Site):
    head = await site.load()
    site.write()
    assert await site.source.leads_through(head, await site.group_to_the_end())


async def test_a_group_made_after_a_backup_was_restored_does_not(site: Site):
    head = await site.load()
    shutil.copy(site.backup, site.path)
    site.write("INSERT INTO a VALUES (7, 'another'); INSERT INTO a VALUES (8, 'and one more')")
    group = await site.group_to_the_end()
    assert group.high > head.change_id
    assert not await site.source.leads_through(head, group)


async def test_nor_one_made_while_a_backup_was_in_place_that_another_one_has_replaced(site: Site):
    head = await site.load()
    later = site.path.with_name("later.db")
    shutil.copy(site.path, later)
    shutil.copy(site.backup, site.path)
    site.write("INSERT INTO a VALUES (7, 'another'); INSERT INTO a VALUES (8, 'and one more')")
    group = await site.group_to_the_end()
    shutil.copy(later, site.path)
    site.write()
    assert (await site.group_to_the_end()).high == group.high
    assert not await site.source.leads_through(head, group)


async def test_nor_one_where_the_newest_row_that_the_cache_holds_is_lost(site: Site):
    """It was filled in many short moments: its rows may be newer than where it stands."""
    head = await site.load()
    lost = msgspec.structs.replace(head, exact_at=head.change_id + 1, exact_nonce=12345)
    site.write("INSERT INTO a VALUES (7, 'another'); INSERT INTO a VALUES (8, 'and one more')")
    group = await site.group_to_the_end()
    assert await site.source.leads_through(head, group)
    assert not await site.source.leads_through(lost, group)
    assert not await site.source.has_lost(head)
    assert await site.source.has_lost(lost)


async def test_a_log_that_was_pruned_beyond_the_cache_does_not_tell(site: Site):
    head = await site.load()
    site.write()
    async with Capture(str(site.path)) as capture:
        await capture.prune(0)
    site.write()
    group = await site.group_to_the_end()
    assert not await site.source.leads_through(head, group)


async def test_a_source_without_capture_says_so(site: Site):
    head = await site.load()
    group = await site.group_to_the_end()
    async with Capture(str(site.path)) as capture:
        await capture.uninstall()
    with pytest.raises(CdcError) as refused:
        await site.source.leads_through(head, group)
    assert not isinstance(refused.value, SourceUnavailableError)


async def test_a_source_that_is_locked_is_away(site: Site):
    head = await site.load()
    group = await site.group_to_the_end()
    with closing(sqlite3.connect(site.path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceUnavailableError):
            await site.source.leads_through(head, group)


async def test_a_source_that_is_not_there_is_refused(site: Site):
    head = await site.load()
    group = await site.group_to_the_end()
    site.path.unlink()
    with pytest.raises(UsageError):
        await site.source.leads_through(head, group)
