"""What a training leaves after each epoch, and how it goes on from there.

The weights of epoch 3 of a configuration called nucleus are `mask_rcnn_nucleus_0003.h5`, as Matterport has
it, and can be read by it. What else a training needs to go on as if nothing had happened (the optimiser's
variables, the state of its random numbers) lies beside the newest of them, in `state_0003.npz`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.modeling import weights
from mrcnn.training.trainer import Trainer
from nuclei.io.files import atomic_file

_WEIGHTS_FILE = re.compile(r"mask_rcnn_.+_(\d{4,})\.h5")
_TIME = re.compile(r"\d{8}T\d{4,6}$")  # ends the name of a folder of logs; Matterport's is without seconds


def weights_path(folder: Path, name: str, epoch: int) -> Path:
    """Where the weights after `epoch` epochs lie."""
    return Path(folder) / f"mask_rcnn_{name}_{epoch:04d}.h5"


def best_path(folder: Path, name: str) -> Path:
    """Where the weights of the epoch with the smallest validation loss lie."""
    return Path(folder) / f"mask_rcnn_{name}_best.h5"


def epoch_of(path: Path) -> int | None:
    """How many epochs the training had done that wrote this file; None if the name does not say."""
    match = _WEIGHTS_FILE.fullmatch(Path(path).name)
    return int(match.group(1)) if match else None


def is_in_logs(path: Path) -> bool:
    """Whether a file lies in a folder of logs; one that was put elsewhere is no training to go on with."""
    return _TIME.search(Path(path).resolve().parent.name) is not None


def list_weights(folder: Path, name: str) -> list[Path]:
    """The weights of all epochs of the configuration `name` kept in a folder of logs, oldest first."""
    return [path for _, path in _by_epoch(folder, name)]


def _by_epoch(folder: Path, name: str) -> list[tuple[int, Path]]:
    own = re.compile(rf"mask_rcnn_{re.escape(name)}_(\d{{4,}})\.h5")
    matches = ((own.fullmatch(path.name), path) for path in Path(folder).glob("mask_rcnn_*.h5"))
    return sorted((int(match[1]), path) for match, path in matches if match)


def find_last(model_dir: Path, name: str) -> Path:
    """The weights that the last training of the configuration `name` wrote last.

    Raises:
        FileNotFoundError: there are none.
    """
    name = name.lower()
    # Another configuration's name may begin with this one.
    logs = [path for path in Path(model_dir).glob(f"{name}*") if _TIME.fullmatch(path.name[len(name) :])]
    for folder in sorted(logs, reverse=True):
        if found := list_weights(folder, name):
            return found[-1]
    raise FileNotFoundError(f"no weights of a training of {name!r} in {model_dir}")


def save(folder: Path, name: str, epoch: int, trainer: Trainer, kept: int) -> None:
    """Write weights and state after `epoch` epochs; remove what is no longer needed.

    Args:
        folder: of the logs.
        name: of the configuration.
        epoch: epochs done.
        trainer: built and compiled.
        kept: how many of the newest weights stay on disk; 0 keeps all.
    """
    state = _state_path(folder, epoch)
    with atomic_file(state) as temporary:
        variables = _state(trainer)
        values: dict[str, Any] = {str(i): np.asarray(variable) for i, variable in enumerate(variables)}
        np.savez(temporary, trained=_trained(trainer), names=[v.name for v in variables], **values)
    weights.write(weights_path(folder, name, epoch), trainer.network)
    for old in Path(folder).glob("state_*.npz"):
        if old != state:
            old.unlink()
    # Those of later epochs are there where a training goes on from an older checkpoint than its last.
    until_now = [path for number, path in _by_epoch(folder, name) if number <= epoch]
    for old in until_now[:-kept] if kept else []:
        old.unlink()


def restore(path: Path, trainer: Trainer) -> bool:
    """Give the trainer the state that was written with the weights in `path`.

    Returns:
        whether there was one. There is none beside older weights; and the optimiser starts anew if other
        layers were trained then, or another optimiser was in use.
    """
    epoch = epoch_of(path)
    if epoch is None or not (state := _state_path(Path(path).parent, epoch)).exists():
        return False
    with np.load(state) as values:
        variables = _state(trainer)
        trained = np.array_equal(values["trained"], _trained(trainer))
        if not trained or not np.array_equal(values["names"], [v.name for v in variables]):
            return False
        for i, variable in enumerate(variables):
            variable.assign(values[str(i)])
    return True


def _state_path(folder: Path, epoch: int) -> Path:
    return Path(folder) / f"state_{epoch:04d}.npz"


def _state(trainer: Trainer) -> list[keras.Variable]:
    """What a training changes beside the weights; a learning rate is the caller's to set anew."""
    variables = [v for v in trainer.optimizer.variables if v.name != "learning_rate"]
    return [*variables, trainer.seed.state]


def _trained(trainer: Trainer) -> list[str]:
    """Names of the trained weights, in the order of the optimiser's variables."""
    names = {
        id(variable): f"{name}/{variable.name}"
        for name, layer in weights.layers(trainer.network).items()
        for variable in layer.weights
    }
    return [names[id(variable)] for variable in trainer.trainable_variables]
