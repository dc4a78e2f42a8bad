"""One run of the experiment: the stages as programs, or a peer, then the scores on the test images."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from benchmarks.label_efficiency.plan import (
    FROM_IMAGENET,
    FULL,
    NO_LABEL,
    ON_TARGET,
    PRETRAINED,
    RUN,
    SELF_TRAINED,
    TOOLS,
    WITHOUT_LABELS,
    WITHOUT_PAIRS,
    Plan,
    Run,
    held,
    turn,
)
from benchmarks.peers.common import MODEL as PEER_MODEL
from benchmarks.peers.common import RECORD as PEER_RECORD
from mrcnn.selftraining.start import RATE, start_weights
from nuclei import label_free
from nuclei.errors import InputError
from nuclei.experiment import ROOT, Tissue, annotate, annotate_selected, program
from nuclei.folders import patches
from nuclei.folders.runs import Run as Record
from nuclei.io.files import read_json, write_json
from nuclei.io.images import list_images, read_image, write_labels
from nuclei.tissue import variety

K2 = 4  # clusters of quarters within each cluster of patches
STRIDE = 248  # px between patches: 4 x 4 of them cover an image of 1000 px
GENERATED = 1000  # patches of generated tissue that a peer learns


def annotate_all(out: Path, where: Tissue) -> Path:
    """All patches of the training images, every one annotated."""
    return _crop_all(out / "chosen" / "all", out, where.train_images, where.train_labels)


def _crop_all(folder: Path, out: Path, images: Path, labels: Path | None) -> Path:
    """All patches of a folder of images, annotated from `labels` if they are given; returns their folder."""
    with turn(out, folder):
        cropped = Record(folder, "benchmark", {"stride": STRIDE})
        if not cropped.is_finished:
            cropped.begin()
            program(
                "consis_based.py", data=folder / "data", crops=None, images=images,
                stride=STRIDE, k1=1, out=folder / "selection", through=held(out, folder),
            )  # fmt: skip
            if labels:
                annotate(folder / "data", patches.list_patches(folder / "data"), labels)
            cropped.finish()
    return folder / "data"


def _patches(plan: Plan, run: Run, folder: Path) -> Path:
    """The patches, annotated or not, that stage 3 of a run sees."""
    settings = plan.settings
    if run.row in FULL:
        return annotate_all(settings.out, plan.where)
    if run.row not in ON_TARGET:
        return _choose(plan, run) / "data"
    unlabelled = _crop_all(settings.out / "chosen" / "target", settings.out, plan.where.test_images, None)
    if run.row in WITHOUT_LABELS:
        return unlabelled
    chosen = _choose(plan, run) / "data"
    for source, names in (
        (unlabelled, patches.list_patches(unlabelled)),
        (chosen, [name for name in patches.list_patches(chosen) if patches.is_annotated(chosen / name)]),
    ):
        for name in names:
            shutil.copytree(source / name, folder / "data" / name, dirs_exist_ok=True)
    return folder / "data"


def _choose(plan: Plan, run: Run) -> Path:
    """Stage 1 of a run, annotated from the truth; returns its folder."""
    folder = plan.stages(run)
    chosen = Record(folder, "benchmark", {"budget": run.budget, "seed": run.seed, "stride": STRIDE})
    with turn(plan.settings.out, folder):
        if not chosen.is_finished:
            chosen.begin()
            program(
                "consis_based.py", data=folder / "data", crops=None, images=plan.where.train_images,
                stride=STRIDE, method=run.method, k1=run.budget, k2=K2, seed=run.seed,
                out=folder / "selection", through=held(plan.settings.out, folder),
            )  # fmt: skip
            annotate_selected(folder / "data", plan.where.train_labels)
            chosen.finish()
    return folder


def _multiply(plan: Plan, run: Run) -> Path:
    """Stage 2 of a run, whose stage 1 is done; returns the folder of the synthetic pairs."""
    settings, folder = plan.settings, plan.stages(run)
    with_transplants = run.row == "transplants"
    synthetic = folder / ("data_transplants" if with_transplants else "data_synthetic")
    with turn(plan.settings.out, folder):
        program(
            "main_train.py", data=folder / "data", synthetic=synthetic, out=folder / "csingan",
            samples=settings.samples, transplants=settings.transplants if with_transplants else 0,
            effort=settings.effort, seed=run.seed, through=held(settings.out, folder),
        )  # fmt: skip
    return synthetic


def execute(plan: Plan, run: Run, folder: Path) -> None:
    """Train, segment the test images, score; `RUN` is written last."""
    segmented, through = folder / "segmented", held(plan.settings.out, folder)
    steps = plan.steps_of(run)
    minutes: float | None = 0.0
    if run.row == "label_free":
        for path in tqdm(list_images(plan.where.test_images), desc=run.name, unit="image"):
            write_labels(segmented / f"{path.stem}.tif", label_free.segment(read_image(path)))
    elif run.row in TOOLS:
        record = _peer(plan, run, segmented, through)
        steps, minutes = record["steps"], record["training_minutes"]
    else:
        untrained = run.row == "start_weights"
        minutes = 0.0 if untrained else _train(plan, run, folder)
        program(
            "segment.py", plan.where.test_images, out=segmented,
            model=start_weights() if untrained else folder / "mrcnn" / "model",
            views=plan.settings.views, format="label_tiff", through=through,
        )  # fmt: skip
    program("evaluate.py", segmented, plan.where.test_labels, out=folder, through=through)
    share = _annotated_share(plan.where, run)
    made = {"steps": steps, "annotated_share": share, "minutes": minutes, "code": _code_version()}
    write_json(folder / RUN, {**asdict(run), **made})


def _train(plan: Plan, run: Run, folder: Path) -> float | None:
    """Stage 3 of a run, with those before it; returns its minutes, None if it went on after a kill."""
    settings = plan.settings
    data = _patches(plan, run, folder)
    synthetic = None if run.row in WITHOUT_PAIRS else _multiply(plan, run)
    rounds = settings.rounds if run.row in SELF_TRAINED else 0
    went_on, began = (folder / "mrcnn").exists(), time.monotonic()
    program(
        "pseudo_label.py", data=data, synthetic=synthetic, pseudo=folder / "data_pseudo", rounds=rounds,
        steps=plan.steps_of(run) // plan.trainings_of(run), batch=settings.batch, seed=run.seed,
        out=folder / "mrcnn",
        start="imagenet" if run.row in FROM_IMAGENET else settings.weights,
        learning_rate=RATE if run.row in FULL else None,  # which has much to learn
        annotated=run.row not in WITHOUT_LABELS,  # whose patches count as unlabelled, all but the chosen ones
        validation=0,  # the last weights of every row, whatever the number of its patches
        through=held(settings.out, folder),
    )  # fmt: skip
    return None if went_on else round((time.monotonic() - began) / 60, 1)


def _peer(plan: Plan, run: Run, segmented: Path, through: list[str]) -> dict:
    """Train another tool in its own environment; returns its record of the training that it ended with."""
    settings, tool = plan.settings, TOOLS[run.row]
    flags: dict[str, object] = {"images": plan.where.test_images, "out": segmented, "seed": run.seed}
    if run.row in NO_LABEL:
        flags |= {"data": _generate(plan), "minutes": settings.pretraining}
    else:
        data, longest = _choose(plan, run) / "data", settings.longest
        flags |= {"data": data, "minutes": settings.minutes, "longest": longest}
    if run.row in PRETRAINED:
        flags["start"] = _pretrain(plan, tool)
    words = [str(peer_python(tool)), "-m", f"benchmarks.peers.{tool}_peer"]
    for name, value in flags.items():
        words += [f"--{name}", str(value)]
    print(f"\n$ {' '.join(words)}", flush=True)
    if subprocess.run([*through, *words], check=False, cwd=ROOT).returncode:
        raise InputError(f"{tool} failed; see above; leave it out with --peers")
    return read_json(segmented / PEER_RECORD)


def _pretrain(plan: Plan, tool: str) -> Path:
    """The folder of a tool's model that learnt generated tissue alone, which is a row of its own."""
    run = Run(f"{tool}_no_label", 0, 0)
    folder = plan.settings.out / "runs" / run.name
    with turn(plan.settings.out, folder):
        if not (folder / RUN).exists():
            execute(plan, run, folder)
    return folder / "segmented" / PEER_MODEL


def _generate(plan: Plan) -> Path:
    """Patches of generated tissue, of the kind that the start weights learnt."""
    folder = plan.settings.out / "chosen" / "generated"
    with turn(plan.settings.out, folder):
        made = Record(folder, "benchmark", {"patches": GENERATED})
        if not made.is_finished:
            made.begin()
            for number in tqdm(range(GENERATED), desc="generated tissue", unit="patch"):
                patches.write_patch(
                    folder / "data", f"{number:04d}", *variety.generate(patches.PATCH, number)
                )
            made.finish()
    return folder / "data"


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
    if run.row in FULL:
        return 1.0
    if run.row in (*WITHOUT_LABELS, *NO_LABEL):
        return 0.0
    pixels = sum(math.prod(read_image(path).shape[:2]) for path in list_images(where.train_images))
    return round(run.budget * patches.PATCH**2 / pixels, 4)


def _code_version() -> str | None:
    """The commit of this checkout, "-dirty" where files differ from it; None where there is no git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
