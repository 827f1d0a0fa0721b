"""``cdc find``: rows of the cache by an indexed column."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.key_arguments import read_exact, read_value
from cdc.cli.output import print_json_lines, row_document
from consumers.cache import Cache
from schemas.errors import UsageError


def find(
    table: Annotated[str, Parameter(help="The table.")],
    wanted: Annotated[str, Parameter(help="COLUMN=VALUE, or COLUMN alone with --value.")],
    /,
    *,
    value: Annotated[
        str | None, Parameter(env_var="CDC_VALUE", help="The exact value as JSON, instead of =VALUE.")
    ] = None,
    limit: Annotated[
        int | None,
        Parameter(
            env_var="CDC_LIMIT", validator=Number(gte=0, lte=sys.maxsize), help="End after so many rows."
        ),
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Print rows with a value in an indexed column as JSON lines, in key order."""
    column, equals, word = wanted.partition("=")
    if bool(equals) == (value is not None):
        raise UsageError("find takes one value", "give COLUMN=VALUE, or COLUMN and --value JSON")
    with Cache.open(common.load().cache.path) as cache, cache.view() as view:
        definition = view.definition(table)
        sought = read_value(definition, column, word) if value is None else read_exact(value)
        rows = view.found(definition.name, {column: sought})
        print_json_lines(row_document(definition.name, key, row) for key, row in islice(rows, limit))
