"""Train 2,000 steps and detect 10,000 times in one program: memory stays flat.

    python -m tests.campaigns.long

Prints the growth in MB per 1,000 steps, a line fitted from a tenth of the way on.
"""

from __future__ import annotations

import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tyro

from mrcnn.model import MaskRCNN
from tests.tiny_network import Discs, config

FLAT = 20.0  # MB per 1,000 steps
PATCHES = Discs([(30, 30), (80, 40), (60, 100)], [(20, 100), (64, 64)])


@dataclass(frozen=True)
class Settings:
    steps: int = 2_000  # of training
    detections: int = 10_000


class Memory(keras.callbacks.Callback):
    """What the program uses after each step, MB."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[float] = []

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.used.append(used())


def main(settings: Settings) -> None:
    memory = Memory()
    with tempfile.TemporaryDirectory() as folder:
        network = MaskRCNN("training", config(STEPS_PER_EPOCH=100, CHECKPOINTS_KEPT=1), Path(folder))
        network.train(PATCHES, None, 1e-3, -(-settings.steps // 100), custom_callbacks=[memory])
        image, detecting = PATCHES.load_image(0), []
        for _ in range(settings.detections):
            network.detect([image])
            detecting.append(used())
    slopes = {"training": slope(memory.used), "detection": slope(detecting)}
    said = ", ".join(f"{name} {value:+.1f} MB per 1,000" for name, value in slopes.items())
    print(f"long: {len(memory.used)} steps, {len(detecting)} detections; {said}; now {used():.0f} MB")
    raise SystemExit(max(slopes.values()) > FLAT)


def used() -> float:
    """Memory that the program occupies, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def slope(values: list[float]) -> float:
    """Growth per 1,000 values, by least squares, without the first tenth."""
    later = np.array(values[len(values) // 10 :])
    return float(np.polyfit(np.arange(len(later)), later, 1)[0] * 1_000)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
