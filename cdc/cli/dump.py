"""``cdc dump``: whole tables of the cache."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_json_lines, row_document
from consumers.cache import Cache


def dump(
    *table: Annotated[str, Parameter(help="The tables; all when none is named.")],
    common: Common = DEFAULTS,
) -> None:
    """Print whole tables as JSON lines: tables by name, rows in key order."""
    with Cache.open(common.load().cache.path) as cache, cache.view() as view:
        names = sorted({view.definition(name).name for name in table} if table else view.definitions())
        print_json_lines(row_document(name, key, row) for name in names for key, row in view.scan(name))
