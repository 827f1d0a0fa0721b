"""``cdc init``: writes a ``cdc.toml`` to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from cdc import config_values as values
from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_result
from cdc.config_file import DEFAULT_FILE
from cdc.presets import PRESETS
from cdc.secret import redact_url
from schemas.errors import UsageError

TEMPLATE = Path(__file__).with_name("cdc.toml.template")
PRESET_TEMPLATE = Path(__file__).with_name("memory.toml.template")

_KAFKA: tuple[str, ...] = ("[kafka]", 'bootstrap_servers = "localhost:9092"', 'topic = "cdc.app"')
"""Lines of the template that one of Kafka's flags takes the comment from; half a section is none."""


def init(
    *,
    preset: Annotated[
        str | None, Parameter(env_var="CDC_PRESET", help="Tables and limits of a known application.")
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Write a commented cdc.toml to start from, filled in from the flags; an existing one is left alone."""
    if preset is not None and preset not in PRESETS:
        raise UsageError("there is no such preset", f"allowed: {', '.join(PRESETS)}")
    path = common.config or DEFAULT_FILE
    content = filled_in(TEMPLATE.read_text(encoding="utf-8"), common)
    if preset is not None:
        content += PRESET_TEMPLATE.read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(
            f"{path} exists already", "move it away, or name another file with --config"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "name another with --config"
        ) from None
    then = "then run: cdc sync" if common.source else "give source.url there, then run: cdc sync"
    print_result(common, {"path": str(path)}, f"wrote {path}; {then}")


def filled_in(template: str, common: Common) -> str:
    """Put what the flags say in the place of the template's examples.

    Raises:
        UsageError: a flag's value is not allowed, or holds a password, which does not belong into a file.
    """
    given: dict[str, str] = {}
    if common.source is not None:
        given['url = "file:app.db"'] = _without_secret(values.source_url(common.source, "source.url"))
    if common.cache is not None:
        given['path = "cache.redb"'] = values.text(common.cache, "cache.path")
    if common.node is not None:
        given['node = "node-a"'] = values.name(common.node, "cache.node")
    if common.bootstrap_servers is not None:
        given[_KAFKA[1]] = values.servers(common.bootstrap_servers, "kafka.bootstrap_servers")
    if common.topic is not None:
        given[_KAFKA[2]] = values.topic(common.topic, "kafka.topic")
    shown = set(_KAFKA) if given.keys() & set(_KAFKA) else set()
    return "".join(f"{_line(line, given, shown)}\n" for line in template.splitlines())


def _line(line: str, given: dict[str, str], shown: set[str]) -> str:
    example = line.removeprefix("# ")
    if example in given:
        return f"{example.partition(' = ')[0]} = {_toml(given[example])}"
    return example if example in shown else line


def _toml(text: str) -> str:
    # JSON's strings are TOML's basic strings, but for this one control character.
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _without_secret(url: str) -> str:
    if redact_url(url) != url:
        raise UsageError(
            "--source holds credentials, which would be written into the file",
            "give the URL without them, and source.auth_token there",
        )
    return url
