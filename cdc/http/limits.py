"""Every limit of HTTP, with its unit, in one place."""

from __future__ import annotations

CONNECTIONS_MAX = 128
"""Connections at a time; what comes beyond is answered 503 and closed."""

CONNECTION_SECONDS_MAX = 120.0
"""How long a connection may live, however slowly it asks: longer than any answer takes."""

SWEEP_SECONDS = 5.0
"""How often connections are looked through for those that are too old."""

KEEPALIVE_SECONDS = 15.0
"""How long an idle connection is kept for the next request."""

REQUEST_BYTES_MAX = 8 * 1024
"""Bytes of a request's line, and of a header; there are no bodies."""

WAIT_SECONDS_MAX = 60.0
"""The longest ``timeout`` of a read that waits for a position."""

WAIT_SECONDS = 2.0
"""The same, where none is given."""

WAIT_LOOK_SECONDS = 0.005
"""How often a waiting read looks where the cache stands."""

INLINE_BYTES_MAX = 64 * 1024
"""A larger row is decoded and encoded off the event loop's thread."""

STATUS_SECONDS = 5.0
"""How long status waits for a part that is away."""

SHUTDOWN_SECONDS = 1.0
"""How long answers under way may take when the process ends."""
