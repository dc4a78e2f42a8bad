"""Which processors the network computes on."""

from __future__ import annotations

import shutil
from functools import cache

import keras


@cache
def advise() -> None:
    """Say it, once, where a GPU lies idle because only PyTorch sees it."""
    backend = keras.backend.backend()
    # Without a driver there is no GPU, and PyTorch need not be imported to ask.
    if backend == "torch" or not shutil.which("nvidia-smi") or keras.distribution.list_devices("gpu"):
        return
    from nuclei.features import has_gpu

    if has_gpu():
        print(
            f"the GPU is visible to PyTorch but not to {backend}: set the environment variable "
            "KERAS_BACKEND=torch to compute on it"
        )
