"""The network compiled for detection, for one shape of images after another."""

from __future__ import annotations

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.modeling.network import Detector, MaskReader, Network

_MASK_PLACES = 32  # masks are read for this many places at a time: one shape to compile, little waste
_SHAPES_KEPT = 8  # image shapes for which the compiled network is kept


class Predictor:
    """Finds objects in images of any shape that the network can take; compiled once for each shape.

    Args:
        network: the network; it may be trained on in between.
    """

    def __init__(self, network: Network):
        self.network = network
        self.compiled: dict[tuple[tuple[int, int], float], tuple[Detector, MaskReader]] = {}

    @property
    def config(self) -> Config:
        """The network's settings."""
        return self.network.config

    def predict(self, images: np.ndarray, times: float = 1) -> list[dict[str, np.ndarray]]:
        """Objects in a batch of images as the network sees them, best first.

        Args:
            images: (B, H, W, 3) uint8 or float32 RGB in 0..255; H and W multiples of 64.
            times: multiplies the places for objects that the configuration has: a larger image holds more.

        Returns:
            for each image a dict of boxes (N, 4) float32 px, class_ids (N,) int32, scores (N,) float32 and
            masks (N, h, w) float32 in 0..1, each filling its box.
        """
        detector, reader = self._for_shape(tuple(images.shape[1:3]), times)
        found = detector.predict_on_batch(images.astype(np.float32))
        counts = (found["class_ids"] > 0).sum(axis=1)
        masks = self._read_masks(reader, found, counts.max())
        return [
            {
                "boxes": found["boxes"][i, :count],
                "class_ids": found["class_ids"][i, :count],
                "scores": found["scores"][i, :count],
                "masks": masks[i, :count],
            }
            for i, count in enumerate(counts)
        ]

    def _for_shape(self, shape: tuple[int, int], times: float) -> tuple[Detector, MaskReader]:
        """The compiled network for images of this shape; those not used for longest are given up."""
        key = shape, times
        if key in self.compiled:
            pair = self.compiled.pop(key)
        else:
            while len(self.compiled) >= _SHAPES_KEPT:
                del self.compiled[next(iter(self.compiled))]
            pair = Detector(self.network, times), MaskReader(self.network, shape)
            for model in pair:
                # XLA is JAX's only way; TensorFlow's own kernels are quicker on a processor.
                model.compile(jit_compile=keras.backend.backend() == "jax")
        self.compiled[key] = pair
        return pair

    def _read_masks(self, reader: MaskReader, found: dict[str, np.ndarray], count: int) -> np.ndarray:
        """Masks (B, at least count, h, w) of the first `count` places of a detection."""
        chunks = [np.zeros((len(found["boxes"]), 0, *self.config.MASK_SHAPE), np.float32)]
        for first in range(0, count, _MASK_PLACES):
            few = {name: _places(found[name], first, _MASK_PLACES) for name in ("boxes", "class_ids")}
            chunks.append(reader.predict_on_batch({"levels": found["levels"], **few}))
        return np.concatenate(chunks, axis=1)


def _places(values: np.ndarray, first: int, count: int) -> np.ndarray:
    """`count` places of values (B, D, ...) from `first` on, zeros beyond the last: one shape to compile."""
    chosen = values[:, first : first + count]
    missing = count - chosen.shape[1]
    return np.pad(chosen, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))
