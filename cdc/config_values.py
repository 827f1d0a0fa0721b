"""Readers of single configuration values.

Each takes what TOML gave and the key's path, and returns what the configuration holds, or refuses with that
path and what is allowed. No value is ever repeated: it may be a secret in the wrong place.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdc.secret import REFERENCE_FORM, Secret
from cdc.units import DURATION_FORM, parse_duration
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reader = Callable[[object, str], Any]

_FILE_SCHEMES = ("file", "turso")
_SERVER_SCHEMES = ("libsql", "https", "http", "wss", "ws")
URL_FORM = '"file:PATH" or a bare path, or a URL of one of libsql, https, http, wss, ws, turso'
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)

# Kafka's own rule; the longest suffix we add is ".quarantine". Two underscores begin Kafka's internal topics.
_TOPIC = re.compile(r"(?!__)[A-Za-z0-9._-]{1,238}(?<![.]snapshots)(?<![.]quarantine)", re.ASCII)
_TOPIC_FORM = (
    'a topic name of at most 238 letters, digits, ".", "_" and "-", which neither begins with "__" nor ends '
    'as our own topics beside it do, with ".snapshots" or ".quarantine"'
)
# No user and password, no scheme, no path: a client would log them as a part of the host's name.
_SERVER = re.compile(r"(?:[^\s,@/:\[\]]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]):([0-9]{1,5})", re.ASCII)
_PORT_MAX = 65_535
_NAME_LENGTH_MAX = 200


def section(value: object, path: str, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Read a table of TOML, each key with its reader; keys without one are refused."""
    if not isinstance(value, dict):
        raise wrong(path, f"a section with the keys {_listed(readers)}")
    read: dict[str, Any] = {}
    for key, item in value.items():
        if key not in readers:
            raise unknown(join(path, key), readers)
        read[key] = readers[key](item, join(path, key))
    return read


def text(value: object, path: str) -> str:
    """Read a string that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise wrong(path, "a string that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        # Bytes of a flag that no JSON document could name.
        raise wrong(path, "text in UTF-8") from None
    return value


def name(value: object, path: str) -> str:
    """Read a name: a short string that can be printed."""
    printable = isinstance(value, str) and bool(value.strip()) and value.isprintable()
    if not isinstance(value, str) or not printable or len(value) > _NAME_LENGTH_MAX:
        raise wrong(path, f"a name of 1 to {_NAME_LENGTH_MAX} printable characters, not only blanks")
    return value


def file_path(value: object, path: str) -> Path:
    """Read the path of a file; relative ones start where the command was started."""
    return Path(text(value, path))


def names(value: object, path: str) -> tuple[str, ...]:
    """Read a list of names: at least one, none twice."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise wrong(path, "a list of one or more names")
    if len(set(value)) != len(value):
        raise UsageError(f"{path}: a name is given twice", "name each once")
    return tuple(value)


def column_names(value: object, path: str) -> tuple[str, ...]:
    """Read a list of column names, which may be empty; none twice."""
    return () if value == [] else names(value, path)


def duration(value: object, path: str) -> float:
    """Read a duration longer than nothing; return seconds."""
    if isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except UsageError:
            seconds = 0.0
        if seconds > 0:
            return seconds
    raise wrong(path, f"{DURATION_FORM}, longer than nothing")


def secret(value: object, path: str) -> Secret:
    """Read where a secret is to be found."""
    if not isinstance(value, str):
        raise wrong(path, REFERENCE_FORM)
    return Secret(value, path)


def choice(*allowed: str) -> Reader:
    """Make the reader of one of several words."""

    def read(value: object, path: str) -> str:
        if value not in allowed:
            raise wrong(path, " or ".join(f'"{word}"' for word in allowed))
        return str(value)

    return read


def unavailable(_value: object, path: str) -> None:
    """Refuse a key whose feature this version does not have."""
    raise not_available(path)


def source_url(value: object, path: str) -> str:
    """Read the URL of a source."""
    url = text(value, path)
    match = _SCHEME.match(url)
    scheme = (match[1] if match else url.partition(":")[0] if ":" in url else "").lower()
    if scheme in _FILE_SCHEMES:
        if len(url) == len(f"{scheme}:"):
            raise wrong(path, URL_FORM)
    elif (scheme in _SERVER_SCHEMES) != (match is not None):
        raise wrong(path, URL_FORM)
    return url


def servers(value: object, path: str) -> str:
    """Read Kafka's bootstrap servers."""
    listed = [server.strip() for server in value.split(",")] if isinstance(value, str) else [""]
    for server in listed:
        match = _SERVER.fullmatch(server)
        if match is None or not 1 <= int(match[1]) <= _PORT_MAX:
            raise wrong(path, f'"HOST:PORT" with a port of 1 to {_PORT_MAX}, or several with commas between')
    return ",".join(listed)


def topic(value: object, path: str) -> str:
    """Read the name of a Kafka topic."""
    if not isinstance(value, str) or not _TOPIC.fullmatch(value) or value in {".", ".."}:
        raise wrong(path, _TOPIC_FORM)
    return value


def join(path: str, key: str) -> str:
    """Return the path of a key below another, quoted where TOML needs it."""
    plain = re.fullmatch(r"[A-Za-z0-9_-]+", key, re.ASCII) is not None
    part = key if plain else f'"{key}"'
    return f"{path}.{part}" if path else part


def wrong(path: str, allowed: str) -> UsageError:
    """Return the error of a value that is not allowed."""
    return UsageError(f"{path} is not allowed as it stands", f"allowed: {allowed}")


def unknown(path: str, allowed: Mapping[str, Any]) -> UsageError:
    """Return the error of a key that there is not."""
    close = difflib.get_close_matches(path.rpartition(".")[2], allowed, n=1)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return UsageError(f"{path} is not a configuration key", f"{hint}allowed: {_listed(allowed)}")


def not_available(what: str, remedy: str = "leave it out") -> UsageError:
    """Return the error of something that the project plans and this version lacks."""
    return UsageError(f"{what} is not available in this version yet", remedy)


def _listed(words: Mapping[str, Any] | tuple[str, ...]) -> str:
    return ", ".join(words)
