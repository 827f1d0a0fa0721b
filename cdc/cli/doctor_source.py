"""What `cdc doctor` looks at in the source."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cdc.capture import CaptureStaleError
from cdc.capture.leases import read_leases
from cdc.cli.doctor_checks import Check, clock_check, lease_check, log_check
from cdc.cli.output import counted
from cdc.cli.parts import open_capture
from cdc.identifiers import LOG
from schemas.errors import CdcError

if TYPE_CHECKING:
    from cdc.capture import Capture, LogState
    from cdc.config import Config

_NOW_SQL = "SELECT (julianday('now') - 2440587.5) * 86400.0"
_OLDEST_SQL = f"SELECT ts FROM {LOG} ORDER BY change_id LIMIT 1"


async def source_checks(config: Config) -> list[Check]:
    """Everything about the source; none where none is configured."""
    if config.source is None:
        return []
    checks: list[Check] = []
    try:
        async with open_capture(config) as capture:
            await capture.client.execute("SELECT 1")
            checks.append(Check("source", "reachable", "ok", capture.client.url))
            checks += await _journal(capture)
            checks.append(await _clock(capture))
            checks += await _capture(capture, config.source.log_retention_s)
    except CdcError as error:
        checks.append(Check("source", "reachable", "failure", error.message, error.remedy))
    return checks


async def _journal(capture: Capture) -> list[Check]:
    if not capture.client.url.startswith("file:"):
        return []
    mode = (await capture.client.execute("PRAGMA journal_mode")).rows[0][0]
    if mode == "wal":
        return [Check("source", "journal", "ok", "WAL")]
    remedy = "run once: PRAGMA journal_mode=WAL"
    message = f"journal mode {mode}: our reads hold up the application's commits"
    return [Check("source", "journal", "warning", message, remedy)]


async def _clock(capture: Capture) -> Check:
    asked_s = time.time()
    there_s = (await capture.client.execute(_NOW_SQL)).rows[0][0]
    # Half of the way there and back; a file's clock is ours.
    return clock_check(there_s - (asked_s + time.time()) / 2)


async def _capture(capture: Capture, retention_s: float) -> list[Check]:
    if not await capture.installed():
        remedy = "run: cdc install (poll, sync and run do so by themselves)"
        return [Check("source", "capture", "warning", "not installed", remedy)]
    try:
        async with capture.reading() as reader:
            tables = len(reader.tables())
            state = await reader.state()
            rows = (await reader.backlog(0)).rows
            skipped = reader.skipped
    except CaptureStaleError as error:
        return [Check("source", "capture", "failure", error.message, error.remedy)]
    checks = [Check("source", "capture", "ok", f"installed, {counted(tables, 'table')}, epoch {state.epoch}")]
    if not tables:
        checks.append(Check("source", "tables", "warning", "there is no table to capture", "create one"))
    checks += [
        Check("source", f'table "{one.table}"', "warning", f"left out: {one.reason}", "give it a primary key")
        for one in skipped
    ]
    oldest = (await capture.client.execute(_OLDEST_SQL)).rows
    age_s = max(0.0, time.time() - oldest[0][0] / 1000) if oldest else None
    checks.append(log_check(rows, age_s, retention_s))
    return [*checks, *await _readers(capture, state)]


async def _readers(capture: Capture, state: LogState) -> list[Check]:
    """Who holds the log, and since when."""
    async with capture.client.reading() as transaction:
        leases = await read_leases(transaction)
        now_s = (await transaction.execute(_NOW_SQL)).rows[0][0]
    checks: list[Check] = []
    for lease in leases:
        # A reader of another life of the log loads everything anyway.
        same_life = (lease.epoch, lease.epoch_nonce) == (state.epoch, state.epoch_nonce)
        checks.append(
            lease_check(
                f"{lease.kind} {lease.name}",
                max(0, state.high - lease.change_id),
                max(0.0, now_s - lease.renewed_ms / 1000),
                live=same_life and lease.is_live(int(now_s * 1000)),
            )
        )
    return checks
