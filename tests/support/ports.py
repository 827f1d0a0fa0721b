"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_PORT_MIN = 12_000
_TRIES_MAX = 100


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing uses, from below those that the system hands to clients.

    A port of the system's own range is no place for a server that is killed and restarted: meanwhile the
    system may give it to any outgoing connection, even to the one that tries to reach the dead server.
    """
    for _ in range(_TRIES_MAX):
        port = random.randrange(_PORT_MIN, _first_client_port())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port found in {_TRIES_MAX} tries")


def _first_client_port() -> int:
    setting = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(setting.read_text().split()[0]) if setting.exists() else 32_768
    return max(first, _PORT_MIN + 1_000)
