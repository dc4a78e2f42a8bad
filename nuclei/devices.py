"""The device that PyTorch computes on."""

from __future__ import annotations

import torch

from nuclei.errors import InputError


def has_gpu() -> bool:
    """Whether PyTorch sees a GPU."""
    return torch.cuda.is_available()


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one. InputError where it cannot be used."""
    if name == "auto":
        name = "cuda" if has_gpu() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used ({reason}); use --device auto or cpu") from error
