"""``cdc prune``: deletes log rows at the source that nobody needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cdc.capture.prune_plan import LEASE, NEWEST
from cdc.cli.common import DEFAULTS, Common, duration
from cdc.cli.output import counted, print_result
from cdc.cli.parts import open_capture, position_document
from cdc.cli.reaching import until_reached
from cdc.cli.running import run_async
from cdc.units import format_duration
from schemas.position import Position

if TYPE_CHECKING:
    from cdc.capture.prune import Pruned
    from cdc.config import Config


def prune(
    *,
    keep: Annotated[
        float | None,
        Parameter(
            env_var="CDC_KEEP",
            converter=duration,
            metavar="DURATION",
            help="Rows younger than this stay, such as 24h or 0s (source.log_retention).",
        ),
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Delete change-log rows that no reader needs any more; whatever a reader's lease holds stays."""
    config = common.load()
    keep_s = config.need_source().log_retention_s if keep is None else keep
    began = time.monotonic()

    async def work() -> Pruned:
        return await _prune(config, keep_s)

    pruned = run_async(until_reached(work, common.timeout_s))
    document = _document(pruned) | {"seconds": round(time.monotonic() - began, 3)}
    print_result(common, document, _text(pruned, keep_s))


async def _prune(config: Config, keep_s: float) -> Pruned:
    async with open_capture(config) as capture:
        return await capture.prune(keep_s)


def _document(pruned: Pruned) -> dict[str, Any]:
    bounds, lease = pruned.keeping.bounds, pruned.plan.lease
    held_by: dict[str, Any] = {"reason": pruned.plan.held_by}
    if lease is not None:
        held_by |= {
            "kind": lease.kind,
            "reader": lease.name,
            "position": position_document(Position(lease.epoch, lease.change_id)),
            "silent_seconds": round((bounds.now_ms - lease.renewed_ms) / 1000, 1),
        }
    return {
        "rows": pruned.rows,
        "pruned_to": bounds.pruned_to,
        "log_rows": bounds.rows,
        "held_by": held_by,
        "done": pruned.done,
    }


def _text(pruned: Pruned, keep_s: float) -> str:
    bounds, lease = pruned.keeping.bounds, pruned.plan.lease
    if not pruned.done:
        rest = "another program is pruning"
    elif pruned.plan.held_by == LEASE and lease is not None:
        silent_s = max(0.0, (bounds.now_ms - lease.renewed_ms) / 1000)
        rest = f"{lease.kind} {lease.name} stands at {lease.change_id:,}, silent for {silent_s:,.0f} s"
    elif pruned.plan.held_by == NEWEST:
        rest = "the newest row always stays"
    else:
        rest = f"the rest is younger than {format_duration(keep_s)}"
    gone, left = counted(pruned.rows, "log row"), counted(bounds.rows, "row")
    return f"pruned {gone}, up to {bounds.pruned_to:,}; {left} left: {rest}"
