"""The rule of rooms: imports go cdc -> schemas <- consumers, and never in a circle."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOMS = ("cdc", "consumers", "schemas")
MAY_IMPORT = {"cdc": {"cdc", "schemas"}, "consumers": {"consumers", "schemas"}, "schemas": {"schemas"}}

# Both sides meet in these parts of cdc (and in those with a longer name: bench_load is of bench).
MEETING_PLACES = ("cli", "embedded", "demo", "bench")


def modules_of(project: Path) -> dict[str, Path]:
    """Every module of the three rooms, by its dotted name; a compiled one by its stub."""
    found: dict[str, Path] = {}
    for room in ROOMS:
        for path in (project / room).rglob("*.py*"):
            if path.suffix not in (".py", ".pyi"):
                continue
            parts = path.relative_to(project).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """What a module imports from the rooms, wherever in it the import stands.

    ``from a.b import c`` is an import of a.b.c where that is a module, else of a.b.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    targets: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes(), path)):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                targets.add(whole if whole in modules else base)
    return {target for target in targets if target.split(".")[0] in ROOMS}


def broken_rules(project: Path) -> list[str]:
    """One line for each import that the rule of rooms forbids, and one for a circle."""
    modules = modules_of(project)
    graph = {name: imports_of(name, path, modules) for name, path in modules.items()}
    lines = [
        f"{name} imports {target}"
        for name, targets in sorted(graph.items())
        for target in sorted(targets)
        if target.split(".")[0] not in allowed_rooms(name)
    ]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        lines.append("circle: " + " <- ".join(error.args[1]))
    return lines


def allowed_rooms(name: str) -> set[str]:
    room, _, rest = name.partition(".")
    meeting = room == "cdc" and rest.split(".")[0].split("_")[0] in MEETING_PLACES
    return MAY_IMPORT[room] | ({"consumers"} if meeting else set())


def test_imports_go_one_way_and_in_no_circle():
    assert broken_rules(PROJECT) == []


def test_every_room_is_looked_at():
    assert {name.split(".")[0] for name in modules_of(PROJECT)} == set(ROOMS)


def planted(project: Path, files: dict[str, str]) -> list[str]:
    for room in ROOMS:
        (project / room).mkdir()
    for name, source in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return broken_rules(project)


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("schemas/a.py", "import cdc.poller", "schemas.a imports cdc.poller"),
        ("schemas/a.py", "from consumers import store", "schemas.a imports consumers"),
        ("consumers/a.py", "from cdc.capture import log", "consumers.a imports cdc.capture"),
        ("consumers/a/b.py", "def f():\n    import cdc", "consumers.a.b imports cdc"),
        (
            "cdc/poller.py",
            "if TYPE_CHECKING:\n    from consumers.store import S",
            "cdc.poller imports consumers.store",
        ),
        ("cdc/client.py", "import consumers", "cdc.client imports consumers"),
        ("cdc/__init__.py", "import consumers._redb", "cdc imports consumers._redb"),
    ],
)
def test_an_import_against_the_rule_is_found(tmp_path: Path, name: str, source: str, line: str):
    assert planted(tmp_path, {name: source}) == [line]


@pytest.mark.parametrize("name", ["cli/run.py", "cli.py", "embedded.py", "demo/words.py", "bench_load.py"])
def test_both_sides_may_meet_only_where_they_are_joined(tmp_path: Path, name: str):
    assert planted(tmp_path, {f"cdc/{name}": "import consumers.store, schemas.codec"}) == []


@pytest.mark.parametrize(
    "files",
    [
        {"cdc/a.py": "import cdc.b", "cdc/b.py": "import cdc.a"},
        {"cdc/a.py": "from . import b", "cdc/b.py": "from .a import x"},
        {"cdc/p/__init__.py": "from .a import x", "cdc/p/a.py": "from cdc.p import y"},
        {"cdc/p/a.py": "from ..b import x", "cdc/b.py": "def f():\n    from cdc.p import a"},
        {
            "schemas/a.py": "import schemas.b",
            "schemas/b.py": "import schemas.c",
            "schemas/c.py": "import schemas.a",
        },
    ],
)
def test_a_circle_is_found_however_it_is_written(tmp_path: Path, files: dict[str, str]):
    lines = planted(tmp_path, files)
    assert len(lines) == 1
    assert lines[0].startswith("circle: ")


def test_a_package_may_gather_its_modules(tmp_path: Path):
    files = {
        "cdc/p/__init__.py": "from cdc.p.a import x",
        "cdc/p/a.py": "from cdc.p.b import y",
        "cdc/p/b.py": "",
    }
    assert planted(tmp_path, files) == []


def test_a_compiled_module_is_not_its_package(tmp_path: Path):
    files = {"cdc/__init__.py": "import cdc.a", "cdc/a.py": "from cdc import _fast", "cdc/_fast.pyi": ""}
    assert planted(tmp_path, files) == []
