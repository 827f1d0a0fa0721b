"""Secrets of the configuration, and URLs without theirs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from schemas.errors import UsageError

REFERENCE_FORM = '"env:NAME" or "file:PATH"'

_ENVIRONMENT = "env:"
_FILE = "file:"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SECRET_BYTES_MAX = 1 << 20  # a PEM key store is far smaller; a device file would never end
_HIDDEN = "***"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
# The one query parameter of libSQL URLs that says nothing secret.
_PLAIN_PARAMETERS = frozenset({"tls"})


class Secret:
    """Where a secret is to be found; it is read when asked for, and never shown.

    Args:
        reference: ``env:NAME`` or ``file:PATH``.
        key: the configuration key that it was given for, for error lines.

    Raises:
        UsageError: the reference is something else; the text is not repeated.
    """

    __slots__ = ("_key", "_reference")

    def __init__(self, reference: str, key: str) -> None:
        name = reference.removeprefix(_ENVIRONMENT)
        is_environment = reference.startswith(_ENVIRONMENT) and _NAME.fullmatch(name) is not None
        is_file = reference.startswith(_FILE) and len(reference) > len(_FILE)
        if not is_environment and not is_file:
            raise UsageError(f"{key}: a secret may not be written down here", f"give it as {REFERENCE_FORM}")
        self._reference = reference
        self._key = key

    def __repr__(self) -> str:
        return f"Secret({_HIDDEN})"

    def __eq__(self, other: object) -> bool:
        return self._reference == other._reference if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._reference))

    def reveal(self) -> str:
        """Read the secret; a file's last line ending is not part of it.

        Raises:
            UsageError: the variable is not set or empty, or the file cannot be read.
        """
        if self._reference.startswith(_ENVIRONMENT):
            name = self._reference.removeprefix(_ENVIRONMENT)
            value = os.environ.get(name, "")
            remedy = f"set the environment variable {name}"
        else:
            path = Path(self._reference.removeprefix(_FILE))
            remedy = f"put the secret in {path}"
            value = self._read(path)
        if not value:
            raise UsageError(f"{self._key}: the secret is missing", remedy)
        return value

    def _read(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                data = file.read(_SECRET_BYTES_MAX + 1)
            if len(data) > _SECRET_BYTES_MAX:
                raise UsageError(f"{self._key}: {path} is too large for a secret", "name another file")
            return data.decode().removesuffix("\n").removesuffix("\r")
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8 text"
            raise UsageError(
                f"{self._key}: the secret's file {path} cannot be read: {reason}", "name a readable file"
            ) from None


def redact_url(url: str) -> str:
    """Return a URL with its user, password and query values hidden; file paths stay as they are.

    A password may hold any character that was not percent-encoded, so everything up to the last ``@`` is
    hidden: rather a piece of a path too much than a piece of a password.
    """
    match = _SCHEME.match(url)
    if match is None or match[1].lower() == "file":
        return url
    address, question, query = url[match.end() :].partition("?")
    if "@" in query:
        # The question mark may be part of the password, or the @ part of a token.
        return f"{match[0]}{_HIDDEN}"
    _, at, host = address.rpartition("@")
    return f"{match[0]}{_HIDDEN if at else ''}{at}{host}{question}{_redact_query(query)}"


def _redact_query(query: str) -> str:
    return "&".join(map(_redact_parameter, query.split("&"))) if query else ""


def _redact_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if not equals:
        return _HIDDEN
    return parameter if name.lower() in _PLAIN_PARAMETERS else f"{name}={_HIDDEN}"
