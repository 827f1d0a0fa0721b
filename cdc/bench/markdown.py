"""A report as the tables of docs/performance.md."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.figure import Figure
    from cdc.bench.runner import Report

_HEAD = "| figure | median | runs | aim | beside it, in the same run |\n|---|---|---|---|---|"


def markdown(report: Report) -> str:
    """Returns a table for each command, under the machine and its versions."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines = [
        f"{machine.cpus} x {machine.processor}, {machine.system}, load {machine.load:g} before; {versions}."
    ]
    for command, figures in groupby(report.figures, key=lambda figure: figure.command):
        lines += ["", f"`{command}`", "", _HEAD, *map(_row, figures)]
    lines += [f"\nNot measured: {skipped.name}: {skipped.reason}" for skipped in report.skipped]
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    aim = ""
    if figure.aim is not None:
        aim = f"{_number(figure.aim)}: {'reached' if figure.reaches_aim else 'missed'}"
    cells = (
        f"`{figure.name}`",
        f"**{_number(figure.value)}** {figure.unit}",
        f"{_number(min(figure.runs))} to {_number(max(figure.runs))}",
        aim,
        "; ".join(_beside(figure)),
    )
    return f"| {' | '.join(cells)} |"


def _beside(figure: Figure) -> Iterator[str]:
    for ceiling in figure.ceilings:
        yield f"{ceiling.name}: {_number(ceiling.value)} {ceiling.unit}"
    if figure.note:
        yield figure.note


def _number(value: float) -> str:
    """Returns a number with separated thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"  # noqa: PLR2004 -- thousands
