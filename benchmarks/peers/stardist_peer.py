"""StarDist, trained from random weights as documented: `python -m benchmarks.peers.stardist_peer`.

Source: Schmidt et al., "Cell detection with star-convex polygons", MICCAI 2018; the notebooks examples/2D of
its repository. Its weights for H&E, 2D_versatile_he, are downloaded from GitHub, not installed by pip; they
were trained on MoNuSeg, whose images include Kumar's, so a score on Kumar would not be one on unseen images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers.common import run_peer
from benchmarks.peers.peer import Lesson, Pair, Peer
from benchmarks.peers.search import hold_out
from mrcnn.data.augment import turn

NAME = "stardist"
RAYS, GRID = 32, (2, 2)
LEARNING_RATE = 3e-4
SIDE, DIVISOR = 256, 16  # px, of a training patch; the grid and three poolings halve it four times
TILE = 512  # px
PERCENTILES = 1, 99.8
VALIDATION = 0.15  # share of the patches
BEST = "weights_best.h5"  # as StarDist names it


def train(folder: Path, pairs: list[Pair], lesson: Lesson) -> dict:
    """Fit for its time, keep the weights that validate best, then fit the thresholds to the same patches."""
    import keras
    from stardist.models import Config2D, StarDist2D

    keras.utils.set_random_seed(lesson.seed)
    fitted, validated = (_apart(part) for part in hold_out(prepared(pairs), lesson.seed, VALIDATION))
    side = min(SIDE, *(min(labels.shape) for _, labels in pairs)) // DIVISOR * DIVISOR
    config = Config2D(
        axes="YXC",
        n_channel_in=3,
        n_rays=RAYS,
        grid=GRID,
        train_patch_size=(side, side),
        train_learning_rate=LEARNING_RATE * lesson.rate,
        train_tensorboard=False,
    )
    model = StarDist2D(config, name=NAME, basedir=str(folder))
    model.prepare_for_training()
    if lesson.start:
        model.load_weights(str((lesson.start / NAME / BEST).resolve()))
    model.callbacks.append(_stop_after(lesson.seconds))
    model.train(*fitted, validation_data=validated, augmenter=_augmenter(lesson.seed), seed=lesson.seed)
    model.optimize_thresholds(*validated)
    steps = int(model.keras_model.optimizer.iterations.numpy())
    return {
        "steps": steps,
        "validation_patches": len(validated[0]),
        "thresholds": model.thresholds._asdict(),
    }


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The trained model with its thresholds, tile by tile."""
    from stardist.models import StarDist2D

    model = StarDist2D(None, name=NAME, basedir=str(folder))

    def segment(image: np.ndarray) -> np.ndarray:
        tiles = [math.ceil(length / TILE) for length in image.shape[:2]]
        return model.predict_instances(normalised(image), n_tiles=(*tiles, 1), show_tile_progress=False)[0]

    return segment


def normalised(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> float32, percentiles 1 and 99.8 of all channels together at 0 and 1."""
    from csbdeep.utils import normalize

    # Together, since the ratio of the channels is the stain.
    return normalize(image, *PERCENTILES, axis=(0, 1, 2))


def prepared(pairs: list[Pair]) -> list[Pair]:
    """Images normalised, holes in nuclei filled: a star-convex polygon has none."""
    from stardist import fill_label_holes

    return [(normalised(image), fill_label_holes(labels)) for image, labels in pairs]


def _apart(pairs: list[Pair]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images and labels as two lists."""
    return [image for image, _ in pairs], [labels for _, labels in pairs]


def _augmenter(seed: int) -> Callable[[np.ndarray, np.ndarray], Pair]:
    """The changes of the training notebook: turns, mirrors, intensity and noise."""
    rng = np.random.default_rng(seed)

    def augment(image: np.ndarray, labels: np.ndarray) -> Pair:
        image, labels = turn(image, labels, rng)
        image = image * rng.uniform(0.6, 2) + rng.uniform(-0.2, 0.2)
        noise = rng.uniform(0, 0.02) * rng.standard_normal(image.shape)
        return (image + noise).astype(np.float32), labels

    return augment


def _stop_after(seconds: float):
    """A Keras callback that ends the training at the next step; the last epoch is validated all the same."""
    import keras

    class StopAfter(keras.callbacks.Callback):
        end = time.monotonic() + seconds

        def on_train_batch_end(self, batch, logs=None):
            if time.monotonic() > self.end:
                self.model.stop_training = True

    return StopAfter()


PEER = Peer(NAME, ("stardist", "tensorflow-cpu", "keras"), "random", train, load)

if __name__ == "__main__":
    run_peer(PEER, __doc__)
