"""Node.js, and the packages that `make test` installs for it into ``.cache/node``."""

from __future__ import annotations

from pathlib import Path

from tests.support.parts import missing, need_command

_MODULES = Path(__file__).parents[2] / ".cache/node/node_modules"


def node() -> str:
    """Path of the command."""
    return need_command("node")


def module_file(*parts: str) -> Path:
    """Path of a file in an installed package."""
    path = _MODULES.joinpath(*parts)
    return path if path.exists() else missing(f"the npm package {parts[0]}", "run: make node")
