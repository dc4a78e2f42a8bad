"""Which processors the network computes on."""

from __future__ import annotations

import logging
import shutil
from functools import cache

import keras

from nuclei import devices as torch_devices

log = logging.getLogger(__name__)


@cache
def has_gpu() -> bool:
    """Whether the network computes on a GPU."""
    if keras.backend.backend() == "torch":
        return torch_devices.has_gpu()
    return any(device.lower().startswith("gpu") for device in keras.distribution.list_devices())


@cache
def repeat_exactly() -> None:
    """From now on this program's steps on a processor come out as in any run of the same seed, to the bit.

    Without it TensorFlow's threads add up the gradient of ROIAlign in whatever order they end: runs part in
    the sixth digit and, once other regions are drawn by it, in the second. It costs a step less than 10 %.
    On a GPU some operations know no such order and would refuse.
    """
    if keras.backend.backend() == "tensorflow" and not has_gpu():
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


@cache
def advise() -> None:
    """Say it, once, where a GPU lies idle because only PyTorch sees it."""
    # Without a driver there is no GPU, and nobody need be asked.
    if shutil.which("nvidia-smi") and not has_gpu() and torch_devices.has_gpu():
        log.warning(
            f"the GPU is visible to PyTorch but not to {keras.backend.backend()}: set the environment "
            "variable KERAS_BACKEND=torch to compute on it"
        )
