"""Choose patches, segment an image and score it, all from Python, on generated tissue.

`python -m examples.use_from_python` runs in seconds with the label-free baseline; with `--model
runs/mrcnn/model`, or any other folder that pseudo_label.py wrote, it uses the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei import label_free, tissue
from nuclei.cli import run
from nuclei.evaluation import metrics
from nuclei.io.images import write_image
from nuclei.pictures import overlay
from nuclei.selection.features import extract
from nuclei.selection.quarters import quarters
from nuclei.selection.two_stage import select


@dataclass(frozen=True)
class Settings:
    model: Path | None = None  # folder of a trained model; None: the label-free baseline
    out: Path = Path("runs/example")  # the overlay goes here


PATCH = 256  # px
SEEDS = 2  # patches of each kind of tissue
K1, K2 = 3, 4  # clusters of patches, and of quarters within each


def main(settings: Settings) -> None:
    chosen = choose_patches()
    print("annotate:", ", ".join(chosen))

    image, truth = tissue.generate("hepatic", 512, seed=1_000_000)
    labels, confidence = segment(image, settings.model)
    scores = metrics.score(truth, labels, confidence)
    print(f"found {labels.max()} nuclei;", ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))

    write_image(settings.out / "overlay.png", overlay(image, labels))
    print(f"wrote {settings.out / 'overlay.png'}")


def choose_patches() -> list[str]:
    """The names of the `K1` patches, of generated tissue, that are worth annotating."""
    names = [f"{kind}_{seed}" for kind in tissue.KINDS for seed in range(SEEDS)]
    patches = [tissue.generate(kind, PATCH, seed)[0] for kind in tissue.KINDS for seed in range(SEEDS)]
    features = extract(patches, "efficientnet_lite0")  # (N, D)
    pieces = np.concatenate([quarters(patch) for patch in patches])
    of_quarters = extract(pieces, "efficientnet_lite0").reshape(len(patches), 4, -1)  # (N, 4, D)
    return [names[record.index] for record in select(features, of_quarters, K1, K2)]


def segment(image: np.ndarray, model: Path | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The nuclei of an image as (H, W) int32 labels, and the score of each where a network found them."""
    if model is None:
        return label_free.segment(image), None
    from mrcnn import model as modellib  # imports TensorFlow, which takes seconds
    from mrcnn.inference import tiling

    return tiling.segment(modellib.load(model).predictor, image, n_views=4)


if __name__ == "__main__":
    run(main, Settings, __doc__)
