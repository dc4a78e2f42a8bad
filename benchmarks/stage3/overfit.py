"""Can the network learn at all: `python -m benchmarks.stage3.overfit [FOLDER]`, one JSON line out.

It is trained from light ImageNet weights on the middle 256 px of eight images, without augmentation, and
scored on the same. FOLDER is that of `benchmarks.label_efficiency`, of which images of lists with "train"
in their name are used; without it the tissue is generated. Curves of all losses and an overlay of the
patches lie beside figures.json. The same command goes on with a training that was cut short.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks import annotated_images
from nuclei import pictures, tissue
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.evaluation import metrics
from nuclei.folders import patches
from nuclei.folders.patches import PATCH
from nuclei.folders.runs import Run
from nuclei.io.files import read_json, write_json
from nuclei.io.images import write_image


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path | None] = None  # images/, labels/, splits.json; None: generated
    images: int = 8
    steps: int = 800  # in whole 25s
    batch: int = 2
    learning_rate: float = 1e-3  # at its peak
    seed: int = 0
    out: Path = Path("runs/overfit")


STEPS_PER_EPOCH = 25


def main(settings: Settings) -> None:
    if settings.steps < STEPS_PER_EPOCH:
        raise InputError(f"--steps is {settings.steps}; it must be at least {STEPS_PER_EPOCH}")
    run = Run(settings.out, "benchmark", asdict(settings))
    if not run.is_finished:
        run.begin()
        folder = settings.out / "patches"
        if not folder.exists():
            for name, pair in _pairs(settings).items():
                patches.write_patch(folder, name, *pair)
        figures = _learn(settings, folder)
        write_json(settings.out / "figures.json", figures)
        run.finish()
    print(json.dumps(read_json(settings.out / "figures.json")))


def _pairs(settings: Settings) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> the middle of an image and of its label image."""
    if settings.folder:
        pairs = annotated_images.read_training(settings.folder, settings.images)
        return {stem: (_middle(image), _middle(labels)) for stem, (image, labels) in pairs.items()}
    kinds = [list(tissue.KINDS)[i % len(tissue.KINDS)] for i in range(settings.images)]
    return {f"{kind}_{i}": tissue.generate(kind, PATCH, i) for i, kind in enumerate(kinds)}


def _middle(array: np.ndarray) -> np.ndarray:
    top, left = ((side - PATCH) // 2 for side in array.shape[:2])
    return array[top : top + PATCH, left : left + PATCH]


def _learn(settings: Settings, folder: Path) -> dict:
    from mrcnn.inference import tiling
    from mrcnn.selftraining.patch_dataset import PatchDataset
    from mrcnn.training.learning_rate import WarmUpAndDecay
    from mrcnn.training.trainer import LOSSES

    begin = time.monotonic()
    names = patches.list_patches(folder)
    dataset = PatchDataset()
    dataset.add_patches(folder, names)
    dataset.prepare()
    network = _network(settings)
    epochs = settings.steps // STEPS_PER_EPOCH
    rate = WarmUpAndDecay(settings.learning_rate, epochs * STEPS_PER_EPOCH)
    losses = network.train(dataset, None, rate, epochs)
    seconds = time.monotonic() - begin
    pictures.curves(settings.out / "losses.png", losses, f"epoch of {STEPS_PER_EPOCH} steps", "loss")
    scores, sheet = [], []
    for name in names:
        image, truth = patches.read_patch(folder / name), patches.read_masks(folder / name)
        found, _ = tiling.segment(network.predictor, image)
        scores.append(metrics.score(truth, found))
        sheet += [pictures.outline(image, truth), pictures.outline(image, found)]
    write_image(settings.out / "patches.png", pictures.montage(sheet, columns=4))
    aji = [score["aji"] for score in scores]
    return {
        "aji": round(float(np.mean(aji)), 4),
        "aji_sd": round(float(np.std(aji)), 4),
        "aji_of": dict(zip(names, np.round(aji, 4).tolist(), strict=True)),
        "pq": round(float(np.mean([score["pq"] for score in scores])), 4),
        "training_s": round(seconds, 1),
        "losses": {name: [round(losses[name][0], 4), round(losses[name][-1], 4)] for name in LOSSES},
    }


def _network(settings: Settings):
    """The network, new or as the last epoch left it."""
    from mrcnn.config import NucleusConfig
    from mrcnn.model import MaskRCNN

    config = NucleusConfig()
    config.IMAGES_PER_GPU = settings.batch
    config.STEPS_PER_EPOCH = STEPS_PER_EPOCH
    network = MaskRCNN("training", config, settings.out / "logs", settings.seed)
    try:
        network.load_weights(network.find_last())
    except FileNotFoundError:
        network.load_weights(network.get_imagenet_weights(), by_name=True)
    return network


if __name__ == "__main__":
    run(main, Settings, __doc__)
