"""Which epoch's weights segment patches best that are not trained on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from mrcnn.inference import tiling
from mrcnn.inference.predictor import Predictor
from mrcnn.modeling import weights
from mrcnn.training.trainer import Trainer
from nuclei.evaluation import metrics
from nuclei.io.files import atomic_file

TABLE, BEST = "validation.csv", "best.h5"
WINDOW = 5  # epochs whose scores are averaged: a few patches show too few nuclei for one score to be trusted


class Validation(keras.callbacks.Callback):
    """Segments the validation patches after every epoch and keeps the weights of the best one by mean AJI.

    Which one that is says `best_epoch`. With WEIGHT_AVERAGING these are the averaged weights. The scores lie
    in `validation.csv`, the weights in `best.h5`; a resumed training goes on with them.

    Args:
        predictor: of the network that is trained.
        folder: of the training's logs.
        pairs: images (H, W, 3) uint8 and labels (H, W) int32.
    """

    def __init__(self, predictor: Predictor, folder: Path, pairs: Sequence[tuple[np.ndarray, np.ndarray]]):
        super().__init__()
        self.predictor = predictor
        self.folder = folder
        self.pairs = pairs

    @property
    def scores(self) -> dict[int, float]:
        """Epoch, from 1 on -> the mean AJI after it; as the file has it, so that a kill loses none."""
        path = self.folder / TABLE
        if not path.exists():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            return {int(row["epoch"]): float(row["aji"]) for row in csv.DictReader(file)}

    def on_epoch_end(self, epoch, logs=None):
        scores = {number: score for number, score in self.scores.items() if number <= epoch}
        with averaged(self.model):
            scores[epoch + 1] = round(self.score(), 5)
            if best_epoch(scores) == epoch + 1:
                weights.write(self.folder / BEST, self.predictor.network)
        with (
            atomic_file(self.folder / TABLE) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(("epoch", "aji"))
            writer.writerows(scores.items())

    def score(self) -> float:
        """The mean AJI of the network, as it is, over the patches."""
        pairs = zip(self.pairs, self.predict(), strict=True)
        return float(np.mean([metrics.aji(truth, labels) for (_, truth), labels in pairs]))

    def predict(self) -> list[np.ndarray]:
        """The labels (H, W) int32 of the network, as it is, for each patch."""
        return [tiling.segment(self.predictor, image)[0] for image, _ in self.pairs]

    def restore(self) -> None:
        """Give the network the best weights."""
        weights.read(self.folder / BEST, self.predictor.network)


def best_epoch(scores: dict[int, float]) -> int:
    """The epoch up to which the mean of the last WINDOW scores is highest; of equal ones the latest.

    Args:
        scores: of epochs 1, 2, ...; of fewer than WINDOW the latest epoch counts, since one or two are luck.
    """
    recent = {
        epoch: np.mean([scores[e] for e in range(epoch - WINDOW + 1, epoch + 1)])
        for epoch in scores
        if epoch >= WINDOW
    }
    return max(recent or scores, key=lambda epoch: (recent.get(epoch, 0), epoch))


@contextmanager
def averaged(trainer: Trainer) -> Iterator[None]:
    """Within it the network has the running average of its weights, if the optimiser keeps one."""
    if not trainer.optimizer.use_ema:
        yield
        return
    variables = trainer.trainable_variables
    last = [keras.ops.convert_to_numpy(variable) for variable in variables]
    trainer.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, last, strict=True):
            variable.assign(value)
