"""cdc bench, at a tiny scale: the figures are there, in their form; their values are for another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdc.bench.figure import Figure, ceiling, rounded
from cdc.bench.process import can_look
from cdc.bench.registry import BENCHMARKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Ended
    from tests.support.kafka import KafkaBroker

    Cdc = Callable[..., Ended]

TINY = ("--rows", "200", "--repeat", "1", "--seconds", "0.2", "--folder", ".")

EMBEDDED = {
    "load": ["load.sync", "load.sync.cpu", "load.sync.memory"],
    "latency": ["latency.embedded.p50", "latency.embedded.p99"],
    "idle": ["idle.run"],
    "capture": [
        f"capture.{journal}.{table}.{kind}.{size}"
        for journal in ("wal", "rollback")
        for table in ("plain", "unique")
        for kind in ("insert", "update")
        for size in (1, 100)
    ],
    "blocking": [
        f"blocking.{phase}.{what}"
        for phase in ("load", "backlog", "reread", "verify", "prune", "prune.wal")
        for what in ("longest", "p99")
    ],
    "reads": ["reads.get", "reads.get_many", "reads.scan"],
}
WITH_KAFKA = {
    "publish": ["publish.inserts", "publish.inserts.cpu"],
    "apply": ["apply.appended", "apply.appended.cpu", "apply.appended.memory"],
    "bootstrap": ["bootstrap.rows", "bootstrap.rows.cpu", "bootstrap.rows.memory"],
    "latency": [*EMBEDDED["latency"], "latency.kafka.p50", "latency.kafka.p99"],
    "idle": ["idle.run", "idle.poll", "idle.consume"],
}

needs_proc = pytest.mark.skipif(not can_look(), reason="no /proc")


def names_in(ended: Ended) -> list[str]:
    assert ended.code == 0, ended.err
    return [figure["name"] for figure in ended.json()["figures"]]


@needs_proc
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_benchmark_gives_its_figures_without_kafka(cdc: Cdc, name: str):
    assert names_in(cdc("bench", name, "--json", *TINY)) == EMBEDDED[name]


@needs_proc
@pytest.mark.kafka
@pytest.mark.parametrize("name", WITH_KAFKA)
def test_a_benchmark_gives_its_figures_with_kafka(cdc: Cdc, kafka: KafkaBroker, name: str):
    ended = cdc("bench", name, "--json", "--bootstrap-servers", kafka.bootstrap, *TINY)
    assert names_in(ended) == WITH_KAFKA[name]
    assert ended.json()["skipped"] == []


def test_a_figure_says_how_it_was_got_and_beside_what(cdc: Cdc):
    figure, without_aim, *_ = cdc("bench", "load", "--json", *TINY).json()["figures"]
    assert figure["command"] == "cdc bench load --rows 200 --repeat 1"
    assert figure["value"] > 0
    assert len(figure["runs"]) > 0
    assert figure["unit"] == figure["ceilings"][0]["unit"] == "rows/s"
    assert figure["aim"] == 120_000
    assert figure["reaches_aim"] is (figure["value"] >= figure["aim"])
    assert without_aim["aim"] is None
    assert without_aim["reaches_aim"] is None
    machine = figure["machine"]
    assert machine["cpus"] > 0
    assert {"python", "sqlite", "redb"} <= machine["versions"].keys()


def test_what_needs_kafka_is_said_to_be_missing_without_it(cdc: Cdc):
    ended = cdc("bench", "publish", "--json", *TINY)
    assert ended.code == 0
    assert ended.json()["figures"] == []
    (skipped,) = ended.json()["skipped"]
    assert skipped["name"] == "publish"
    assert "Kafka" in skipped["reason"]
    assert "not measured" in ended.err


def test_people_are_told_loudly(cdc: Cdc):
    assert "NOT MEASURED\n  apply: it needs Kafka" in cdc("bench", "apply", *TINY).out


def test_people_see_a_table(cdc: Cdc):
    printed = cdc("bench", "load", *TINY).out
    assert "fetch of the table's rows" in printed
    assert "load.sync.cpu" in printed


def test_the_document_gets_its_tables(cdc: Cdc):
    lines = cdc("bench", "load", "--markdown", *TINY).out.splitlines()
    assert "`cdc bench load --rows 200 --repeat 1`" in lines
    (row,) = [line for line in lines if line.startswith("| `load.sync` | **")]
    assert "fetch of the table's rows" in row


def test_nothing_is_left_behind(cdc: Cdc):
    cdc("bench", "load", *TINY)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("--rows", "0"), ("--seconds=-1",), ("--folder", "no"), ("--config", "no")]
)
def test_what_cannot_be_measured_is_refused(cdc: Cdc, arguments: tuple[str, ...]):
    ended = cdc("bench", *arguments)
    assert ended.code == 2
    assert ended.err.count("\n") == 1


def test_every_benchmark_says_what_it_measures():
    assert all(benchmark.summary for benchmark in BENCHMARKS.values())
    assert set(BENCHMARKS) == set(EMBEDDED) | set(WITH_KAFKA)


@pytest.mark.parametrize(("better", "reached"), [("higher", False), ("lower", True)])
def test_an_aim_is_a_least_or_a_most(better: str, reached: bool):
    figure = Figure(name="f", value=1.0, unit="ms", command="", runs=(1.0,), better=better, aim=2.0)
    assert figure.reaches_aim is reached


def test_values_have_as_many_digits_as_they_deserve():
    assert [rounded(value) for value in (123456.7, 12.34567, 0.0012345678)] == [123457.0, 12.35, 0.001235]
    assert ceiling("part", [1, 5, 3], "us").value == 3
