"""``cdc why``: what is known of one row, and where from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.key_arguments import ExactKey, KeyWord, read_key
from cdc.cli.output import counted, print_json, print_text
from cdc.cli.output import table as text_table
from cdc.cli.running import run_async
from cdc.cli.why_parts import (
    AtSource,
    Cached,
    ask_cache,
    ask_source,
    ask_topic,
    checkpoint_document,
    definition_of,
    mark_document,
)
from schemas.errors import ExitCode, NoRowError
from schemas.kafka_calls import REQUEST_SECONDS_MAX, request_seconds
from schemas.keys import encode_key
from schemas.values import json_line, row_to_json, values_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc.cli.why_events import Trail
    from cdc.config import Config


def why(
    table: Annotated[str, Parameter(help="The table.")],
    /,
    *key: KeyWord,
    exact: ExactKey = None,
    common: Common = DEFAULTS,
) -> int | None:
    """Tell what is known of one row: cached, at the source, what wrote it, what is pending."""
    request_seconds.set(min(REQUEST_SECONDS_MAX, common.timeout_s))
    document = run_async(why_document(common.load(), table, key, exact))
    if common.json:
        print_json(document)
        return None if document["known"] else ExitCode.NO_ROW
    if not document["known"]:
        raise NoRowError(f"nothing is known of this key of {table}", "see the keys there are: cdc scan")
    print_text(_text(document))
    return None


async def why_document(config: Config, table: str, words: Sequence[str], exact: str | None) -> dict[str, Any]:
    """What ``--json`` prints.

    Raises:
        UsageError: there is no such table, or that is no key of it.
    """
    definition = await definition_of(config, table)
    values = read_key(definition, words, exact)
    key = encode_key(values)
    # In this order, so that what is committed meanwhile looks pending, never lost.
    cached = await asyncio.to_thread(ask_cache, config, table, key)
    trail = await ask_topic(config, table, key, cached)
    source = await ask_source(config, table, key, cached)
    return {
        "table": table,
        "key": values_to_json(values),
        "cache": {
            "position": checkpoint_document(cached.checkpoint),
            "row": None if cached.row is None else row_to_json(cached.row),
            "change_id": cached.change_id,
            "trouble": cached.trouble,
        },
        "event": _wrote(trail, source),
        "event_remark": None if trail is None else trail.remark,
        "newer_events": [] if trail is None else trail.newer,
        "source": None if source is None else _source_document(source),
        "pending": [] if source is None else source.pending,
        "quarantine": mark_document(cached.mark),
        "known": _known(cached, trail, source),
    }


def _wrote(trail: Trail | None, source: AtSource | None) -> dict[str, Any] | None:
    if trail is not None and trail.wrote is not None:
        return trail.wrote
    return None if source is None else source.wrote


def _known(cached: Cached, trail: Trail | None, source: AtSource | None) -> bool:
    damaged = cached.trouble is not None and cached.checkpoint is not None
    in_cache = cached.row is not None or cached.mark is not None or damaged
    in_topic = trail is not None and (trail.wrote is not None or bool(trail.newer))
    at_source = source is not None and (source.row is not None or any(map(_of_row, source.pending)))
    return in_cache or in_topic or at_source


def _of_row(touch: dict[str, Any]) -> bool:
    return touch["op"] != "t"


def _source_document(source: AtSource) -> dict[str, Any]:
    return {
        "row": None if source.row is None else row_to_json(source.row),
        "pending_count": source.pending_count,
        "trouble": source.trouble,
    }


def _text(document: dict[str, Any]) -> Any:
    cache, source, event = document["cache"], document["source"], document["event"]
    rows = [("cache", _value(cache["row"]))]
    if cache["trouble"] is not None:
        rows.append(("", cache["trouble"]))
    if cache["change_id"] is not None:
        rows.append(("", f"written by change {cache['change_id']}"))
    if event is not None:
        rows.append(("event", _event(event)))
    elif document["event_remark"] is not None:
        rows.append(("event", document["event_remark"]))
    rows += [("newer event", _event(newer)) for newer in document["newer_events"]]
    if source is not None:
        rows.append(("source", _value(source["row"])))
        if source["trouble"] is not None:
            rows.append(("", source["trouble"]))
        if source["pending_count"]:
            rows.append(("pending", f"{counted(source['pending_count'], 'change')} in the log"))
        rows += [("", f"change {touch['change_id']}, op {touch['op']}") for touch in document["pending"]]
    if document["quarantine"] is not None:
        rows.append(("QUARANTINED", document["quarantine"]["reason"]))
    return text_table(("part", "what it knows"), rows)


def _value(row: Any) -> str:
    return "no such row" if row is None else json_line(row).decode().rstrip()


def _event(event: dict[str, Any]) -> str:
    where = event.get("kafka")
    offset = "in the log" if where is None else f"at offset {where['offset']} of {where['topic']}"
    return f"op {event['op']}, change {event['change_id']}, {offset}"
