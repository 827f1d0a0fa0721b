"""``cdc verify``: is the cache equal to the source?"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from cdc import limits
from cdc.capture import CaptureStaleError
from cdc.cli.common import DEFAULTS, Common
from cdc.cli.mending import check_same_log, mend_keys, writing_hand
from cdc.cli.output import print_result
from cdc.cli.output import table as text_table
from cdc.cli.parts import open_capture, position_document
from cdc.cli.reaching import until_reached
from cdc.cli.running import run_async
from consumers.opening import open_to_read
from consumers.store import redb_errors
from consumers.verify import Verification
from consumers.verify_report import TableReport, checks_of
from schemas.errors import ExitCode
from schemas.keys import BadKeyError, decode_key
from schemas.position import Position
from schemas.values import value_to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from cdc.capture import Capture, LogState, SourceReader
    from cdc.config import Config
    from consumers.meta import Checkpoint
    from schemas.definition import TableDefinition


class Verified(msgspec.Struct, frozen=True):
    """The source's position that the cache was compared at, and what was found by table."""

    position: Position
    tables: dict[str, TableReport]
    checks: dict[str, bool]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return all(report.equal for report in self.tables.values())


def verify(
    *,
    repair: Annotated[
        bool,
        Parameter(env_var="CDC_REPAIR", negative="", help="Mend just the keys that differ, from the source."),
    ] = False,
    common: Common = DEFAULTS,
) -> int | None:
    """Compare the cache with the source, while both are live; exit 3 where they differ."""
    config = common.load()
    if repair:
        verified, found, repaired = run_async(_repair(config, common.timeout_s))
        document = verified_document(verified, repaired) | {"found": _found(found)}
    else:
        repaired = 0
        verified = run_async(until_reached(partial(verify_cache, config), common.timeout_s))
        document = verified_document(verified)
    print_result(common, document, verified_text(verified, repaired))
    return None if verified.equal else ExitCode.DIFFERENT


async def _repair(config: Config, timeout_s: float) -> tuple[Verified, Verified, int]:
    """Mends what differs and compares again, for as long as that helps.

    Returns what is left, what was found at first, and how many rows were put right.
    """
    look = partial(until_reached, partial(verify_cache, config), timeout_s)
    first = verified = await look()
    repaired = 0
    while keys := [
        (table, key)
        for table, report in verified.tables.items()
        if not report.equal
        for key in (*report.missing, *report.unexpected, *report.different)
    ]:
        async with writing_hand(config, "verify --repair", timeout_s) as hand:
            mended = await mend_keys(config, hand, keys)
        repaired += mended.mended
        verified = await look()
        if not mended.mended:
            break
    return verified, first, repaired


async def verify_cache(config: Config) -> Verified:
    """Compares the newest state of a cache with that of its source."""
    capture = open_capture(config)
    path = config.cache.path
    database, _ = await asyncio.to_thread(open_to_read, path)
    with database, redb_errors(path), database.snapshot() as snapshot:
        verification = Verification(snapshot)
        async with capture:
            tries_left = limits.VERIFY_TRIES_MAX
            while True:
                try:
                    return await compare_with(capture, verification)
                except CaptureStaleError:
                    # Between two moments. If it is so for good, that is found when the next one begins.
                    tries_left -= 1
                    if not tries_left:
                        raise


async def compare_with(
    capture: Capture, verification: Verification, seen: type[SourceSeen] | None = None
) -> Verified:
    """Compares a held state of a cache with an open source, which the application may write to."""
    seen = seen or SourceSeen
    async with capture.reading(limits.MOMENT_TRIES_MAX) as reader:
        state = await _state(reader, verification.checkpoint)
        view = seen(reader)
        tables = await verification.compare(view)
        relations = await view.relations()
        undecided = verification.undecided(view, tables)
    if undecided:
        # Which rows of a bounded table the cache has to hold is only known at one moment.
        async with capture.moment() as reader:
            await _state(reader, verification.checkpoint)
            tables |= await verification.compare(seen(reader), undecided)
    return Verified(Position(state.epoch, state.high), tables, checks_of(tables, relations))


async def _state(reader: SourceReader, checkpoint: Checkpoint | None) -> LogState:
    state = await reader.state(None if checkpoint is None else checkpoint.change_id)
    if checkpoint is not None:
        check_same_log(checkpoint, state)
    return state


def verified_document(verified: Verified, repaired: int = 0) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "position": position_document(verified.position),
        "tables": {
            name: {
                "source_rows": report.source_rows,
                "cache_rows": report.cache_rows,
                "missing": _keys(report.missing),
                "unexpected": _keys(report.unexpected),
                "different": _keys(report.different),
                "pending": report.pending,
                "quarantined": report.quarantined,
                "more": report.more,
            }
            for name, report in verified.tables.items()
        },
        "checks": verified.checks,
        "equal": verified.equal,
        "repaired": repaired,
    }


def verified_text(verified: Verified, repaired: int = 0) -> Any:
    """What people see."""
    rows = [
        (
            name,
            f"{report.source_rows:,}",
            f"{report.cache_rows:,}",
            str(report.pending),
            str(report.quarantined),
            _differences(report),
        )
        for name, report in verified.tables.items()
    ]
    at = f"at {verified.position}{f', {repaired:,} repaired' if repaired else ''}"
    rows.append(("equal" if verified.equal else "DIFFERENT", at, "", "", "", ""))
    headings = ("table", "source rows", "cache rows", "pending", "quarantined", "differences")
    return text_table(headings, rows)


class SourceSeen:
    """A source's reader as verify wants it: only encoded keys and rows."""

    def __init__(self, reader: SourceReader) -> None:
        self._reader = reader

    @property
    def exact_at(self) -> int:
        """The log's end at the newest moment that was read."""
        return self._reader.newest.high

    @property
    def settings(self) -> int:
        """A digest of what is configured to be published."""
        return self._reader.settings

    def is_whole(self, table: str) -> bool:
        """Whether the cache holds every row of a table."""
        return self._reader.is_whole(table)

    def tables(self) -> Mapping[str, TableDefinition]:
        """The captured tables."""
        return self._reader.tables()

    async def relations(self) -> list[tuple[str, str]]:
        """(table, the table that its rows refer to)."""
        follows = [
            (name, parent)
            for name, definition in self._reader.tables().items()
            if definition.follow is not None
            for parent in definition.follow.tables
        ]
        return follows + await self._reader.references()

    async def rows(self, table: str) -> AsyncIterator[Iterable[tuple[bytes, bytes | None]]]:
        """Every row that has to be cached."""
        async for page in self._reader.rows(table):
            yield [(change[2], change[4]) for change in page]

    async def oldest(self, table: str, rows: int) -> AsyncIterator[Iterable[bytes]]:
        """The keys of the oldest rows that are kept."""
        async for page in self._reader.oldest(table, rows):
            yield [change[2] for change in page]

    async def pending(self, after: int) -> AsyncIterator[Iterable[tuple[str, bytes]]]:
        """(table, key) touched after a change id."""
        async for page in self._reader.pending(after):
            yield page


def _found(verified: Verified) -> dict[str, Any]:
    return {
        name: {
            "missing": _keys(report.missing),
            "unexpected": _keys(report.unexpected),
            "different": _keys(report.different),
        }
        for name, report in verified.tables.items()
        if not report.equal
    }


def _keys(keys: list[bytes]) -> list[list[Any]]:
    return [_key(key) for key in keys]


def _key(key: bytes) -> list[Any]:
    try:
        return [value_to_json(value) for value in decode_key(key)]
    except BadKeyError:
        # Of a damaged row, whose key is damaged.
        return [value_to_json(key)]


def _differences(report: TableReport) -> str:
    parts = [
        f"{len(keys):,} {name}"
        for name, keys in (
            ("missing", report.missing),
            ("unexpected", report.unexpected),
            ("different", report.different),
        )
        if keys
    ]
    if report.more:
        parts.append("and more")
    return ", ".join(parts) or "none"
