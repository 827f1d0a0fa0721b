"""Reads the URL of a remote source."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from schemas.errors import UsageError

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443, "libsql": 443}
_ENCRYPTED: Final = {"https": True, "wss": True, "libsql": True, "http": False, "ws": False}
_PARAMETERS: Final = frozenset(("tls", "authToken"))


class RemoteUrl(msgspec.Struct, frozen=True):
    """A server's address, apart from the credentials.

    Attributes:
        base: scheme (http or https, ws or wss), host, port and path, without a slash at the end.
        shown: host, port and path alone: the same for every way to reach one database.
        token: what authorises us, None for nothing. Never show it.
        user: name and password given in the URL; servers know them from before there were tokens.
    """

    base: str
    shown: str
    token: str | None
    user: tuple[str, str] | None


def parse_remote_url(url: str, auth_token: str | None) -> RemoteUrl:
    """Read a URL of one of the schemes http, https, libsql, ws, wss.

    Args:
        url: the source's; never shown here, because it may hold credentials.
        auth_token: takes the place of one in the URL.

    Raises:
        UsageError: it is not one.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise _not_a_url() from None
    if not host or scheme not in _PORTS or parts.fragment or options.keys() - _PARAMETERS:
        raise _not_a_url()
    tls = options.get("tls", "1" if _ENCRYPTED[scheme] else "0")
    if tls not in ("0", "1") or (scheme != "libsql" and (tls == "1") != _ENCRYPTED[scheme]):
        raise UsageError(
            "source.url: tls contradicts the scheme", "leave ?tls= out; only libsql:// takes ?tls=0"
        )
    if scheme == "libsql":
        scheme = "https" if tls == "1" else "http"
    host = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    shown = f"//{host}:{port or _PORTS[scheme]}{path}"
    token = auth_token or options.get("authToken")
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError("the source's token holds characters that no token has", "check source.auth_token")
    user = None
    if parts.username is not None:
        user = (unquote(parts.username), unquote(parts.password or ""))
    return RemoteUrl(f"{scheme}:{shown}", shown, token, user)


def _not_a_url() -> UsageError:
    return UsageError(
        "source.url is no URL of a database server", "give it as http://HOST:PORT, https:// or libsql://HOST"
    )
