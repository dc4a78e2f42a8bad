"""Make the start weights: train on generated tissue alone, from ImageNet's weights. No real image is read.

    python -m mrcnn.selftraining.make_start

An interrupted run goes on. On another machine the weights differ in the last digits, as its arithmetic does.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcnn.config import CONFIG, WEIGHTS, fingerprint
from mrcnn.selftraining import start
from mrcnn.selftraining.rounds import SelfTraining
from mrcnn.selftraining.settings import Training
from mrcnn.selftraining.splits import Material, Source
from nuclei.cli import run


@dataclass(frozen=True)
class Settings:
    out: Path = Path("runs/start_weights")  # checkpoints, curves and the model
    to: Path = (
        start.FOLDER
    )  # the model in half precision goes here; by default in the place of the present one
    steps: int = 1500  # of training
    batch: int = 4  # images a step
    learning_rate: float = start.RATE  # at its peak
    seed: int = 2  # of the tissue, the weights and the augmentation


def main(settings: Settings) -> None:
    nothing = Source(settings.out, [])
    training = Training(
        settings.steps, settings.batch, settings.learning_rate, settings.seed, start=start.IMAGENET
    )
    material = Material({}, validation=nothing, unlabelled=nothing)
    model = SelfTraining(material, settings.out, settings.out, rounds=0, training=training).run()
    publish(model, settings.to)
    print(f"wrote {settings.to}/; next: score them, and write the figures into its card, README.md")


def publish(model: Path, to: Path) -> None:
    """Write a model's weights in half precision, its configuration and the fingerprint of both."""
    from mrcnn.model import load
    from mrcnn.modeling import weights

    weights.write(to / WEIGHTS, load(model).keras_model, np.float16)
    shutil.copy(model / CONFIG, to / CONFIG)
    (to / start.FINGERPRINT.name).write_text(fingerprint(to) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, Settings, __doc__)
