"""Checkpoints: one file of tensors a scale, with what they were made from in its header."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from csingan.training.state import State
from nuclei.errors import InputError
from nuclei.io.files import atomic_file, differences

_MADE_WITH = "made_with"


def path_of(folder: Path, scale: int) -> Path:
    """Where the checkpoint of a scale, counted from 0, lies."""
    return Path(folder) / f"scale_{scale + 1}.safetensors"


def save(path: Path, state: State, made_with: dict) -> None:
    """Write a state (see `csingan.training.state`), complete or not at all.

    Args:
        path: from `path_of`.
        state: what to write.
        made_with: what training depends on (JSON-like).

    Raises:
        InputError: the folder cannot be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {_MADE_WITH: json.dumps(made_with)})


def load(path: Path, made_with: dict) -> State | None:
    """Read a state onto the CPU; None where there is no checkpoint yet.

    Raises:
        InputError: the file is broken, or was made with something else than `made_with`.
    """
    if not Path(path).exists():
        return None
    try:
        with safe_open(path, "pt") as checkpoint:
            before = json.loads((checkpoint.metadata() or {}).get(_MADE_WITH, "{}"))
            _check(path, before, made_with)
            return {name: checkpoint.get_tensor(name) for name in checkpoint.keys()}  # noqa: SIM118
    except InputError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete it to train that scale anew") from error


def check(folder: Path, scales: int, made_with: dict) -> None:
    """Raise InputError where a checkpoint of a folder was made with something else than `made_with`."""
    for scale in range(scales):
        load(path_of(folder, scale), made_with)


def _check(path: Path, before: dict, now: dict) -> None:
    if changed := differences(before, now):
        raise InputError(
            f"{path} was made with other settings ({changed}); delete {path.parent}/ to train anew, or run "
            "with the old settings to go on"
        )
