"""Leases, heartbeat rows and pruning at every kind of source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdc.capture import Capture, limits
from cdc.capture.heartbeat import write_heartbeat
from cdc.capture.leases import Reader, renew, renew_unless_fresh, secure
from tests.support.log import head_of
from tests.support.sources import KINDS

if TYPE_CHECKING:
    from tests.support.sources import Source

ROWS = 12


@pytest.mark.parametrize("kind", KINDS)
async def test_readers_hold_what_they_need_and_the_rest_is_pruned(
    source: Source, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "PRUNE_ROWS_MAX", 5)
    monkeypatch.setattr(limits, "PRUNE_PAUSE_SECONDS", 0.0)
    topic, cache = Reader("topic", "cdc.app"), Reader("cache", "node-a")
    async with Capture(source.url, auth_token=source.token) as capture:
        client = capture.client
        await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        await capture.install()
        await secure(client, cache)
        async with capture.reading() as reader:
            assert (await reader.is_held_for(cache), await reader.is_held_for(topic)) == (True, False)
            secured = (await reader.keeping()).leases[0].change_id
        for number in range(ROWS):
            await client.execute("INSERT INTO t VALUES (?)", (number,))
        head = await head_of(capture)
        await renew_unless_fresh(client, topic, head)
        assert (await capture.prune(0.0)).plan.held_by == "lease"
        await secure(client, cache)
        await renew(client, cache, head)
        assert await write_heartbeat(client, head)
        assert not await write_heartbeat(client, head)
        pruned = await capture.prune(0.0)
        assert (pruned.plan.held_by, pruned.done) == ("lease", True)
        bounds = pruned.keeping.bounds
        assert (bounds.pruned_to, bounds.oldest, bounds.newest) == (
            head.change_id - 1,
            head.change_id,
            head.change_id + 1,
        )
        assert pruned.rows == head.change_id - secured
        await client.execute("UPDATE _cdc_leases SET renewed_ms = 0 WHERE kind = 'cache'")
        await renew(client, topic, await head_of(capture))
        pruned = await capture.prune(0.0)
        assert [lease.name for lease in pruned.keeping.leases] == ["cdc.app"]
        assert pruned.keeping.bounds.rows == 1
        assert await capture.uninstall()
