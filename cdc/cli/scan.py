"""``cdc scan``: rows of one table of the cache."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_json_lines, row_document
from consumers.cache import Cache
from schemas.errors import UsageError


def scan(
    table: Annotated[str, Parameter(help="The table.")],
    /,
    *,
    limit: Annotated[
        int | None,
        Parameter(
            env_var="CDC_LIMIT", validator=Number(gte=0, lte=sys.maxsize), help="End after so many rows."
        ),
    ] = None,
    prefix: Annotated[
        str, Parameter(env_var="CDC_PREFIX", help="Only rows whose first key column, as text, starts so.")
    ] = "",
    common: Common = DEFAULTS,
) -> None:
    """Print rows of a table as JSON lines, in key order."""
    try:
        prefix.encode()
    except UnicodeEncodeError:
        raise UsageError("the prefix is not UTF-8", "give the beginning of a text in UTF-8") from None
    with Cache.open(common.load().cache.path) as cache, cache.view() as view:
        name = view.definition(table).name
        rows = view.scan(name, prefix=prefix)
        print_json_lines(row_document(name, key, row) for key, row in islice(rows, limit))
