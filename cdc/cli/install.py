"""``cdc install``: capture at the source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import counted, named, print_json, print_result, print_text
from cdc.cli.parts import open_capture
from cdc.cli.reaching import until_reached
from cdc.cli.running import run_async

if TYPE_CHECKING:
    from cdc.capture import Capture, InstallReport


def install(
    *,
    print_sql: Annotated[
        bool, Parameter(env_var="CDC_PRINT_SQL", negative="", help="Print the SQL, and change nothing.")
    ] = False,
    common: Common = DEFAULTS,
) -> None:
    """Create the change log and its triggers at the source, or bring them up to date."""
    capture = open_capture(common.load())
    if print_sql:
        statements = run_async(until_reached(partial(_plan, capture), common.timeout_s))
        if common.json:
            print_json({"sql": statements})
        elif statements:
            print_text("\n".join(f"{statement};" for statement in statements))
        return
    report = run_async(until_reached(partial(_install, capture), common.timeout_s))
    document = {
        "created": report.created,
        "tables": report.tables,
        "changed": report.changed,
        "skipped": [{"table": skipped.table, "reason": skipped.reason} for skipped in report.skipped],
    }
    lines = [f"capturing {counted(len(report.tables), 'table')}: {', '.join(report.tables) or 'none'}"]
    if not report.changed and not report.created:
        lines.append("everything was in place already")
    lines += [f"left out: {named(skipped.table)}: {skipped.reason}" for skipped in report.skipped]
    print_result(common, document, "\n".join(lines))


async def _install(capture: Capture) -> InstallReport:
    async with capture:
        return await capture.install()


async def _plan(capture: Capture) -> list[str]:
    async with capture:
        return await capture.install_sql()
