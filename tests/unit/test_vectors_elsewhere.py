"""The golden vectors in the hands of readers that others wrote, in Python and in JavaScript."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from schemas.vectors import VECTORS
from tests.support.node_parts import module_file, node
from tests.support.sqlite_values import exact

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = json.loads(VECTORS.read_bytes())
PROGRAM = Path(__file__).parents[1] / "support/node/read_vectors.mjs"
NOT_UTF8 = 1
NODE_S_MAX = 60.0

_chunk = GOLDEN["chunk"]["json"]
_chunk_rows = [
    [{"$blob": base64.b64encode(bytes.fromhex(row["key"])).decode()}, row["after"], row["change_id"]]
    for row in _chunk["rows"]
]
DOCUMENTS: list[tuple[str, Any]] = [
    *((item["msgpack"], item["json"]) for name in ("values", "keys", "rows") for item in GOLDEN[name]),
    *((GOLDEN[name]["msgpack"], GOLDEN[name]["json"]) for name in ("definition", "announcement", "manifest")),
    *((item["msgpack"], list(item["json"].values())) for item in GOLDEN["events"]),
    (GOLDEN["chunk"]["msgpack"], list({**_chunk, "rows": _chunk_rows}.values())),
]
"""msgpack as hex, and what it holds as JSON forms."""


def test_msgpack_for_python_reads_every_vector():
    for packed, form in DOCUMENTS:
        read = msgpack.unpackb(bytes.fromhex(packed), ext_hook=_extension, strict_map_key=True)
        assert exact(_json_form(read)) == exact(form)


def test_msgpack_for_python_writes_the_values_that_it_reads():
    for packed, form in DOCUMENTS[: len(GOLDEN["values"])]:
        read = msgpack.unpackb(bytes.fromhex(packed))
        assert msgpack.packb(read).hex() == packed, form


def test_msgpack_for_javascript_reads_every_vector():
    command = [node(), str(PROGRAM), str(module_file("@msgpack", "msgpack", "package.json"))]
    done = subprocess.run(
        command,
        input="".join(f"{packed}\n" for packed, _ in DOCUMENTS),
        capture_output=True,
        text=True,
        timeout=NODE_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(DOCUMENTS)
    for (packed, form), read in zip(DOCUMENTS, told, strict=True):
        assert read == _as_javascript_tells(form), packed


@pytest.mark.parametrize("name", ["values", "keys", "rows", "events"])
def test_there_are_vectors_of_each_kind(name: str):
    assert len(GOLDEN[name]) >= 4


def _extension(kind: int, data: bytes) -> Any:
    assert kind == NOT_UTF8
    return {"$text": base64.b64encode(data).decode()}


def _json_form(read: Any) -> Any:
    if isinstance(read, bytes):
        return {"$blob": base64.b64encode(read).decode()}
    if isinstance(read, float) and read in {float("inf"), float("-inf")}:
        return {"$real": "inf" if read > 0 else "-inf"}
    if isinstance(read, dict):
        return {name: _json_form(item) for name, item in read.items()}
    if isinstance(read, list):
        return [_json_form(item) for item in read]
    return read


def _as_javascript_tells(form: Any) -> list[Any]:
    """What the program prints for a JSON form; its numbers tell neither 1 from 1.0."""
    if isinstance(form, list):
        return ["array", [_as_javascript_tells(item) for item in form]]
    if isinstance(form, dict) and list(form) in (["$blob"], ["$text"]):
        ((tag, content),) = form.items()
        return [tag[1:], base64.b64decode(content).hex()]
    if isinstance(form, dict) and list(form) == ["$real"]:
        return ["number", _double(float(form["$real"]))]
    if isinstance(form, dict):
        return ["map", {name: _as_javascript_tells(item) for name, item in form.items()}]
    return _SCALARS[type(form)](form)


def _double(number: float) -> str:
    return struct.pack(">d", number).hex()


def _integer(number: int) -> list[Any]:
    # What msgpack writes in 64 bits is a BigInt there.
    return ["number", _double(number)] if -(2**31) <= number < 2**32 else ["bigint", str(number)]


_SCALARS: dict[type, Callable[[Any], list[Any]]] = {
    type(None): lambda _: ["null"],
    bool: lambda form: ["boolean", form],
    int: _integer,
    float: lambda form: ["number", _double(form)],
    str: lambda form: ["text", form.encode().hex()],
}
