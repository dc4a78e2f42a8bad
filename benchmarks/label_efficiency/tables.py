"""The table of the experiment in Markdown: a row for every method and number of annotated patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.label_efficiency.plan import UNTRAINED, WITHOUT_LABELS, title

SCORES = {"pq": "PQ", "dq": "DQ", "sq": "SQ", "dice": "Dice"}  # beside AJI


class Row(NamedTuple):
    """One row of the table."""

    name: str  # of ROWS, or a peer
    budget: int  # annotated patches; 0: none or all
    figures: dict  # as `benchmarks.label_efficiency.report.summary` gives them
    less_full: Sequence[float] | None  # AJI less that of full supervision: mean, low, high


def results(rows: Iterable[Row], groups: Mapping[str, list[str]], figures: dict) -> str:
    """The table, the differences between rows, and what the runs have alike, as the text of results.md."""
    head = [
        "",
        "pixels annotated",
        "runs",
        "steps",
        "AJI (sd over images)",
        *(f"AJI, {name}" for name in groups),
    ]
    head += [*SCORES.values(), "AJI less full supervision (95 %)"]
    lines = [_line(head), _line(["---"] * len(head)), *(_line(_cells(row, groups)) for row in rows)]
    lines += ["", _line(["difference in AJI", "mean", "95 % interval"]), _line(["---"] * 3)]
    for name, (mean, low, high) in figures["differences"].items():
        lines.append(_line([name, f"{mean:+.3f}", f"{low:+.3f} to {high:+.3f}"]))
    lines += ["", ", ".join(f"{name}: {value}" for name, value in figures["made_with"].items())]
    return "\n".join(lines) + "\n"


def _cells(row: Row, groups: Mapping[str, list[str]]) -> list[str]:
    one, name = row.figures, title(row.name)
    if row.budget and row.name not in (*UNTRAINED, *WITHOUT_LABELS):
        name = f"{row.budget} patches: {name}"
    less = "" if row.less_full is None else "{:+.3f} ({:+.3f} to {:+.3f})".format(*row.less_full)
    return [
        name,
        f"{100 * one['annotated_share']:.1f} %",
        str(one["runs"]),
        str(one["steps"] or ""),
        f"{one['aji']:.3f} ({one['aji_sd']:.3f})",
        *(f"{one[f'aji_{name}']:.3f}" for name in groups),
        *(f"{one[name]:.3f}" for name in SCORES),
        less,
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
