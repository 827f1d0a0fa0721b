"""The redb file is read by programs of other languages: here the example that the documentation shows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from consumers import _redb
from tests.support.parts import need_command

CRATE = Path(__file__).parents[2] / "consumers" / "redb"


@pytest.mark.slow
def test_a_rust_program_reads_a_table_beside_its_writer(tmp_path: Path) -> None:
    cargo = need_command("cargo")
    path = tmp_path / "cache.redb"
    with _redb.Database.create(path) as database:
        database.apply({"a table": [(b"\x03b", b"the row", 2**64 - 1), (b"\x03a", b"", 0)]}, {})
        build = ["--quiet", "--release", "--locked", "--features", "pyo3/extension-module"]
        read = subprocess.run(
            [cargo, "run", *build, "--example", "read_cache", "--", path, "a table"],
            cwd=CRATE,
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert read.stdout.splitlines() == ["0361  0", f"0362 {b'the row'.hex()} {2**64 - 1}"]
