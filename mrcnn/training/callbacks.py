"""What happens beside training: progress, the log of losses, checkpoints, an end when all is lost."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from mrcnn.modeling import weights
from mrcnn.training import checkpoint
from nuclei.errors import InputError
from nuclei.io.files import atomic_file

LOSSES = "losses.csv"


class Progress(keras.callbacks.Callback):
    """A tqdm bar over all steps of all epochs, with the running losses."""

    def __init__(self, bar: tqdm):
        super().__init__()
        self.bar = bar

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.update(epoch * self.params["steps"] - self.bar.n)  # past what a resumed training has done

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()
        self.bar.set_postfix({_short(name): f"{value:.2f}" for name, value in logs.items()}, refresh=False)


def _short(name: str) -> str:
    return name.removeprefix("mrcnn_").removesuffix("_loss")


class StopOnNonFinite(keras.callbacks.Callback):
    """End at once when the loss is no longer a number."""

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError("the loss is no longer finite; train with a smaller learning rate")


def _numbers(row: dict[str, str]) -> dict[str, float]:
    return {name: int(float(value)) if name == "epoch" else float(value) for name, value in row.items()}


class LossLog(keras.callbacks.Callback):
    """The losses of every epoch in `losses.csv`, so that a resumed training has them all.

    Args:
        folder: of the logs.
        epochs: how many were done before; later rows, of an epoch whose weights were not kept, go.
    """

    def __init__(self, folder: Path, epochs: int):
        super().__init__()
        self.path = Path(folder) / LOSSES
        self.rows = [row for row in self._read() if row["epoch"] <= epochs]

    def _read(self) -> list[dict[str, float]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [_numbers(row) for row in csv.DictReader(file)]

    @property
    def losses(self) -> dict[str, list[float]]:
        """Name -> one value an epoch; `val_loss` and its parts where there is a validation dataset."""
        names = [name for name in (self.rows[-1] if self.rows else {}) if name != "epoch"]
        return {name: [row[name] for row in self.rows if name in row] for name in names}

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}})
        with atomic_file(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[-1]), extrasaction="ignore", restval="nan")
            writer.writeheader()
            writer.writerows(self.rows)


class Checkpoints(keras.callbacks.Callback):
    """Weights and state after every epoch, and the weights of the best one by its validation loss.

    Args:
        folder: of the logs.
        name: of the configuration.
        kept: how many epochs stay on disk; 0 keeps all.
        validation: the losses on the validation dataset of the epochs done before.
    """

    def __init__(self, folder: Path, name: str, kept: int, validation: list[float]):
        super().__init__()
        self.folder, self.name, self.kept = folder, name, kept
        # Epochs that had no validation dataset are not a number.
        self.best = min((loss for loss in validation if np.isfinite(loss)), default=np.inf)

    def on_epoch_end(self, epoch, logs=None):
        checkpoint.save(self.folder, self.name, epoch + 1, self.model, self.kept)
        if logs.get("val_loss", np.inf) < self.best:
            self.best = logs["val_loss"]
            weights.write(checkpoint.best_path(self.folder, self.name), self.model.network)


class Events(keras.callbacks.TensorBoard):
    """TensorBoard's events. InputError where they cannot be written, as of every other file."""

    def __init__(self, folder: Path):
        super().__init__(str(folder), write_graph=False)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        import tensorflow as tf  # it writes them for every backend

        try:
            yield
        except tf.errors.OpError as error:
            raise InputError(
                f"cannot write TensorBoard's events into {self.log_dir}; check its permissions and the free "
                "disk space"
            ) from error


def _telling(name: str) -> Callable:
    """A method of TensorBoard's callback within `Events._writing`: any of them may write."""

    def method(self: Events, *arguments: object, **named: object) -> object:
        with self._writing():
            return getattr(keras.callbacks.TensorBoard, name)(self, *arguments, **named)

    return method


for _name in vars(keras.callbacks.TensorBoard):
    if _name == "set_model" or _name.startswith("on_"):
        setattr(Events, _name, _telling(_name))


def beside(
    log: LossLog, bar: tqdm, name: str, kept: int, custom: Sequence[keras.callbacks.Callback] | None
) -> list[keras.callbacks.Callback]:
    """All that goes on beside a training. What is done after an epoch comes before its checkpoint.

    Killed in between, a resumed training repeats the epoch; the other way round it would be left out.

    Args:
        log: of the losses; its folder is that of the training.
        bar: over all steps.
        name: of the configuration.
        kept: how many epochs stay on disk; 0 keeps all.
        custom: the user's own.
    """
    folder = log.path.parent
    return [
        log,
        *(custom or []),
        Checkpoints(folder, name, kept, log.losses.get("val_loss", [])),
        StopOnNonFinite(),
        Progress(bar),
        Events(folder),
    ]
