"""``cdc init``: writes a ``cdc.toml`` to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_result
from cdc.config_file import DEFAULT_FILE
from cdc.config_values import not_available
from schemas.errors import UsageError

PRESETS = ("memory",)

TEMPLATE = Path(__file__).with_name("cdc.toml.template")


def init(
    *,
    preset: Annotated[
        str | None, Parameter(env_var="CDC_PRESET", help="Tables and limits of a known application.")
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Write a commented cdc.toml to start from; an existing one is left alone."""
    if preset is not None and preset not in PRESETS:
        raise UsageError("there is no such preset", f"allowed: {', '.join(PRESETS)}")
    if preset is not None:
        raise not_available(f"the preset {preset}", "leave --preset out")
    path = common.config or DEFAULT_FILE
    content = TEMPLATE.read_text(encoding="utf-8")
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
    print_result(common, {"path": str(path)}, f"wrote {path}; give source.url there, then run: cdc sync")
