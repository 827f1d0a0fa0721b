"""The key that columns are hashed with before they are published."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from schemas.keys import encode_key

if TYPE_CHECKING:
    from schemas.values import Value


class HashKey:
    """A secret under which equal values have equal digests, and nobody without it can try values out.

    Args:
        secret: the key; never shown.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def __repr__(self) -> str:
        return "HashKey(***)"

    def __eq__(self, other: object) -> bool:
        return self._secret == other._secret if isinstance(other, HashKey) else NotImplemented

    def __hash__(self) -> int:
        return hash((HashKey, self._secret))

    @property
    def identity(self) -> str:
        """What tells this key from another; the key does not follow from it."""
        return hmac.digest(self._secret, b"identity of this key", "sha256").hex()

    def digest(self, value: Value) -> str | None:
        """Give HMAC-SHA-256 of a value in hex; NULL stays NULL.

        The message is the value as `schemas.keys` encodes it in a key, which begins with its class: 1, 1.0
        and '1' have different digests.
        """
        if value is None:
            return None
        return hmac.digest(self._secret, encode_key((value,)), "sha256").hex()
