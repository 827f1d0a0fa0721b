"""What `cdc doctor` looks at in the source."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cdc.capture import CaptureStaleError
from cdc.capture.identifiers import LOG
from cdc.cli.doctor_checks import Check, clock_check, log_check
from cdc.cli.output import counted
from cdc.cli.parts import open_capture
from schemas.errors import CdcError

if TYPE_CHECKING:
    from cdc.capture import Capture
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
    return [*checks, log_check(rows, age_s, retention_s)]
