"""How fast the network is: `python -m benchmarks.stage3.segmentation`, one JSON line out.

train_vs_torchvision, detect_vs_torchvision: images a second of a training step and of a detection, over
those of torchvision's Mask R-CNN doing the same (`benchmarks.stage3.speed`), on TensorFlow; `train` and
`detect` have the figures behind them and those of the other two backends. Each runs in a process of its own,
torchvision before and after the others, and medians are compared.

light_1000px_s: seconds for an image of 1000 x 1000 px of the light network, after it was trained on four
generated patches for a short while, so that it finds nuclei; light_steps_per_s: of that training, batches of
two patches.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from nuclei import tissue
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.patches import PATCH, list_patches, write_patch
from nuclei.io.files import write_json

BACKENDS = ("tensorflow", "torch", "jax")
PEER = "torchvision"


@dataclass(frozen=True)
class Settings:
    backends: tuple[str, ...] = BACKENDS  # the first is compared in the two ratios
    light_steps: int = 150  # training steps of the light network
    out: Path = Path("runs/bench_mrcnn")  # figures.json


def main(settings: Settings) -> None:
    unknown = sorted(set(settings.backends) - set(BACKENDS))
    if unknown or not settings.backends:
        raise InputError(f"--backends is {' '.join(unknown) or 'empty'}; known are {' '.join(BACKENDS)}")
    figures = _light(settings.light_steps)
    for task in ("train", "detect"):
        measured: dict[str, list] = {system: [] for system in (PEER, *settings.backends)}
        for system in tqdm((PEER, *settings.backends, PEER), desc=task, unit="system"):
            measured[system].append(_measure(system, task))
        figures[task] = {system: _summary(runs) for system, runs in measured.items()}
        rates = {system: 1 / figures[task][system]["median_s"] for system in measured}
        for backend in settings.backends:
            figures[task][backend]["vs_torchvision"] = round(rates[backend] / rates[PEER], 2)
        figures[f"{task}_vs_torchvision"] = figures[task][settings.backends[0]]["vs_torchvision"]
    write_json(settings.out / "figures.json", figures)
    print(json.dumps(figures))


def _measure(system: str, task: str) -> dict:
    """What `benchmarks.stage3.speed` says, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.stage3.speed", system, task]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        last = finished.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError(f"{' '.join(command[1:])} failed: {last[0]}")
    return json.loads(finished.stdout.splitlines()[-1])


def _summary(runs: list[dict]) -> dict:
    seconds = [value for each in runs for value in each["seconds"]]
    return {
        "median_s": round(statistics.median(seconds), 3),
        "fastest_s": min(seconds),
        "slowest_s": max(seconds),
        "first_step_s": min(each["first_step_s"] for each in runs),
        "peak_mb": max(each["peak_mb"] for each in runs),
    }


def _light(steps: int) -> dict:
    """The light network on this process's backend: trained a little, then timed on a large image."""
    from keras.callbacks import LambdaCallback

    from mrcnn.config import NucleusConfig
    from mrcnn.data.augment import augment
    from mrcnn.inference import tiling
    from mrcnn.model import MaskRCNN, WarmUpAndDecay

    config = NucleusConfig()
    config.STEPS_PER_EPOCH = steps
    ends = []
    clock = LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    with TemporaryDirectory() as folder:
        network = MaskRCNN("training", config, folder)
        network.load_weights(network.get_imagenet_weights(), by_name=True)
        schedule = WarmUpAndDecay(1e-3, steps)
        dataset = _patches(Path(folder))
        network.train(dataset, None, schedule, 1, augmentation=augment, custom_callbacks=[clock])
    image, truth = tissue.generate("carcinoma", 1000, 99)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        found, _ = tiling.segment(network.predictor, image)
        seconds.append(time.perf_counter() - start)
    return {
        "light_1000px_s": round(statistics.median(seconds[1:]), 2),
        "light_1000px_nuclei": int(found.max()),
        "light_1000px_nuclei_true": int(truth.max()),
        "light_steps_per_s": round(1 / statistics.median(np.diff(ends[1:])), 2),
    }


def _patches(folder: Path):
    """Four generated patches as a dataset."""
    from mrcnn.selftraining.patch_dataset import PatchDataset

    for seed in range(4):
        write_patch(folder / "patches", f"patch_{seed}", *tissue.generate("carcinoma", PATCH, seed))
    dataset = PatchDataset()
    dataset.add_patches(folder / "patches", list_patches(folder / "patches"))
    dataset.prepare()
    return dataset


if __name__ == "__main__":
    run(main, Settings, __doc__)
