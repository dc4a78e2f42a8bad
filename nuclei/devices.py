"""The device that PyTorch computes on."""

from __future__ import annotations

import logging

import torch

from nuclei.errors import InputError

log = logging.getLogger(__name__)


def has_gpu() -> bool:
    """Whether PyTorch sees a GPU."""
    return torch.cuda.is_available()


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one. InputError where it cannot be used."""
    if name == "auto":
        name = "cuda" if has_gpu() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        log.debug("device %s: %s", name, error)
        raise InputError(
            f"--device is {name!r}, which PyTorch cannot use here; pass auto, cpu or, with a GPU, cuda"
        ) from error
