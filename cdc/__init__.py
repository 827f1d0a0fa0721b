"""The capture side, the command, and what an application needs to read its own writes: `position`."""

from __future__ import annotations

# Not `typing`'s own: every command passes through here before it can take a signal.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from schemas.position import Position

__all__ = ["Position", "position"]


def position(connection: Any) -> Position:
    """Gives the position of what a connection has just committed, to wait for on a cache node.

    Args:
        connection: an open `sqlite3.Connection`, or anything whose ``execute(sql)`` gives a cursor with
            ``fetchone()``.

    Returns:
        A position at or after the commit: ``cache.wait_for(position)`` returns when a node has applied it.

    Raises:
        Whatever the connection raises where capture is not installed (there is no table ``_cdc_log``).
    """
    from schemas.position import Position  # noqa: PLC0415 -- see above

    row = connection.execute("SELECT epoch, (SELECT max(change_id) FROM _cdc_log) FROM _cdc_meta").fetchone()
    return Position(row[0], row[1])


def __getattr__(name: str) -> object:
    if name == "Position":
        from schemas.position import Position  # noqa: PLC0415 -- see above

        return Position
    raise AttributeError(f"module 'cdc' has no attribute {name!r}")
