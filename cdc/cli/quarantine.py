"""``cdc quarantine``: rows that could not be applied."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.key_arguments import ExactKey, read_key
from cdc.cli.mending import mend_keys, writing_hand
from cdc.cli.output import counted, print_json_lines, print_result
from cdc.cli.reaching import until_reached
from cdc.cli.running import run_async
from consumers.cache import Cache
from consumers.control import messages
from consumers.control.client import ask
from consumers.opening import open_to_read
from consumers.quarantine import Marked, mark_document, marks
from consumers.store import redb_errors
from schemas.errors import CacheBusyError, ExitCode, UsageError
from schemas.keys import encode_key, split_record_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdc.config import Config


def quarantine(
    action: Annotated[Literal["list", "retry", "drop"], Parameter(help="list, retry or drop.")],
    table: Annotated[str | None, Parameter(help="The table; every one when left out.")] = None,
    /,
    *key: Annotated[str, Parameter(help="One per key column; every row of the table when left out.")],
    exact: ExactKey = None,
    common: Common = DEFAULTS,
) -> int | None:
    """List rows that could not be applied, try again to apply them, or take their marks away."""
    config = common.load()
    wanted = _chosen(config, common.timeout_s, table, key, exact)
    if action == "list":
        print_json_lines(mark_document(marked) for marked in wanted)
        return None
    names = [marked.name for marked in wanted]
    code = ExitCode.NO_ROW if (key or exact is not None) and not names else None
    if action == "drop":
        dropped = run_async(_drop(config, names, common.timeout_s)) if names else 0
        text = f"{counted(dropped, 'mark')} taken away: the rows stay absent until they change"
        print_result(common, {"dropped": dropped, "left": len(names) - dropped}, text)
        return code
    retried = run_async(_retry(config, names, common.timeout_s)) if names else 0
    left = len(names) - retried
    print_result(
        common,
        {"retried": retried, "left": left},
        f"{counted(retried, 'row')} applied, {left:,} still quarantined",
    )
    return code


def _chosen(
    config: Config, timeout_s: float, table: str | None, key: tuple[str, ...], exact: str | None
) -> Iterator[Marked]:
    prefix = b"" if table is None else table.encode() + b"\x00"
    if table is not None:
        with Cache.open(config.cache.path) as cache:
            definition = cache.definition(table)
        if key or exact is not None:
            prefix += encode_key(read_key(definition, key, exact))
    elif key or exact is not None:
        raise UsageError("a key belongs to a table", "give TABLE before KEY")
    whole = bool(key) or exact is not None
    for marked in _marks(config.cache.path, timeout_s):
        if marked.name == prefix if whole else marked.name.startswith(prefix):
            yield marked


def _marks(path: Path, timeout_s: float) -> Iterator[Marked]:
    try:
        database, _ = open_to_read(path)
    except CacheBusyError:
        # Its node does not share the file: then it is asked.
        yield from asyncio.run(_marks_of_node(path, timeout_s))
        return
    with database, redb_errors(path):
        yield from marks(database)


async def _marks_of_node(path: Path, timeout_s: float) -> list[Marked]:
    found: list[Marked] = []
    after: bytes | None = None
    while page := msgspec.convert(await ask(path, messages.ListQuarantined(after), timeout_s), list[Marked]):
        found += page
        after = page[-1].name
    return found


async def _drop(config: Config, names: list[bytes], timeout_s: float) -> int:
    async with writing_hand(config, "quarantine drop", timeout_s) as hand:
        return await hand.drop(names)


async def _retry(config: Config, names: list[bytes], timeout_s: float) -> int:
    """Reads the rows at the source, where there is one; else applies what was stored with the marks."""
    async with writing_hand(config, "quarantine retry", timeout_s) as hand:
        if config.source is None:
            return await hand.retry_stored(names)
        keys = [key for key in map(split_record_key, names) if key[1]]
        mended = await until_reached(lambda: mend_keys(config, hand, keys), timeout_s)
        return mended.mended
