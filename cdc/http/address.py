"""Where HTTP listens, and who may."""

from __future__ import annotations

import ipaddress
import re

import msgspec

from schemas.errors import UsageError

LISTEN_FORM = '"HOST:PORT", such as "127.0.0.1:8645" or "[::1]:8645"'
_PORT_MAX = 65_535
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:\s/]*)):([0-9]{1,5})", re.ASCII)


class Address(msgspec.Struct, frozen=True):
    """A host (empty: every interface) and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host.lower() == "localhost" or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is an IP address of the loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> Address | None:
    """Read ``HOST:PORT``; None where it is none."""
    match = _LISTEN.fullmatch(text.strip())
    if match is None or int(match[3]) > _PORT_MAX:
        return None
    return Address(match[1] or match[2] or "", int(match[3]))


def check_exposed(address: Address, token: str | None) -> None:
    """Refuse to show rows to a network without asking who is there.

    Raises:
        UsageError: others than this machine would reach it, and there is no token.
    """
    if token is None and not address.loopback:
        raise UsageError(
            f"HTTP would listen on {address} for everybody who reaches it",
            'give http.auth_token in cdc.toml ("env:NAME" or "file:PATH"), or listen on 127.0.0.1',
        )
