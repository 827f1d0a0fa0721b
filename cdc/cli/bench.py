"""``cdc bench``: measures the parts that are shipped, and says beside what."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Group
from rich.text import Text

from cdc.bench.bench import Remote
from cdc.bench.markdown import markdown as tables
from cdc.bench.registry import BENCHMARKS
from cdc.bench.runner import Report, Wanted, run_benchmarks
from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_result, printable, table
from schemas.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cdc.bench.figure import Figure

_SERVERS = ("http://", "https://", "libsql://", "ws://", "wss://")

_HEADINGS = ("figure", "value", "unit", "aim", "beside it, in the same run")


def bench(
    name: Annotated[str | None, Parameter(help="One benchmark; all of them when left out.")] = None,
    /,
    *,
    rows: Annotated[
        int | None,
        Parameter(env_var="CDC_ROWS", help="Rows or changes to measure with (each its own number)."),
    ] = None,
    seconds: Annotated[
        float | None,
        Parameter(
            env_var="CDC_SECONDS",
            help="How long latency, idle and blocking measure each time (each its own).",
        ),
    ] = None,
    repeat: Annotated[
        int | None, Parameter(env_var="CDC_REPEAT", help="Repetitions; a figure is their median (3).")
    ] = None,
    folder: Annotated[
        Path | None,
        Parameter(
            env_var="CDC_FOLDER", help="An existing folder on the disk to measure (the temporary one)."
        ),
    ] = None,
    markdown: Annotated[
        bool,
        Parameter(env_var="CDC_MARKDOWN", negative="", help="Print the tables of docs/performance.md."),
    ] = False,
    common: Common = DEFAULTS,
) -> None:
    """Measure throughput, latency, memory and idle cost, on files and topics of its own.

    The source, cache and topic of the configuration are not touched; of Kafka only --bootstrap-servers is
    used, without TLS or passwords. Without it, what needs Kafka is skipped. With --source and the URL of an
    empty database at a server, idle measures there too, and leaves it empty.
    """
    if name is not None and name not in BENCHMARKS:
        raise UsageError(f"there is no benchmark {name!r}", f"give one of: {', '.join(BENCHMARKS)}")
    for flag, value in (("--rows", rows), ("--seconds", seconds), ("--repeat", repeat)):
        if value is not None and value <= 0:
            raise UsageError(f"{flag} {value:g} is not above 0", "leave it out for the benchmark's own")
    if common.config is not None:
        # Nothing in it is used without --source, but a file that was named is there, and is one.
        common.load()
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder} is no folder", "give an existing one with --folder")
    report = run_benchmarks(
        list(BENCHMARKS) if name is None else [name],
        Wanted(rows, seconds, repeat),
        common.bootstrap_servers,
        folder or Path(tempfile.gettempdir()),
        _remote(common),
    )
    print_result(common, document(report), tables(report) if markdown else _for_people(report))


def _remote(common: Common) -> Remote | None:
    if common.source is None:
        return None
    source = common.load().need_source()
    if not source.url.startswith(_SERVERS):
        # Files to measure are made; one that is configured is not touched.
        return None
    return Remote(source.url, None if source.auth_token is None else source.auth_token.reveal())


def document(report: Report) -> dict[str, object]:
    """The report as JSON shows it: each figure carries the machine, so that it can be quoted alone."""
    machine = msgspec.to_builtins(report.machine)
    return {
        "figures": [
            {**msgspec.to_builtins(figure), "reaches_aim": figure.reaches_aim, "machine": machine}
            for figure in report.figures
        ],
        "skipped": msgspec.to_builtins(report.skipped),
        "seconds": report.seconds,
    }


def _for_people(report: Report) -> RenderableType:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines: list[RenderableType] = [
        Text(printable(f"{machine.cpus} x {machine.processor}, {machine.system}, load {machine.load:g}")),
        Text(printable(versions)),
        Text(),
        table(_HEADINGS, map(_row, report.figures)),
    ]
    if report.skipped:
        lines.append(Text("\nNOT MEASURED", style="bold red"))
        lines += [Text(f"  {skipped.name}: {skipped.reason}", style="red") for skipped in report.skipped]
    return Group(*lines)


def _row(figure: Figure) -> tuple[str, ...]:
    aim = ""
    if figure.aim is not None:
        aim = f"{figure.aim:,g} {'reached' if figure.reaches_aim else 'missed'}"
    beside = [f"{ceiling.name}: {ceiling.value:,g} {ceiling.unit}" for ceiling in figure.ceilings]
    return figure.name, f"{figure.value:,g}", figure.unit, aim, "; ".join([*beside, figure.note])
