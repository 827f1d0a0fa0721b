"""What commands that bring something up to date print at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdc.cli.output import counted, print_result
from cdc.cli.parts import position_document

if TYPE_CHECKING:
    from cdc.cli.common import Common
    from schemas.position import Position


def print_progress(
    common: Common, what: str, position: Position | None, *, rows: int, events: int, seconds: float
) -> None:
    """Prints how far a command came: its position, rows loaded, events from the log, and the time it took."""
    document: dict[str, Any] = {
        "position": None if position is None else position_document(position),
        "rows": rows,
        "events": events,
        "seconds": round(seconds, 3),
    }
    done = [f"{counted(rows, 'row')} loaded"] if rows else []
    if events or not rows:
        done.append(f"{counted(events, 'change')} applied" if events else "nothing new")
    print_result(common, document, f"{what} at {position}: {', '.join(done)} in {seconds:.2f} s")
