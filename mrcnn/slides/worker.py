"""What a process that does tasks loads once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

# Keras takes seconds, which a finished run need not wait for.
if TYPE_CHECKING:
    from mrcnn.inference.predictor import Predictor


@functools.lru_cache(1)
def load_predictor(model: Path, fingerprint: str, confidence: float) -> Predictor:
    """The network in the folder `model`, which has this `mrcnn.config.fingerprint`, ready to be used.

    `confidence` is the smallest score of what it finds, 0..1. InputError as in `mrcnn.model.load`.
    """
    from mrcnn import model as modellib

    return modellib.load(model, DETECTION_MIN_CONFIDENCE=confidence).predictor
