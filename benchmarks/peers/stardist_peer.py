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

from benchmarks.peers.common import Pair, Peer, run_peer
from mrcnn.data.augment import turn

NAME = "stardist"
RAYS, GRID = 32, (2, 2)
SIDE, DIVISOR = 256, 16  # px, of a training patch; the grid and three poolings halve it four times
TILE = 512  # px
PERCENTILES = 1, 99.8
VALIDATION = 0.15  # share of the patches


def train(folder: Path, pairs: list[Pair], seconds: float, seed: int) -> dict:
    """Fit for `seconds`, keep the weights that validate best, then fit the thresholds to the same patches."""
    import keras
    from stardist.models import Config2D, StarDist2D

    keras.utils.set_random_seed(seed)
    fitted, validated = split(prepared(pairs), seed)
    side = min(SIDE, *(min(labels.shape) for _, labels in pairs)) // DIVISOR * DIVISOR
    config = Config2D(
        axes="YXC",
        n_channel_in=3,
        n_rays=RAYS,
        grid=GRID,
        train_patch_size=(side, side),
        train_tensorboard=False,
    )
    model = StarDist2D(config, name=NAME, basedir=str(folder))
    model.prepare_for_training()
    model.callbacks.append(_stop_after(seconds))
    model.train(*fitted, validation_data=validated, augmenter=_augmenter(seed), seed=seed)
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


def split(pairs: list[Pair], seed: int) -> tuple[tuple[list, list], tuple[list, list]]:
    """(images, labels) to fit and to validate; a single pair serves for both."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    count = max(1, round(VALIDATION * len(pairs)))
    fitted, validated = order[count:], order[:count]
    fit, validate = (
        ([pairs[i][0] for i in part], [pairs[i][1] for i in part])
        for part in (fitted if len(fitted) else validated, validated)
    )
    return fit, validate


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
