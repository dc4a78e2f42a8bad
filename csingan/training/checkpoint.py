"""Checkpoints: one safetensors file for each scale of a patch."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from csingan.training.state import State
from nuclei.errors import InputError, unreadable
from nuclei.io.files import atomic_file


def path_of(folder: Path, scale: int) -> Path:
    """The path of the checkpoint of a scale, counted from 0."""
    return Path(folder) / f"scale_{scale + 1}.safetensors"


def save(path: Path, state: State) -> None:
    """Write a state (see `csingan.training.state`), complete or not at all.

    Args:
        path: from `path_of`.
        state: what to write.

    Raises:
        InputError: the folder cannot be written.
    """
    with atomic_file(path) as temporary:
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        # Written by Python, whose error of a full disk is the system's; the library has one of its own.
        temporary.write_bytes(safetensors.torch.save(tensors))


def load(path: Path, first: State) -> State | None:
    """Read a state onto the CPU; None where there is no checkpoint yet.

    Args:
        path: from `path_of`.
        first: the state before the first step, from `csingan.training.state.first_state`.

    Raises:
        InputError: the file is broken, or its networks are not of the shape of those in `first`.
    """
    if not Path(path).exists():
        return None
    try:
        # Not mapped into memory: Windows would not let the file be replaced.
        state = safetensors.torch.load(Path(path).read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise unreadable(path, "a checkpoint", error, "delete it to train that scale anew") from error
    if _shapes(state) != _shapes(first):
        raise InputError(
            f"{path} is the checkpoint of another network; delete {Path(path).parent}/ to train anew, or "
            "name another folder"
        )
    return state


def _shapes(state: State) -> dict:
    """The shapes of all tensors that every state of a scale has alike."""
    changing = ("adam.", "losses")
    return {name: tensor.shape for name, tensor in state.items() if not name.startswith(changing)}
