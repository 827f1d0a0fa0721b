"""What ``cdc status`` says of the change log: who holds it, and whether it has grown too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdc.capture.prune_plan import holds, log_warning, lowest_lease
from cdc.cli.parts import position_document
from schemas.position import Position

if TYPE_CHECKING:
    from cdc.capture.leases import Lease
    from cdc.capture.prune import Keeping


def log_document(keeping: Keeping | None, retention_s: float) -> dict[str, Any]:
    """The members of ``source`` that speak of the log: ``log`` and ``leases``; null where it did not tell."""
    if keeping is None:
        return {"log": None, "leases": None}
    bounds = keeping.bounds
    lowest = lowest_lease(keeping.leases, bounds)
    age_s = None if bounds.oldest_ms is None else _seconds(bounds.now_ms - bounds.oldest_ms)
    return {
        "log": {
            "pruned_to": bounds.pruned_to,
            "oldest_seconds": age_s,
            "held_by": None if lowest is None else {"kind": lowest.kind, "reader": lowest.name},
            "warning": log_warning(keeping.leases, bounds, retention_s),
        },
        "leases": [_lease_document(one, keeping) for one in keeping.leases],
    }


def log_lines(source: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for people."""
    lines: list[tuple[str, str]] = []
    for lease in source["leases"] or ():
        position = f"{lease['position']['epoch']}:{lease['position']['change_id']}"
        ended = "" if lease["holds"] else " (holds nothing)"
        renewed = f"renewed {lease['silent_seconds']:,.0f} s ago"
        lines.append(("", f"{lease['kind']} {lease['reader']} stands at {position}, {renewed}{ended}"))
    if source["log"] is not None and source["log"]["warning"] is not None:
        lines.append(("", f"WARNING: {source['log']['warning']}"))
    return lines


def _lease_document(lease: Lease, keeping: Keeping) -> dict[str, Any]:
    return {
        "kind": lease.kind,
        "reader": lease.name,
        "position": position_document(Position(lease.epoch, lease.change_id)),
        "silent_seconds": _seconds(keeping.bounds.now_ms - lease.renewed_ms),
        "holds": holds(lease, keeping.bounds),
    }


def _seconds(ms: int) -> float:
    return round(max(0, ms) / 1000, 3)
