"""``cdc reread``: one table is read anew, by every reader of the log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import named, print_result
from cdc.cli.reaching import until_reached
from cdc.cli.running import run_async
from cdc.cli.standing import order_reread
from consumers.control import messages
from consumers.control.client import ask

if TYPE_CHECKING:
    from cdc.config import Config


def reread(
    table: Annotated[str, Parameter(help="The table.")],
    /,
    *,
    common: Common = DEFAULTS,
) -> None:
    """Have every cache read one table anew: ordered through the source's change log."""
    run_async(_reread(common.load(), table, common.timeout_s))
    text = f"every cache reads {named(table)} anew with the next group"
    print_result(common, {"table": table, "ordered": True}, text)


async def _reread(config: Config, table: str, timeout_s: float) -> None:
    if config.source is None:
        await ask(config.cache.path, messages.Reread(table), timeout_s)
    else:
        await until_reached(partial(order_reread, config, table), timeout_s)
