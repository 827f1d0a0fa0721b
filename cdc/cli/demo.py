"""``cdc demo``: a sample database, replicated while it changes, read back and verified."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from cdc.cli.common import DEFAULTS, Common
from cdc.demo.story import tell
from cdc.presets import PRESETS
from schemas.errors import UsageError


def demo(
    *,
    folder: Annotated[
        Path | None,
        Parameter(env_var="CDC_FOLDER", help="Keep the demo's files in this new or empty folder."),
    ] = None,
    preset: Annotated[
        str | None,
        Parameter(env_var="CDC_PRESET", help="Cache what a known application needs: memory."),
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Show the whole path on a sample database: change, replicate, kill, resume, read, verify."""
    if preset is not None and preset not in PRESETS:
        raise UsageError("there is no such preset", f"allowed: {', '.join(PRESETS)}")
    console = Console(highlight=False, stderr=common.json)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="cdc-demo-") as temporary:
            tell(Path(temporary), console, preset)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder", "give a new one with --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be made: {error.strerror}", "give another one with --folder"
        ) from None
    tell(folder, console, preset)
    console.print(f"  The files are in {folder}.", soft_wrap=True)
