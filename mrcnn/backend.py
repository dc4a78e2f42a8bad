"""The library that computes behind Keras, which the environment variable KERAS_BACKEND names, and its device.

Keras and the libraries are imported within functions: scripts check the backend without waiting for them.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from functools import cache

from nuclei.errors import InputError

log = logging.getLogger(__name__)

VARIABLE = "KERAS_BACKEND"
BACKENDS = ("tensorflow", "torch", "jax")


def check() -> None:
    """InputError where Keras could not be imported with that backend: it shows before slow work."""
    name = os.environ.get(VARIABLE) or BACKENDS[0]
    if name not in BACKENDS:
        raise InputError(
            f"the environment variable {VARIABLE} is {name!r}; set it to {' or '.join(BACKENDS)}, or unset it"
        )
    if importlib.util.find_spec(name) is None:
        raise InputError(f"the environment variable {VARIABLE} is {name!r}, which is not installed; unset it")


@cache
def has_gpu() -> bool:
    """Whether the network computes on a GPU."""
    import keras

    if keras.backend.backend() == "torch":
        return _torch_has_gpu()
    return any(device.lower().startswith("gpu") for device in keras.distribution.list_devices())


def _torch_has_gpu() -> bool:
    from nuclei import devices

    return devices.has_gpu()


@cache
def repeat_exactly() -> None:
    """From now on this program's steps on a processor come out as in any run of the same seed, to the bit.

    Without it TensorFlow's threads add up the gradient of ROIAlign in whatever order they end: runs part in
    the sixth digit and, once other regions are drawn by it, in the second. It costs a step less than 10 %.
    On a GPU some operations know no such order and would refuse.
    """
    import keras

    if keras.backend.backend() == "tensorflow" and not has_gpu():
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


@cache
def advise() -> None:
    """Say it, once, where a GPU lies idle because only PyTorch sees it."""
    import keras

    # Without a driver there is no GPU, and nobody need be asked.
    if shutil.which("nvidia-smi") and not has_gpu() and _torch_has_gpu():
        log.warning(
            f"the GPU is visible to PyTorch but not to {keras.backend.backend()}: set the environment "
            f"variable {VARIABLE}=torch to compute on it"
        )
