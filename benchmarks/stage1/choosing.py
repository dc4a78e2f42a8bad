"""Which patches serve the network of stage 3? `python -m benchmarks.stage1.choosing FOLDER`, one JSON line.

FOLDER is that of `benchmarks.label_efficiency`; only its training images are looked at, so that a method of
choosing may be decided by what is found. They are dealt into folds, by chance or into groups of their own,
such as one an organ. For every fold each method chooses patches of the other images, Mask R-CNN learns these
patches alone, and the images of the fold are scored.

Each run is kept and never repeated; the same command goes on where it stopped, and may be started several
times, side by side (`taskset -c 0 python -m ...`, `taskset -c 1 ...`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from benchmarks.annotated_images import read_splits, sort_images
from benchmarks.label_efficiency.execute import K2, STRIDE
from benchmarks.label_efficiency.plan import turn
from benchmarks.label_efficiency.report import with_detection
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.experiment import Tissue, annotate_selected, program
from nuclei.folders.runs import Run as Record
from nuclei.io.files import read_json, write_json
from nuclei.selection import baselines
from nuclei.selection.criteria import CRITERIA

METHODS = (*CRITERIA, *baselines.BASELINES)
BASE = "random"  # what every other method is compared with
SCORES = ("aji", "pq", "dq", "sq", "precision", "recall")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path]  # annotated images: images/, labels/ and splits.json
    methods: tuple[str, ...] = (BASE, *CRITERIA)  # of METHODS
    draws: int = 2  # runs of each method on each fold, every one with a seed of its own
    folds: int = 4  # parts of the training images; each is scored once in a draw
    groups: Path | None = None  # instead: JSON, lists of stems by name, such as the images of each organ
    k1: int = 12  # patches to annotate
    steps: int = 150  # of training, of four patches each
    out: Path = Path("runs/choosing")  # every run, and results.json


@dataclass(frozen=True)
class Run:
    method: str
    fold: int
    draw: int

    @property
    def name(self) -> str:
        return f"{self.method}_{self.fold}_{self.draw}"


def main(settings: Settings) -> None:
    unknown = sorted(set(settings.methods) - set(METHODS))
    if unknown:
        raise InputError(f"--methods has {' '.join(unknown)}; known are {' '.join(METHODS)}")
    stems, _ = read_splits(settings.folder)
    folds = deal(stems, settings.folds) if settings.groups is None else read_groups(settings.groups, stems)
    runs = [
        Run(method, fold, draw)
        for draw in range(settings.draws)
        for fold in range(len(folds))
        for method in settings.methods
    ]
    for fold in range(len(folds)):
        _tissue(settings, folds, fold)  # a fold whose images have changed is refused, finished or not
    for wait in (False, True):  # first what nobody else works at, then what others have not ended yet
        for number, each in enumerate(runs, 1):
            with turn(settings.out, settings.out / each.name, wait) as ours:
                if ours and not _record(settings, each, folds).is_finished:
                    print(f"\n=== {number} of {len(runs)}: {each.name}", flush=True)
                    _execute(settings, each, folds)
    figures = summarise(read_runs(settings.out, runs))
    write_json(settings.out / "results.json", figures)
    print(json.dumps(figures))


def deal(stems: Sequence[str], folds: int) -> list[list[str]]:
    """The stems in `folds` parts whose sizes differ by one at most, always the same ones; or InputError."""
    if not 2 <= folds <= len(stems):
        raise InputError(f"--folds is {folds}; it must be 2 to {len(stems)}, the training images")
    order = np.random.default_rng(0).permutation(sorted(stems)).tolist()
    return [sorted(order[fold::folds]) for fold in range(folds)]


def read_groups(path: Path, stems: Sequence[str]) -> list[list[str]]:
    """The folds that a file names; InputError unless each training image is in one of two or more."""
    groups = read_json(path)
    groups = list(groups.values()) if isinstance(groups, dict) else []
    if len(groups) < 2 or not all(isinstance(group, list) and group for group in groups):
        raise InputError(f"{path} needs two lists of file stems or more, by name")
    if sorted(map(str, chain(*groups))) != sorted(stems):
        raise InputError(
            f"{path} must have every training image once, and no other; they are {', '.join(stems)}"
        )
    return [sorted(group) for group in groups]


def _execute(settings: Settings, one: Run, folds: list[list[str]]) -> None:
    """Choose, annotate from the truth, train, segment and score; the record is written last."""
    folder, seed = settings.out / one.name, one.draw * len(folds) + one.fold
    record = _record(settings, one, folds)
    record.begin()
    where = _tissue(settings, folds, one.fold)
    # The features of a patch are computed once: all runs keep them in one place.
    with turn(settings.out, "selection"):
        program(
            "consis_based.py", data=folder / "data", crops=None, images=where.train_images, stride=STRIDE,
            method=one.method, k1=settings.k1, k2=K2, seed=seed, out=settings.out / "selection",
        )  # fmt: skip
    annotate_selected(folder / "data", where.train_labels)
    program(
        "pseudo_label.py", data=folder / "data", synthetic=None, pseudo=folder / "data_pseudo", rounds=0,
        steps=settings.steps, seed=seed, validation=0, out=folder / "mrcnn",
    )  # fmt: skip
    program(
        "segment.py", where.test_images, model=folder / "mrcnn" / "model", out=folder / "segmented",
        format="label_tiff",
    )  # fmt: skip
    program("evaluate.py", folder / "segmented", where.test_labels, out=folder / "scores")
    record.finish()


def _tissue(settings: Settings, folds: list[list[str]], number: int) -> Tissue:
    """The images of all other folds to train with, those of fold `number` to score."""
    others = [stem for fold in folds if fold is not folds[number] for stem in fold]
    with turn(settings.out, "tissue"):
        return sort_images(settings.folder, settings.out / f"tissue_{number}", (others, folds[number]))


def _record(settings: Settings, one: Run, folds: list[list[str]]) -> Record:
    """Of a run; what all runs have alike is what it depends on."""
    depends_on = {"folds": folds, "k1": settings.k1, "steps": settings.steps}
    return Record(settings.out / one.name, "benchmark", depends_on)


def read_runs(out: Path, runs: Sequence[Run]) -> pd.DataFrame:
    """The scores of every image in every run, with precision and recall at an IoU of 0.5."""
    tables = []
    for one in runs:
        table = pd.read_csv(out / one.name / "scores" / "scores.csv")
        tables.append(table.assign(method=one.method, fold=one.fold, draw=one.draw))
    return with_detection(pd.concat(tables, ignore_index=True))


def summarise(table: pd.DataFrame) -> dict[str, dict]:
    """Method -> means of SCORES over images, the AJI of every draw, and the gain over random patches."""
    figures: dict[str, dict] = {}
    for method, part in table.groupby("method", sort=False):
        figures[method] = {name: round(float(part[name].mean()), 4) for name in SCORES}
        figures[method]["aji_draws"] = part.groupby("draw")["aji"].mean().round(4).tolist()
        if method != BASE and (table["method"] == BASE).any():
            figures[method]["gain"] = gain(part, table[table["method"] == BASE])
    return figures


def gain(ours: pd.DataFrame, base: pd.DataFrame) -> list[float]:
    """Mean difference in AJI over the runs of the same fold and draw, and its 95 % interval (low, high).

    The interval is a bootstrap over these runs, not over images: those of a fold share a network.
    """
    runs = [table.groupby(["fold", "draw"])["aji"].mean() for table in (ours, base)]
    differences = (runs[0] - runs[1]).dropna().to_numpy()
    drawn = np.random.default_rng(0).choice(differences, (RESAMPLES, len(differences)))
    interval = np.percentile(drawn.mean(axis=1), (2.5, 97.5))
    return [round(float(value), 4) for value in (differences.mean(), *interval)]


if __name__ == "__main__":
    run(main, Settings, __doc__)
