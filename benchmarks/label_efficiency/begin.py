"""What all runs of the experiment have alike: decided once, and kept."""

from __future__ import annotations

import os
import shutil
import time
from datetime import date

import torch

from benchmarks.label_efficiency.execute import annotate_all
from benchmarks.label_efficiency.plan import Settings, held
from mrcnn.selftraining.rounds import STEPS_PER_EPOCH
from nuclei.devices import has_gpu
from nuclei.errors import InputError
from nuclei.experiment import Tissue, program
from nuclei.io.files import read_json, write_json

# Settings that all runs have alike.
SHARED = (
    "minutes", "longest", "pretraining", "rounds", "batch", "samples", "effort", "views", "weights",
    "full_steps", "imagenet_steps",
)  # fmt: skip
CALIBRATION_STEPS = 25  # of two short trainings, whose difference gives the seconds a step takes


def begin(settings: Settings, where: Tissue) -> dict:
    """What all runs have alike: SHARED, the `steps` of a training, the `device` and the day of the `start`.

    It is kept in a file, so that runs of other settings never share a table.

    Raises:
        InputError: the folder was begun with other settings.
    """
    path = settings.out / "experiment.json"
    shared = {name: getattr(settings, name) for name in SHARED}
    if settings.steps:
        shared["steps"] = _whole_epochs(settings.steps)
    if path.exists():
        known = read_json(path)
        if {name: known.get(name) for name in shared} != shared:
            raise InputError(f"{settings.out}/ was begun with other settings ({path}); choose another --out")
        return known
    if not settings.steps:
        shared["steps"] = _whole_epochs(settings.minutes * 60 / _seconds_a_step(settings, where))
    made_with = {**shared, "device": _device(), "start": date.today().isoformat()}
    write_json(path, made_with)
    return made_with


def _whole_epochs(steps: float) -> int:
    """About as many steps, in whole epochs."""
    return max(round(steps / STEPS_PER_EPOCH), 1) * STEPS_PER_EPOCH


def _device() -> str:
    gpu = torch.cuda.get_device_name() if has_gpu() else "no GPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} processor cores a run, {gpu}"


def _seconds_a_step(settings: Settings, where: Tissue) -> float:
    """What a training step takes on this device, from two short trainings."""
    seconds = []
    data = annotate_all(settings.out, where)
    for steps in (CALIBRATION_STEPS, 2 * CALIBRATION_STEPS):
        folder = settings.out / f"calibration_{steps}"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed: only the rest would be timed
        began = time.monotonic()
        program(
            "pseudo_label.py", data=data, synthetic=None, rounds=0, steps=steps, batch=settings.batch,
            validation=0, out=folder, through=held(settings.out, "begin"),
        )  # fmt: skip
        seconds.append(time.monotonic() - began)
        shutil.rmtree(folder)
    if seconds[1] <= seconds[0]:
        raise InputError("this machine is too busy to be timed; begin again later, or give --steps")
    return (seconds[1] - seconds[0]) / CALIBRATION_STEPS
