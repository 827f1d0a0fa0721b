"""Every bound of speaking to a source over a network, named with its unit."""

from __future__ import annotations

from typing import Final

CONNECT_S_MAX: Final = 5.0
"""How long a connection may take to come about, TLS included."""

REQUEST_S_MAX: Final = 30.0
"""How long one request may take: a server waits up to 5 s for a lock by itself."""

GOODBYE_S_MAX: Final = 2.0
"""How long closing a stream may take; an unclosed one expires at the server."""

KEEP_ALIVE_S: Final = 3.0
"""An open read transaction that was not used for so long says so: servers end it after 10 s."""

RESPONSE_BYTES_TARGET: Final = 4 * 2**20
"""How large a response should be: servers refuse to give more than 10 MB."""

WINDOW_ROWS_FIRST: Final = 256
WINDOW_ROWS_MAX: Final = 20_000
"""Rows asked for in one request: each costs the server a search for its beginning."""

WINDOW_GROWTH_MAX: Final = 8
"""How much larger than the one before a window may be: the rows to come may be larger."""

DECODE_INLINE_BYTES_MAX: Final = 64 * 1024
"""Larger responses are decoded on a thread, so that the event loop goes on."""

LOOK_ANYWAY_S: Final = 1.0
"""How often a source that tells of changes is looked at all the same: it does not tell of new tables."""

LISTEN_RETRY_S: Final = 1.0
"""Pause before listening for changes again after the connection was lost."""

HEARTBEAT_S: Final = 10.0
"""How often a WebSocket is asked whether it is still there."""

SHARED_ANSWER_BYTES_MAX: Final = 64 * 2**20
"""The largest answer that is taken from a server which gives any: less is asked for then."""

SHARED_COMMITS_MAX: Final = 100
"""How often a write transaction is tried between the commits of a server's other clients."""
