"""The ``[kafka]`` section: our own keys, and any Java client property under its dotted name.

What the properties mean, and which there are, `schemas.kafka_properties` knows; here they are only told from
our own keys, and their secrets kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cdc import config_values as values
from cdc.config import KafkaConfig
from cdc.secret import Secret
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN = {
    "bootstrap_servers": values.servers,
    "topic": values.topic,
    "encoding": values.choice("msgpack", "json"),
}
_REQUIRED = {"bootstrap_servers": "--bootstrap-servers LIST", "topic": "--topic NAME"}
# Java client properties whose names have no dot.
_UNDOTTED = frozenset({"acks", "retries"})
_SECRET_NAME = re.compile(
    r"(?:.*[.])?(?:password|passphrase|secret|token|jaas[.]config|user[.]info|keystore[.]key|private[.]key)"
)


def read_kafka(value: object, path: str) -> KafkaConfig:
    """Read the section; TOML's own nesting (``security.protocol`` without quotes) means the same name.

    Raises:
        UsageError: a key is unknown, missing or not allowed as it stands.
    """
    if not isinstance(value, dict):
        raise values.wrong(path, "a section")
    own: dict[str, Any] = {}
    properties: dict[str, str | Secret] = {}
    for key, item in value.items():
        if key in _OWN:
            own[key] = _OWN[key](item, values.join(path, key))
            continue
        for name, scalar in _flat(key, item):
            _check_name(name, path)
            properties[name] = _property(name, scalar, values.join(path, name))
    for key, flag in _REQUIRED.items():
        if key not in own:
            raise UsageError(f"{path}.{key} is missing", f"give it, or {flag}")
    return KafkaConfig(**own, properties=properties)


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    else:
        yield name, value


def _check_name(name: str, path: str) -> None:
    if "." not in name and name not in _UNDOTTED:
        raise values.unknown(f"{path}.{name}", {**_OWN, "or a Java client property by its dotted name": None})


def _property(name: str, value: object, path: str) -> str | Secret:
    if _SECRET_NAME.fullmatch(name):
        return values.secret(value, path)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith("env:"):
        # Not a secret by its name, but no Java property begins so: sasl.username = "env:KAFKA_USER".
        return Secret(value, path)
    if isinstance(value, str | int | float):
        return str(value)
    raise values.wrong(path, "a string, a number, true or false")
