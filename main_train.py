"""Stage 2: one CSinGAN per annotated patch, then its synthetic pairs (Lou et al. 2022)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from csingan.config import SMALLEST, LayoutOptions
from nuclei import cluster
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.io.files import check_can_hold_files, overlap

if TYPE_CHECKING:
    from csingan.inputs import Task
    from csingan.transplant_job import Find, Transplants

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the annotated patches, and selected.csv, which names them
    patch: str | None = None  # train on this patch alone; by default on every patch of selected.csv
    folder: Path | None = None  # or a folder: train.png, train_mask.png, random_masks/ (one pair a mask)
    samples: int = 16  # synthetic pairs for each patch; with --folder, one for each mask
    size: int | None = None  # px, side of a synthetic pair; by default that of the patch
    preset: Literal["fast", "paper", "collage"] = "fast"  # fast: 40 s a patch; paper: days; collage: 5 s
    effort: float = 1.0  # multiplies the training steps of the preset
    density: tuple[float, float] = (0.8, 1.2)  # range of the share of nuclei, as multiples of the real one
    touching: float | None = None  # share of nuclei that touch another one, 0 to 1; by default the real one
    gap: int = 1  # px between nuclei that do not touch
    scale: tuple[float, float] = (0.9, 1.1)  # range of the change of a nucleus's diameter
    transplants: int = 0  # further pairs: annotated nuclei on the background of unannotated patches; try 192
    shapes: Literal["own", "all"] = "own"  # own: nuclei of the patch itself; all: of all annotated patches
    seed: int = 0  # of the layouts, the training and the samples
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    together: int = 0  # patches that train in one batch; 0: one on a CPU, 16 on a GPU
    scheduler: str | None = None  # who trains: local:N for N processes, or the address of a Dask scheduler
    synthetic: Path = Path("data_synthetic")  # where the synthetic pairs go, as patches
    out: Path = Path("runs/csingan")  # checkpoints and pictures, one folder for each patch


def main(settings: Settings) -> None:
    _check(settings)
    began = time.monotonic()
    # They are slow to import: --help and wrong flags need not wait for them.
    from csingan.inputs import read_folder, read_patches
    from csingan.synthesis import synthesise
    from nuclei.report.write import after_stage

    check_can_hold_files(settings.out)
    check_can_hold_files(settings.synthetic)
    if settings.folder:
        if settings.samples != Settings.samples:
            log.warning("--samples does not count with --folder, which gives one pair a mask")
        tasks = [read_folder(settings.folder)]
    else:
        tasks = read_patches(settings.data, settings.patch, settings.shapes == "all")
    layout = LayoutOptions(settings.density, settings.touching, settings.gap, settings.scale)
    transplants = _transplants(settings, tasks, layout)
    if transplants:
        transplants.check()  # before the slow training
    synthesise(
        tasks,
        settings.out,
        settings.synthetic,
        samples=settings.samples,
        size=settings.size,
        preset=settings.preset,
        effort=settings.effort,
        layout=layout,
        seed=settings.seed,
        device=settings.device,
        together=settings.together,
        scheduler=settings.scheduler,
    )
    if transplants:
        transplants.make(_load_finder)
    print(
        f"The synthetic pairs of {len(tasks)} patches are in {settings.synthetic}/, models and pictures in "
        f"{settings.out}/. Next: python pseudo_label.py"
    )
    if settings.folder is None:
        seconds, of = time.monotonic() - began, {"data": settings.data, "synthetic": settings.synthetic}
        after_stage("pairs", settings.out, seconds, csingan=settings.out, **of)


def _transplants(settings: Settings, tasks: list[Task], layout: LayoutOptions) -> Transplants | None:
    if settings.folder or settings.patch:
        if settings.transplants:
            log.warning("--transplants does not count with --folder or --patch, which show one patch alone")
        return None
    from csingan.transplant_job import Transplants
    from mrcnn.config import fingerprint
    from mrcnn.selftraining.start import start_weights

    of = settings.data, tasks, settings.synthetic, settings.out
    return Transplants(*of, settings.transplants, layout, settings.seed, lambda: fingerprint(start_weights()))


def _load_finder() -> Find:
    from csingan.transplant_job import DOUBTFUL
    from mrcnn import model as modellib
    from mrcnn.inference import tiling
    from mrcnn.selftraining.start import start_weights

    predictor = modellib.load(start_weights(), DETECTION_MIN_CONFIDENCE=DOUBTFUL).predictor
    return partial(tiling.segment, predictor)


def _check(settings: Settings) -> None:
    cluster.check(settings.scheduler)
    for name, smallest in (("samples", 1), ("together", 0), ("transplants", 0)):
        if getattr(settings, name) < smallest:
            raise InputError(f"--{name} is {getattr(settings, name)}; it must be at least {smallest}")
    if not 0 < settings.effort < float("inf"):
        raise InputError(f"--effort is {settings.effort}; it must be above 0")
    if settings.size is not None and settings.size < SMALLEST:
        raise InputError(f"--size is {settings.size}; a sample has at least {SMALLEST} px a side")
    for one, other in combinations(("synthetic", "data", "out"), 2):
        if getattr(settings, one).resolve() == getattr(settings, other).resolve():
            raise InputError(
                f"--{one} and --{other} are both {getattr(settings, one)}/; give each a folder of its own"
            )
    if settings.folder and settings.patch:
        raise InputError("--folder and --patch exclude each other; pass one of them")
    if settings.folder and overlap(settings.folder, settings.out / settings.folder.resolve().name):
        raise InputError(
            f"the results of --folder {settings.folder} would replace its own files; name another --out"
        )


if __name__ == "__main__":
    run(
        main,
        Settings,
        "Train a GAN on each annotated patch and draw synthetic pairs; edit the constants at the top or pass "
        "them as flags.",
    )
