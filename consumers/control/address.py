"""Where the control socket of a cache is: beside the file, whatever the length of its path."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from consumers.cache_path import real_path

SOCKET_NAME_BYTES_MAX = 107
"""What fits into a sockaddr_un on Linux, without its closing zero (unix(7))."""

_BACKLOG = 16


class NoSocketError(Exception):
    """No control socket can be made there; the message says why."""


def control_path(cache: Path) -> Path:
    """Return ``<cache>.ctl``: the socket, or a link to it where this path is too long for a socket's name."""
    cache = real_path(cache)
    # A folder ("." for one) has no name that another could be made of.
    return cache.parent / (cache.name + ".ctl")


def listening_address(cache: Path) -> str | None:
    """Return what to connect to, None where nobody has left a socket."""
    path = control_path(cache)
    try:
        mode = path.lstat().st_mode
        target = os.fspath(path.readlink() if stat.S_ISLNK(mode) else path)
    except OSError:
        return None
    return target if len(os.fsencode(target)) <= SOCKET_NAME_BYTES_MAX else None


class BoundSocket:
    """A listening socket that only this user may reach. Made by whoever holds the node's lock.

    What lies at its place is of a writer that is dead, or it would hold the lock.

    Raises:
        NoSocketError: it cannot be made: something else lies there, or the folder may not be written.
    """

    def __init__(self, cache: Path) -> None:
        path = control_path(cache)
        self._made: list[Path] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            if len(os.fsencode(path)) <= SOCKET_NAME_BYTES_MAX:
                self._bind(path)
            else:
                elsewhere = (
                    _short_folder() / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}.ctl"
                )
                _remove_stale(elsewhere)
                self._bind(elsewhere)
                path.symlink_to(elsewhere)
                self._made.append(path)
            self.socket.listen(_BACKLOG)
            self.socket.setblocking(False)
        except OSError as error:
            self.close()
            raise NoSocketError(f"{path}: {error.strerror or error}") from error
        except NoSocketError:
            self.close()
            raise

    def close(self) -> None:
        """Take it away; safe to repeat."""
        self.socket.close()
        for path in reversed(self._made):
            path.unlink(missing_ok=True)
        self._made.clear()

    def _bind(self, path: Path) -> None:
        # The file gets the socket's mode (unix(7)), so that there is no moment in which others may connect.
        os.fchmod(self.socket.fileno(), 0o600)
        self.socket.bind(os.fspath(path))
        self._made.append(path)
        path.chmod(0o600)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISSOCK(mode) or stat.S_ISLNK(mode)):
        raise NoSocketError(f"{path} is no socket")
    path.unlink(missing_ok=True)


def _short_folder() -> Path:
    """Return a folder of this user's own with a short name."""
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"cdc-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    if not private:
        raise NoSocketError(f"{folder} is not a folder of this user's alone")
    return folder
