"""Which processors the network computes on."""

from __future__ import annotations

import shutil
from functools import cache

import keras

from nuclei import features


@cache
def has_gpu() -> bool:
    """Whether the network computes on a GPU."""
    if keras.backend.backend() == "torch":
        return features.has_gpu()
    return any(device.lower().startswith("gpu") for device in keras.distribution.list_devices())


@cache
def advise() -> None:
    """Say it, once, where a GPU lies idle because only PyTorch sees it."""
    # Without a driver there is no GPU, and nobody need be asked.
    if shutil.which("nvidia-smi") and not has_gpu() and features.has_gpu():
        print(
            f"the GPU is visible to PyTorch but not to {keras.backend.backend()}: set the environment "
            "variable KERAS_BACKEND=torch to compute on it"
        )
