"""A reader that meets a damaged row tells the node, which mends it; best effort, and without waiting."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consumers import _redb, limits
from consumers.control.address import listening_address
from consumers.control.messages import Damaged, encode
from consumers.store import redb_errors
from schemas.errors import DamagedRowError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_next_at = 0.0
_lock = threading.Lock()


@contextmanager
def reader_errors(path: Path) -> Iterator[None]:
    """`redb_errors` for a reader: the node that writes the file is told of a damaged row."""
    try:
        with redb_errors(path):
            yield
    except DamagedRowError as error:
        damaged = error.__cause__
        if isinstance(damaged, _redb.DamagedRowError):
            _tell(path, damaged.table, damaged.key)
        raise


def _tell(cache: Path, table: str, key: bytes) -> None:
    global _next_at  # noqa: PLW0603 -- one limit for all of this process
    with _lock:
        now = time.monotonic()
        if now < _next_at or len(key) > limits.TOLD_KEY_BYTES_MAX:
            return
        _next_at = now + limits.TELL_PAUSE_SECONDS
    address = listening_address(cache)
    if address is None:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limits.TELL_SECONDS)
        connection.connect(address)
        connection.sendall(encode(Damaged(table, key)) + b"\n")
        # Until it has taken note; what it does about it is its own affair.
        connection.recv(1)
