"""``cdc get``: one row of the cache."""

from __future__ import annotations

from typing import Annotated

import structlog
from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.key_arguments import ExactKey, KeyWord, read_key
from cdc.cli.output import print_json, print_text, printable, row_document, value_text
from consumers.cache import Cache
from schemas.errors import ExitCode, NoRowError

_log = structlog.get_logger("cdc.cli")


def get(
    table: Annotated[str, Parameter(help="The table.")],
    /,
    *key: KeyWord,
    exact: ExactKey = None,
    common: Common = DEFAULTS,
) -> int | None:
    """Print one row of the cache."""
    with Cache.open(common.load().cache.path) as cache:
        values = read_key(cache.definition(table), key, exact)
        row = cache.get(table, *values)
        reason = None if row is not None else cache.quarantined(table, *values)
    if common.json:
        if reason is not None:
            _log.warning("this row is quarantined", table=table, reason=reason)
        marked = {} if reason is None else {"quarantined": True, "reason": reason}
        print_json(row_document(table, values, row) | marked)
        return ExitCode.NO_ROW if row is None else None
    if reason is not None:
        raise NoRowError(f"this row of {table} is quarantined: {reason}", "see: cdc quarantine list")
    if row is None:
        raise NoRowError(f"there is no such row in {table}", "see the keys there are: cdc scan")
    print_text("\n".join(f"{printable(name)}: {value_text(value)}" for name, value in row.items()))
    return None
