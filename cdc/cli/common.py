"""The flags that every command has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 -- cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cdc.config_file import Overrides, load
from cdc.logs import LogFormat, LogLevel  # noqa: TC001 -- cyclopts reads the annotations
from cdc.units import format_duration, parse_timeout
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

    from cdc.config import Config


def duration(_type: object, tokens: Sequence[Token]) -> float:
    """Read a flag's duration, or a bare number of seconds."""
    try:
        return parse_timeout(tokens[0].value)
    except UsageError as error:
        raise ValueError(str(error)) from None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command takes, from its flags, else from the environment.

    Attributes:
        timeout_s: how long a one-shot command goes without reaching what it needs, in seconds.
    """

    config: Annotated[
        Path | None,
        Parameter(
            env_var="CDC_CONFIG", help="Configuration file; may also precede the command (./cdc.toml)."
        ),
    ] = None
    source: Annotated[
        str | None, Parameter(env_var="CDC_SOURCE", help="The database: file:PATH, or a path.")
    ] = None
    cache: Annotated[str | None, Parameter(env_var="CDC_CACHE", help="The redb file (cache.redb).")] = None
    node: Annotated[str | None, Parameter(env_var="CDC_NODE", help="The name of this node.")] = None
    bootstrap_servers: Annotated[
        str | None,
        Parameter(env_var="CDC_BOOTSTRAP_SERVERS", help="Kafka: HOST:PORT, or several with commas."),
    ] = None
    topic: Annotated[str | None, Parameter(env_var="CDC_TOPIC", help="Kafka: the topic of changes.")] = None
    json: Annotated[
        bool, Parameter(env_var="CDC_JSON", negative="", help="Print the result as JSON.", show_default=False)
    ] = False
    log_format: Annotated[
        LogFormat, Parameter(env_var="CDC_LOG_FORMAT", help="Form of the logs on standard error.")
    ] = "console"
    log_level: Annotated[LogLevel, Parameter(env_var="CDC_LOG_LEVEL", help="The least that is logged.")] = (
        "info"
    )
    timeout_s: Annotated[
        float,
        Parameter(
            name="--timeout",
            env_var="CDC_TIMEOUT",
            converter=duration,
            metavar="DURATION",
            show_default=format_duration,
            help="How long to go without reaching the source, Kafka or a lock, such as 250ms or 30s.",
        ),
    ] = 30.0

    def load(self) -> Config:
        """Read the configuration as these flags say.

        Raises:
            UsageError: it cannot be read, or something in it is not allowed.
        """
        return load(
            self.config, Overrides(self.source, self.cache, self.node, self.bootstrap_servers, self.topic)
        )


DEFAULTS = Common()
"""What a command gets when none of the flags was given."""
