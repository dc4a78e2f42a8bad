"""How far do few labels go? `python -m benchmarks.label_efficiency FOLDER`, one JSON line out.

FOLDER is laid out as `benchmarks.annotated_images` says; patches are chosen from its training images.

Every row of the table is trained for as many steps, of as many patches each, and scored on whole test images:
label-free; the annotated patches alone; with their synthetic pairs; the whole method; the whole method on
random patches, and on patches whose quarters need not be alike (the paper's third term left out);
every training image annotated; and other tools (`benchmarks.peers`), trained on the same patches for as many
minutes. The seed of a run is that of all its stages.

Each run is kept and never repeated; the same command goes on where it stopped. First comes the table with one
seed in every row, then the other seeds, the other budgets, and the rule without its third term. The command
may be started several times, side by side: each process takes the next run that no other one works at. With
cores of its own for each (`taskset -c 0 python -m ...`, `taskset -c 1 ...`) all together do more than one
alone, and minutes compare.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
import tyro
from tqdm import tqdm

from benchmarks import annotated_images
from benchmarks import label_efficiency_report as report
from demo import ROOT, Tissue, annotate, annotate_selected, program
from nuclei import baseline, patches
from nuclei.devices import has_gpu
from nuclei.errors import InputError
from nuclei.files import is_finished, locked, read_json, write_json, write_settings
from nuclei.formats import list_images, read_image, write_labels
from nuclei.script import run
from pseudo_label import STEPS_PER_EPOCH

PEERS = ("stardist", "torchvision", "cellpose")
K2 = 4  # clusters of quarters within each cluster of patches
STRIDE = 248  # px between patches: 4 x 4 of them cover an image of 1000 px
RULES = {  # what stage 1 is told; rows of other rules than the paper's have their names
    "consistency": {},
    "without_spread": {"spread": 0},
    "random_patches": {"method": "random"},
}
SHARED = ("minutes", "rounds", "batch", "samples", "effort", "views")  # settings that all runs have alike
CALIBRATION_STEPS = 25  # of two short trainings, whose difference gives the seconds a step takes


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path]  # annotated images: images/, labels/ and splits.json
    minutes: float = 60  # of training in each row, on this device
    steps: int | None = None  # of every training of ours; None: as many as fit into the minutes
    budget: int = 12  # annotated patches in the first table
    budgets: tuple[int, ...] = (3, 6, 12, 24)  # in the second
    seeds: int = 2  # runs of every row
    draws: int = 3  # of random patches
    rounds: int = 1  # of pseudo labels in the whole method
    batch: int = 4  # patches a step
    samples: int = 16  # synthetic pairs a patch
    effort: float = 1.0  # multiplies the training steps of the GANs
    views: int = 4  # turned and mirrored views of a tile that are averaged, 1 to 8
    peers: tuple[str, ...] = PEERS  # other tools; `make peers` installs them
    out: Path = Path("runs/label_efficiency")  # every run, results.json, results.md, plots and overlays


@dataclass(frozen=True)
class Run:
    """One training, or none, and its scores."""

    row: str  # of `report.ROWS`, or a peer
    budget: int  # annotated patches; 0: none or all
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row}_{self.budget}_{self.seed}"

    @property
    def rule(self) -> str:
        """How the patches are chosen, of RULES."""
        return self.row if self.row in RULES else "consistency"


@dataclass(frozen=True)
class Plan:
    """What all runs share."""

    settings: Settings
    where: Tissue
    steps: int  # of every training

    def stages(self, run: Run) -> Path:
        """The folder of stages 1 and 2 of a run; those with the same patches share it."""
        return self.settings.out / "chosen" / f"{run.rule}_{run.budget}_{run.seed}"


def main(settings: Settings) -> None:
    unknown = sorted(set(settings.peers) - set(PEERS))
    if unknown:
        raise InputError(f"--peers has {' '.join(unknown)}; known are {' '.join(PEERS)}")
    for peer in settings.peers:
        peer_python(peer)
    _, groups = annotated_images.read_splits(settings.folder)
    with _turn(settings.out, "begin"):
        where = annotated_images.sort_images(settings.folder, settings.out / "tissue")
        made_with = begin(settings, where)
    plan = Plan(settings, where, made_with["steps"])
    runs = list_runs(settings)
    for number, each in enumerate(runs, 1):
        folder = settings.out / "runs" / each.name
        with _turn(settings.out, folder, wait=False) as ours:
            if not ours or (folder / report.RUN).exists():
                continue
            print(f"\n=== {number} of {len(runs)}: {each.name}", flush=True)
            _execute(plan, each, folder)
        with _turn(settings.out, "report"):
            report.write(settings.out, where, groups, settings.budget, made_with)
    with _turn(settings.out, "report"):
        print(json.dumps(report.write(settings.out, where, groups, settings.budget, made_with)))


def _turn(out: Path, what: Path | str, wait: bool = True) -> AbstractContextManager[bool]:
    """As `locked`: work at `what`, a folder within `out` or a name, that no other process has begun."""
    return locked(out / "locks" / Path(out, what).relative_to(out), wait)


def list_runs(settings: Settings) -> list[Run]:
    """All runs, the most important ones first."""
    once = [Run("label_free", 0, 0)]
    ours = ("annotated_only", "synthetic", "whole_method")
    random = [Run("random_patches", settings.budget, draw) for draw in range(settings.draws)]

    def of_seed(seed: int) -> list[Run]:
        return [
            *(Run(row, settings.budget, seed) for row in ours),
            Run("full_supervision", 0, seed),
            *(Run(peer, settings.budget, seed) for peer in settings.peers),
        ]

    first = [*once, *of_seed(0), *random]
    others = [each for seed in range(1, settings.seeds) for each in of_seed(seed)]
    budgets = [
        Run(row, budget, seed)
        for seed in range(settings.seeds)
        for budget in settings.budgets
        for row in ("annotated_only", "whole_method")
    ]
    without = [Run("without_spread", settings.budget, seed) for seed in range(settings.seeds)]
    return list(dict.fromkeys(first + others + budgets + without))


def begin(settings: Settings, where: Tissue) -> dict:
    """What all runs have alike: SHARED, `steps` of a training, the `device` and the day of the `start`.

    It is kept in a file, so that runs of other settings never share a table.

    Raises:
        InputError: the folder was begun with other settings.
    """
    path = settings.out / "experiment.json"
    shared = {name: getattr(settings, name) for name in SHARED}
    if settings.steps:
        shared["steps"] = _whole_epochs(settings, settings.steps)
    if path.exists():
        known = read_json(path)
        if {name: known.get(name) for name in shared} != shared:
            raise InputError(f"{settings.out}/ was begun with other settings ({path}); choose another --out")
        return known
    if not settings.steps:
        steps = settings.minutes * 60 / _seconds_a_step(settings, where)
        shared["steps"] = _whole_epochs(settings, steps)
    made_with = {**shared, "device": _device(), "start": date.today().isoformat()}
    write_json(path, made_with)
    return made_with


def _whole_epochs(settings: Settings, steps: float) -> int:
    """About as many steps, in whole epochs in every round."""
    unit = STEPS_PER_EPOCH * (settings.rounds + 1)
    return max(round(steps / unit), 1) * unit


def _device() -> str:
    gpu = torch.cuda.get_device_name() if has_gpu() else "no GPU"
    return f"{len(os.sched_getaffinity(0))} processor cores a run, {gpu}"


def _seconds_a_step(settings: Settings, where: Tissue) -> float:
    """What a training step takes on this device, from two short trainings."""
    seconds = []
    data = _full(settings.out, where)
    for steps in (CALIBRATION_STEPS, 2 * CALIBRATION_STEPS):
        folder = settings.out / f"calibration_{steps}"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed: only the rest would be timed
        began = time.monotonic()
        program(
            "pseudo_label.py", data=data, synthetic=None, rounds=0, steps=steps, batch=settings.batch,
            validation=0, out=folder,
        )  # fmt: skip
        seconds.append(time.monotonic() - began)
        shutil.rmtree(folder)
    if seconds[1] <= seconds[0]:
        raise InputError("this machine is too busy to be timed; begin again later, or give --steps")
    return (seconds[1] - seconds[0]) / CALIBRATION_STEPS


def _full(out: Path, where: Tissue) -> Path:
    """All patches of the training images, every one annotated."""
    folder = out / "chosen" / "all"
    with _turn(out, folder):
        if not is_finished(folder, {"stride": STRIDE}):
            program(
                "consis_based.py", data=folder / "data", crops=None, images=where.train_images,
                stride=STRIDE, k1=1, out=folder / "selection",
            )  # fmt: skip
            annotate(folder / "data", patches.list_patches(folder / "data"), where.train_labels)
            write_settings(folder, {"stride": STRIDE})
    return folder / "data"


def _choose(plan: Plan, run: Run) -> Path:
    """Stage 1 of a run, annotated from the truth; returns its folder."""
    folder = plan.stages(run)
    made_with = {"budget": run.budget, "seed": run.seed, "stride": STRIDE}
    with _turn(plan.settings.out, folder):
        if not is_finished(folder, made_with):
            program(
                "consis_based.py", data=folder / "data", crops=None, images=plan.where.train_images,
                stride=STRIDE, **RULES[run.rule], k1=run.budget, k2=K2, seed=run.seed,
                out=folder / "selection",
            )  # fmt: skip
            annotate_selected(folder / "data", plan.where.train_labels)
            write_settings(folder, made_with)
    return folder


def _multiply(plan: Plan, run: Run) -> Path:
    """Stage 2 of a run, whose stage 1 is done; returns the folder of the synthetic pairs."""
    settings, folder = plan.settings, plan.stages(run)
    with _turn(plan.settings.out, folder):
        program(
            "main_train.py", data=folder / "data", synthetic=folder / "data_synthetic",
            out=folder / "csingan", samples=settings.samples, effort=settings.effort, seed=run.seed,
        )  # fmt: skip
    return folder / "data_synthetic"


def _execute(plan: Plan, run: Run, folder: Path) -> None:
    """Train, segment the test images, score; `report.RUN` is written last."""
    segmented = folder / "segmented"
    minutes: float | None = 0.0
    if run.row == "label_free":
        for path in tqdm(list_images(plan.where.test_images), desc=run.name, unit="image"):
            write_labels(segmented / f"{path.stem}.tif", baseline.segment(read_image(path)))
    elif run.row in PEERS:
        minutes = _peer(plan, run, segmented)
    else:
        minutes = _train(plan, run, folder)
        program(
            "segment.py", plan.where.test_images, model=folder / "mrcnn" / "model", out=segmented,
            views=plan.settings.views, format="label_tiff",
        )  # fmt: skip
    program("evaluate.py", segmented, plan.where.test_labels, out=folder)
    steps = plan.steps if run.row in report.EQUAL_STEPS else 0
    share = _annotated_share(plan.where, run)
    write_json(
        folder / report.RUN,
        {**asdict(run), "steps": steps, "annotated_share": share, "training_minutes": minutes},
    )


def _train(plan: Plan, run: Run, folder: Path) -> float | None:
    """Stage 3 of a run, with those before it; returns its minutes, None if it went on after a kill."""
    settings = plan.settings
    if run.row == "full_supervision":
        data, synthetic = _full(settings.out, plan.where), None
    else:
        data = _choose(plan, run) / "data"
        synthetic = None if run.row == "annotated_only" else _multiply(plan, run)
    rounds = settings.rounds if run.row in report.WHOLE else 0
    went_on, began = (folder / "mrcnn").exists(), time.monotonic()
    program(
        "pseudo_label.py", data=data, synthetic=synthetic, pseudo=folder / "data_pseudo", rounds=rounds,
        steps=plan.steps // (rounds + 1), batch=settings.batch, seed=run.seed, out=folder / "mrcnn",
    )  # fmt: skip
    return None if went_on else round((time.monotonic() - began) / 60, 1)


def _peer(plan: Plan, run: Run, segmented: Path) -> float:
    """Train another tool on the same patches for as long, in its own environment."""
    command = [peer_python(run.row), "-m", f"benchmarks.peers.{run.row}_peer"]
    command += ["--data", _choose(plan, run) / "data", "--images", plan.where.test_images]
    command += ["--out", segmented, "--minutes", plan.settings.minutes, "--seed", run.seed]
    print(f"\n$ {' '.join(map(str, command))}", flush=True)
    if subprocess.run([str(part) for part in command], check=False, cwd=ROOT).returncode:
        raise InputError(f"{run.row} failed; see above; leave it out with --peers")
    return plan.settings.minutes


def peer_python(peer: str) -> Path:
    """The interpreter of a peer: of its own environment if it needs one; InputError where that is missing."""
    if not (ROOT / "benchmarks" / "peers" / f"requirements-{peer}.txt").exists():
        return Path(sys.executable)
    python = ROOT / f".venv-{peer}" / "bin" / "python"
    if not python.exists():
        raise InputError(f"{peer} needs an environment of its own: make peers, or leave it out with --peers")
    return python


def _annotated_share(where: Tissue, run: Run) -> float:
    """Share of the pixels of the training images that were outlined."""
    if run.row == "full_supervision":
        return 1.0
    pixels = sum(math.prod(read_image(path).shape[:2]) for path in list_images(where.train_images))
    return round(run.budget * patches.PATCH**2 / pixels, 4)


if __name__ == "__main__":
    run(main, Settings, __doc__)
