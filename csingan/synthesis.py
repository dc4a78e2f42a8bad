"""Stage 2: train a CSinGAN on each annotated patch, then draw its synthetic pairs (Lou et al. 2022)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csingan.config import LayoutOptions
from csingan.inputs import Task
from csingan.job import Job
from nuclei import cluster
from nuclei.errors import InputError
from nuclei.folders.pairs import write_pairs
from nuclei.io.files import atomic_folder
from nuclei.io.images import write_image
from nuclei.io.locks import alone

# torch and matplotlib are imported where they are used: bad input and finished runs need not wait for them.
if TYPE_CHECKING:
    import torch

    from csingan.train import Pyramid

SHOWN = 12  # synthetic pairs on the sample sheet, and measured for the log
TOGETHER_ON_GPU = 16  # patches that train in one batch on a GPU, by default

log = logging.getLogger(__name__)


def synthesise(
    tasks: Sequence[Task],
    out: Path,
    synthetic: Path,
    *,
    samples: int = 16,
    size: int | None = None,
    preset: str = "fast",
    effort: float = 1.0,
    layout: LayoutOptions | None = None,
    seed: int = 0,
    device: str = "auto",
    together: int = 0,
    scheduler: str | None = None,
) -> None:
    """Train a model on each patch and write its synthetic pairs.

    What earlier calls have made and these settings do not change is reused; what they change is made anew,
    and the old results are kept below `replaced/`. A killed call goes on where it was.

    Args:
        tasks: the patches, from `csingan.inputs`.
        out: where the models and their pictures go, a folder for each patch.
        synthetic: where the pairs go, as patches.
        samples: pairs for each patch whose layouts are random.
        size: px, the side of these pairs; None: that of the patch.
        preset: name of the schedule in `csingan.config.PRESETS`.
        effort: multiplies its training steps.
        layout: options of the random layouts; None: the defaults.
        seed: of the layouts, the training and the samples.
        device: auto, cpu, cuda, cuda:1, ...
        together: patches that train in one batch; 0: one on a CPU, 16 on a GPU.
        scheduler: who trains; see `nuclei.cluster.workers`.

    Raises:
        InputError: no layout fits, files that no run has made are in the way, a loss diverges, or the memory
            of the GPU is too small.
    """
    layout = layout or LayoutOptions()
    jobs = [
        Job(task, out / task.name, synthetic, samples, size, preset, effort, layout, seed) for task in tasks
    ]
    with alone(out, synthetic):
        left = [job for job in jobs if not job.is_finished]
        if finished := [job for job in jobs if job not in left]:
            log.info("%s: finished with the same settings, kept", _names(finished))
        if left:
            _make(left, device, together, scheduler)


def _make(jobs: Sequence[Job], device_name: str, together: int, scheduler: str | None) -> None:
    """Make what is missing of the jobs."""
    from nuclei.devices import find_device

    for job in jobs:  # all of them before anything slow starts
        job.check()
    device = find_device(device_name)
    _log_plans(jobs)
    untrained = []
    for job in jobs:
        if (model := _finished_model(job, device)) is None:
            untrained.append(job)
        else:
            _draw(job, model)
    groups = list(_groups(untrained, together or (1 if device.type == "cpu" else TOGETHER_ON_GPU)))
    if scheduler is not None:
        with cluster.workers(scheduler) as workers:
            items = [Group(tuple(group)) for group in groups]
            workers.do_all(TrainAndDraw(device_name), items, desc="training", unit="patch")
        return
    trained = 0
    for group in groups:
        trained += len(group)
        log.info("%s: training (%d of %d)", _names(group), trained, len(untrained))
        for job, model in zip(group, _train(group, device), strict=True):
            _draw(job, model)


@dataclass(frozen=True)
class Group:
    """Patches that train together."""

    jobs: tuple[Job, ...]

    def __str__(self) -> str:
        return _names(self.jobs)


@dataclass(frozen=True)
class TrainAndDraw:
    """A task of `nuclei.cluster`: trains the models of a group, and draws and writes their pairs."""

    device: str

    def __call__(self, group: Group) -> None:
        from nuclei.devices import find_device

        for job, model in zip(group.jobs, _train(group.jobs, find_device(self.device)), strict=True):
            _draw(job, model)


def _log_plans(jobs: Sequence[Job]) -> None:
    """One line for all patches with the same plan."""
    plans: dict[str, list[Job]] = {}
    for job in jobs:
        plans.setdefault(job.plan, []).append(job)
    for plan, group in plans.items():
        if plan:
            log.info("%s: %s", _names(group), plan)


def _groups(jobs: Sequence[Job], together: int) -> Iterator[list[Job]]:
    """Jobs whose patches train in one batch: of one size, and no more than `together`."""
    for _, same in groupby(sorted(jobs, key=_shape), _shape):
        alike = list(same)
        yield from (alike[start : start + together] for start in range(0, len(alike), together))


def _train(jobs: Sequence[Job], device: torch.device) -> list[Pyramid]:
    """Train the models of some patches in one batch."""
    from csingan.report import write_losses
    from csingan.train import train

    for job in jobs:
        job.model.begin()
        write_image(job.folder / "train.png", job.task.image)
        write_image(job.folder / "train_mask.png", (job.task.labels > 0).astype(np.uint8) * 255)
    examples = [job.example(job.training_layouts()) for job in jobs]
    try:
        models = train(examples, jobs[0].schedule, jobs[0].seed, device)
    except FloatingPointError as error:
        raise InputError(f"{_names(jobs)}: {error}; try another --seed") from error
    except MemoryError as error:
        raise InputError(
            f"the GPU's memory is too small for {len(jobs)} patches in one batch; pass a smaller --together "
            "(1 takes least), or --device cpu"
        ) from error
    for job, model in zip(jobs, models, strict=True):
        write_losses(job.folder, [losses.numpy() for losses in model.losses])
        job.model.finish()
    return models


def _finished_model(job: Job, device: torch.device) -> Pyramid | None:
    """The trained model of a patch; None where it is not finished, or checkpoints were deleted."""
    if not job.model.is_finished:
        return None
    from csingan.train import load

    return load(job.example(), job.schedule, device)


def _draw(job: Job, model: Pyramid) -> None:
    """Draw the pairs of a patch, write them and their pictures, and log how good they are."""
    from csingan.report import describe, write_samples, write_scales
    from csingan.train import sample, sample_scales

    layouts, real = job.sample_layouts(), (job.task.image, job.task.labels)
    pairs = list(zip(sample(model, layouts, job.seed), layouts, strict=True))
    write_pairs(job.pairs, pairs)
    job.pictures.begin()
    with atomic_folder(job.folder / "random_masks") as masks:
        for name, layout in zip(job.pairs.items, layouts, strict=True):
            write_image(masks / f"{name}.png", (layout > 0).astype(np.uint8) * 255)
    write_samples(job.folder / "samples.png", real, pairs[:SHOWN])
    write_scales(job.folder / "scales.png", layouts[0], sample_scales(model, layouts[0], job.seed))
    job.pictures.finish()
    log.info("%s: %slook at %s", job.task.name, describe(real, pairs[:SHOWN]), job.folder / "samples.png")


def _shape(job: Job) -> tuple[int, ...]:
    return job.task.labels.shape


def _names(jobs: Sequence[Job]) -> str:
    return ", ".join(job.task.name for job in jobs)
