"""The capture side, the command, and what an application needs to read its own writes: `position`."""

from __future__ import annotations

# Not `typing`'s own: every command passes through here before it can take a signal.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from schemas.position import Position

__all__ = ["Position", "async_position", "position"]


_POSITION_SQL = "SELECT epoch, (SELECT max(change_id) FROM _cdc_log) FROM _cdc_meta"


def position(connection: Any) -> Position:
    """Gives the position of what a connection has just committed, to wait for on a cache node.

    Args:
        connection: an open `sqlite3.Connection`, a pyturso connection, a client of
            ``libsql_client.create_client_sync``, or anything else whose ``execute(sql)`` gives a cursor with
            ``fetchone()`` or a result with ``rows``.

    Returns:
        A position at or after the commit: ``cache.wait_for(position)`` returns when a node has applied it.

    Raises:
        Whatever the connection raises where capture is not installed (there is no table ``_cdc_log``).
        TypeError: it is asynchronous; see `async_position`.
    """
    result = connection.execute(_POSITION_SQL)
    if hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()
        raise TypeError("this connection is asynchronous: await cdc.async_position(connection)")
    return _position_of(result)


async def async_position(connection: Any) -> Position:
    """Gives the same as `position` for a connection whose ``execute(sql)`` is awaited (``libsql_client``)."""
    return _position_of(await connection.execute(_POSITION_SQL))


def _position_of(result: Any) -> Position:
    from schemas.position import Position  # noqa: PLC0415 -- see above

    row = result.fetchone() if hasattr(result, "fetchone") else result.rows[0]
    return Position(row[0], row[1])


def __getattr__(name: str) -> object:
    if name == "Position":
        from schemas.position import Position  # noqa: PLC0415 -- see above

        return Position
    raise AttributeError(f"module 'cdc' has no attribute {name!r}")
