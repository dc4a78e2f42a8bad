"""The figures and tables of the experiment, from whatever runs are finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.label_efficiency import pictures, tables
from benchmarks.label_efficiency.plan import (
    FROM_IMAGENET,
    FULL,
    IMAGENET_PEERS,
    PRETRAINED,
    ROWS,
    RUN,
    TOOLS,
    UNTRAINED,
    WITHOUT_LABELS,
    Plan,
    Run,
    in_order,
)
from nuclei.errors import InputError
from nuclei.evaluation.metrics import NAMES
from nuclei.experiment import Tissue
from nuclei.io.files import atomic_file, read_json, write_json

STEPS_OF_THE_METHOD = ("annotated_only", "synthetic", "whole_method")  # each is to beat the one before
OF_A_RUN = ("row", "budget", "seed", "steps", "annotated_share", "minutes", "code")
KEPT = (*OF_A_RUN, "image", "nuclei", "predicted", *NAMES)  # of every image in every run
SCORES = (*NAMES, "precision", "recall")
RESAMPLES = 10_000  # of images and runs, for the intervals


def write(
    out: Path,
    where: Tissue,
    groups: Mapping[str, list[str]],
    budget: int,
    made_with: dict,
    kept: pd.DataFrame | None = None,
) -> dict:
    """Write scores.csv, results.json, results.md, both plots and the overlays of the finished runs.

    Args:
        out: the folder of the benchmark.
        where: the test images and labels.
        groups: lists of file stems of test images by name.
        budget: annotated patches of the first table.
        made_with: settings, device and day.
        kept: of `read_kept`, whose runs count like those in `out`, unless they are there too.

    Returns:
        the figures of results.json: a dict a row of the first table, each with the mean over images and runs
        (`aji`, `pq`, ..., `precision`, `recall`), `aji_sd` over images, `aji_runs`, `runs`, the commits of
        their `code`, `annotated_share`, `steps`, `start` (what the training began with) and
        `minutes` of training (of the runs that nothing interrupted; None where there is none); `differences`
        in AJI between rows with their 95 % intervals; `gain_of_pairs` by annotated patches; `budgets`;
        `made_with`.
    """
    here = read_runs(out)
    if kept is not None and not here.empty:  # a run that was made here as well counts once
        kept = kept[~kept["folder"].isin(here["folder"])]
    scores = pd.concat([here, kept], ignore_index=True)
    if scores.empty:
        return {}
    with atomic_file(out / "scores.csv") as temporary:
        scores[list(KEPT)].round(4).to_csv(temporary, index=False)
    first = scores[scores["budget"].isin((0, budget))]
    figures = {row: summary(first[first["row"] == row], groups) for row in in_order(first["row"].unique())}
    for row, one in figures.items():
        one["start"] = _start(row, made_with)
    figures["differences"] = _differences(first)
    figures["gain_of_pairs"] = _gain_of_pairs(scores)
    figures["budgets"] = _budgets(scores)
    figures["made_with"] = made_with
    write_json(out / "results.json", figures)
    with atomic_file(out / "results.md") as temporary:
        temporary.write_text(tables.results(_rows(scores, groups), groups, figures), encoding="utf-8")
    pictures.draw_rows(out / "rows.png", first)
    pictures.draw_budgets(out / "budgets.png", figures, budget)
    pictures.draw_overlays(out, where, first)
    return figures


def read_runs(out: Path) -> pd.DataFrame:
    """The scores of every test image in every finished run, with the fields of its `RUN` and its `folder`."""
    tables = []
    for path in sorted((out / "runs").glob(f"*/{RUN}")):
        table = pd.read_csv(path.parent / "scores.csv")
        tables.append(table.assign(**read_json(path), folder=path.parent.name))
    return with_detection(pd.concat(tables, ignore_index=True)) if tables else pd.DataFrame()


def read_kept(path: Path) -> pd.DataFrame:
    """The runs in a `scores.csv` of `write`, as `read_runs` has them; their folders are not there.

    Raises:
        InputError: it is no such table.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    missing = [name for name in KEPT if name not in table]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; it is no scores.csv of this benchmark")
    runs = table[["row", "budget", "seed"]].itertuples(index=False)
    return with_detection(table.assign(folder=[Run(*each).name for each in runs]))


def check_steps(kept: pd.DataFrame, plan: Plan, path: Path) -> None:
    """InputError where the trainings of ours, kept in the file `path`, had another number of steps."""
    for row in in_order(set(kept["row"]) - {*UNTRAINED, *TOOLS}):
        steps = plan.steps_of(Run(row, 0, 0))
        others = set(kept.loc[kept["row"] == row, "steps"]) - {steps}
        if others:
            raise InputError(
                f"{path} has trainings of {others.pop()} steps, not {steps} ({row}); pass no --kept"
            )


def with_detection(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of images, with `precision` and `recall` of the nuclei at an IoU of 0.5 beside them."""
    matched = scores["dq"] * (scores["nuclei"] + scores["predicted"]) / 2  # by the definition of DQ
    found = matched / scores["predicted"].clip(lower=1), matched / scores["nuclei"].clip(lower=1)
    return scores.assign(precision=found[0], recall=found[1])


def summary(table: pd.DataFrame, groups: Mapping[str, list[str]]) -> dict:
    """The figures of one row: `table` has its runs' images."""
    images = table.groupby("image")[list(SCORES)].mean()
    runs = table.groupby(["budget", "seed"])
    figures: dict[str, Any] = {name: _round(images[name].mean()) for name in SCORES}
    figures["aji_sd"] = _round(images["aji"].std(ddof=0))
    figures["aji_runs"] = [_round(value) for value in runs["aji"].mean()]
    for name, stems in groups.items():
        figures[f"aji_{name}"] = _round(images.loc[images.index.isin(stems), "aji"].mean())
    figures["runs"] = len(runs)
    figures["code"] = sorted(table["code"].dropna().unique())
    figures["steps"] = round(float(table["steps"].mean()))  # a peer has as many as its time allows
    figures["annotated_share"] = float(table["annotated_share"].iloc[0])
    minutes = table.drop_duplicates(["budget", "seed"])["minutes"].dropna()
    figures["minutes"] = round(float(minutes.mean()), 1) if len(minutes) else None
    return figures


def difference(ours: pd.DataFrame, other: pd.DataFrame, run: str = "seed") -> list[float]:
    """Mean difference in AJI over images and runs, ours less the other, and its 95 % interval.

    The interval is a bootstrap over the images, which are the same for both, and over the runs (column
    `run`): in pairs where both have the same ones, since those of one seed share patches, and else each by
    itself. Of a single run it cannot say how much another one would differ: it is too narrow then.
    """
    rng = np.random.default_rng(0)
    tables = [table.pivot_table("aji", "image", run) for table in (ours, other)]
    images = tables[0].index.intersection(tables[1].index)
    values = [table.loc[images].to_numpy().T for table in tables]  # (runs, I)

    def draw_runs(count: int) -> np.ndarray:
        """(RESAMPLES, count) the weight of each run, when as many are drawn with replacement."""
        return rng.multinomial(count, [1 / count] * count, RESAMPLES) / count

    weights = [draw_runs(len(each)) for each in values]
    if tables[0].columns.equals(tables[1].columns):
        weights[1] = weights[0]
    differences = weights[0] @ values[0] - weights[1] @ values[1]
    drawn = rng.integers(len(images), size=differences.shape)
    means = np.take_along_axis(differences, drawn, axis=1).mean(axis=1)
    mean = values[0].mean() - values[1].mean()
    return [_round(value) for value in (mean, *np.percentile(means, (2.5, 97.5)))]


def _differences(first: pd.DataFrame) -> dict[str, list[float]]:
    """Each step of the method less the one before; the whole method, and its first step, less all else."""
    rows = set(first["row"])
    steps = list(zip(STEPS_OF_THE_METHOD[1:], STEPS_OF_THE_METHOD, strict=False))
    pairs = steps + [("whole_method", row) for row in in_order(rows) if row != "whole_method"]
    pairs += [("annotated_only", row) for row in in_order(rows) if row not in STEPS_OF_THE_METHOD]
    return {
        f"{ours} - {other}": difference(first[first["row"] == ours], first[first["row"] == other])
        for ours, other in dict.fromkeys(pairs)
        if ours in rows and other in rows
    }


def _start(row: str, made_with: dict) -> str | None:
    """What the trainings of a row began with; None where nothing is trained."""
    if row in UNTRAINED:
        return None
    if row in PRETRAINED:  # a peer that learns it alone begins as it does by itself
        return "generated tissue"
    if row in FROM_IMAGENET or TOOLS.get(row) in IMAGENET_PEERS:
        return "imagenet"
    return "random" if row in TOOLS else made_with.get("weights")


def _gain_of_pairs(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Annotated patches -> AJI with their synthetic pairs less that without, and its 95 % interval.

    Only trainings of equal length are compared: with few patches a longer one forgets more.
    """
    found = {}
    for budget, table in scores.groupby("budget"):
        rows = [table[table["row"] == row] for row in ("synthetic", "annotated_only")]
        if all(len(row) for row in rows) and set(rows[0]["steps"]) == set(rows[1]["steps"]):
            found[str(budget)] = dict(zip(("aji", "low", "high"), difference(*rows), strict=True))
    return found


def _budgets(scores: pd.DataFrame) -> dict[str, dict[str, dict]]:
    """Row -> budget -> figures, for our rows with annotated patches."""
    found: dict[str, dict[str, dict]] = {}
    ours = scores[scores["row"].isin(set(ROWS) - set(WITHOUT_LABELS)) & (scores["budget"] > 0)]
    for row in in_order(ours["row"].unique()):
        of_row = ours[ours["row"] == row].groupby("budget")
        found[row] = {str(budget): summary(table, {}) for budget, table in of_row}
    return found


def _rows(scores: pd.DataFrame, groups: Mapping[str, list[str]]) -> list[tables.Row]:
    """The figures of every row with every number of patches, as a reader compares them."""
    runs = {key: table for key, table in scores.groupby(["row", "budget"])}
    full = scores[scores["row"] == FULL[0]]
    return [
        tables.Row(
            row,
            budget,
            summary(runs[row, budget], groups),
            None if full.empty or row == FULL[0] else difference(runs[row, budget], full),
        )
        for row, budget in sorted(runs, key=lambda key: _place(*key))
    ]


def _place(row: str, budget: int) -> tuple[int, int, int]:
    """To sort rows by: without labels, with few, by their number, with all, other tools."""
    known = list(ROWS)
    if row in (*UNTRAINED, *WITHOUT_LABELS):
        return 0, 0, known.index(row)
    if row in FULL:
        return 2, 0, known.index(row)
    return (1, budget, known.index(row)) if row in known else (3, 0, list(TOOLS).index(row))


def _round(value: float) -> float:
    return round(float(value), 4)
