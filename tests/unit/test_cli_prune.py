"""cdc prune, and what cdc status says of the log, on real files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.database import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]


@pytest.fixture
def source(tmp_path: Path, cdc: Cdc) -> Path:
    path = tmp_path / "app.db"
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert cdc("sync", "--source", "app.db", "--node", "a").code == 0
    return path


def prune(cdc: Cdc, *flags: str) -> dict[str, Any]:
    ended = cdc("prune", "--source", "app.db", "--json", *flags)
    assert ended.code == 0, ended.err
    return ended.json()


def test_prune_says_how_much_went_and_what_holds_the_rest(cdc: Cdc, source: Path):
    execute(source, "INSERT INTO t VALUES (2), (3)")
    document = prune(cdc, "--keep", "0s")
    assert (document["rows"], document["pruned_to"], document["log_rows"]) == (1, 1, 3)
    held_by = document["held_by"]
    assert (held_by["reason"], held_by["kind"], held_by["reader"]) == ("lease", "cache", "a")
    assert held_by["position"] == {"epoch": 1, "change_id": 2}
    assert cdc("sync", "--source", "app.db", "--node", "a").code == 0
    document = prune(cdc)
    assert (document["rows"], document["held_by"]) == (0, {"reason": "retention"})
    ended = cdc("prune", "--source", "app.db", "--keep", "0")
    assert "pruned 2 log rows, up to 3; 1 row left: the newest row always stays" in ended.out
    assert prune(cdc, "--keep", "0s")["held_by"] == {"reason": "newest row"}


def test_the_configured_retention_is_what_prune_keeps(cdc: Cdc, source: Path, tmp_path: Path):
    (tmp_path / "cdc.toml").write_text('[source]\nurl = "file:app.db"\nlog_retention = "1h"\n')
    execute(source, "UPDATE _cdc_log SET ts = ts - 5400000")
    ended = cdc("prune", "--json")
    assert ended.json()["rows"] == 1


def test_what_prune_cannot_do_is_told(cdc: Cdc, tmp_path: Path):
    execute(tmp_path / "bare.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    ended = cdc("prune", "--source", "bare.db")
    assert (ended.code, ended.out) == (1, "")
    assert "not installed" in ended.err
    assert cdc("prune", "--source", "absent.db").code == 2
    assert cdc("prune", "--source", "bare.db", "--keep", "tomorrow").code == 2
    assert cdc("prune").code == 2


def test_a_log_without_leases_can_be_pruned(cdc: Cdc, source: Path):
    execute(source, "INSERT INTO t VALUES (2), (3)", "DROP TABLE _cdc_leases")
    assert prune(cdc, "--keep", "0s")["rows"] == 3
    assert cdc("sync", "--source", "app.db", "--node", "a").code == 0


def test_status_shows_every_lease_and_warns_of_a_long_log(cdc: Cdc, source: Path):
    status = cdc("status", "--source", "app.db", "--json").json()["source"]
    assert (status["log"]["pruned_to"], status["log"]["warning"]) == (0, None)
    assert status["log"]["held_by"] == {"kind": "cache", "reader": "a"}
    assert [(one["kind"], one["reader"], one["holds"]) for one in status["leases"]] == [("cache", "a", True)]
    assert status["leases"][0]["position"] == {"epoch": 1, "change_id": 2}
    execute(source, "INSERT INTO t VALUES (2), (3), (4)", "UPDATE _cdc_log SET ts = ts - 259200000")
    execute(source, "UPDATE _cdc_leases SET renewed_ms = renewed_ms - 172800000")
    status = cdc("status", "--source", "app.db", "--json").json()["source"]
    assert "cache a holds 3 of them, silent for 48.0 h" in status["log"]["warning"]
    shown = cdc("status", "--source", "app.db").out
    assert "WARNING: the change log has" in shown.replace("\n", " ")
    execute(source, "UPDATE _cdc_leases SET renewed_ms = renewed_ms - 604800000")
    status = cdc("status", "--source", "app.db", "--json").json()["source"]
    assert (status["leases"][0]["holds"], status["log"]["held_by"]) == (False, None)
