import csv

import keras
import numpy as np
import pytest

from mrcnn.model import MaskRCNN
from mrcnn.selftraining import validation
from mrcnn.selftraining.validation import TABLE, Validation, averaged, best_epoch
from mrcnn.training import checkpoint
from tests.tiny_network import Discs, config, discs, eagerly

PATCHES = Discs([(30, 30), (80, 40), (60, 100)])
PAIR = discs([(30, 30)])


@pytest.fixture(autouse=True)
def without_compiling():
    with eagerly():
        yield


def train(folder, scores, monkeypatch, epochs=3):
    """A training whose epochs score so; returns it and the weights that each of them was scored with."""
    network = MaskRCNN("training", config(WEIGHT_AVERAGING=0.5), folder)
    best, seen = Validation(network.predictor, network.log_dir, [PAIR]), []
    monkeypatch.setattr(best, "score", lambda: seen.append(network.keras_model.get_weights()) or next(scores))
    network.train(PATCHES, None, 1e-3, epochs, custom_callbacks=[best])
    return network, best, seen


def rows(network):
    with (network.log_dir / TABLE).open(newline="") as file:
        return [(row["epoch"], row["aji"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_the_weights_of_the_best_epoch_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "WINDOW", 2)
    network, best, seen = train(tmp_path, iter([0.3, 0.9, 0.1]), monkeypatch)
    assert rows(network) == [("1", "0.3"), ("2", "0.9"), ("3", "0.1")]
    best.restore()
    for one, other in zip(network.keras_model.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.5], 1),
        ([0.5, 0.9, 0.4], 3),  # too few for a mean of five
        ([0.9, 0.5, 0.5, 0.5, 0.5, 0.51, 0.52, 0.52], 5),  # means 0.58, 0.504, ...: the first full one
        ([0.9, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3], 5),
        ([0.3, 0.4, 0.45, 0.48, 0.55, 0.48, 0.49, 0.5, 0.51, 0.52, 0.53], 11),  # 0.55 was luck
        ([0.5] * 7, 7),
        ([0.6] * 8 + [0.5] * 8, 8),
    ],
)
def test_the_best_epoch_is_that_of_the_best_running_mean(scores, best):
    assert best_epoch(dict(enumerate(scores, 1))) == best


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("place", ["score", "checkpoint"])
@pytest.mark.slow
def test_killed_after_an_epoch_it_repeats_that_epoch(tmp_path, monkeypatch, place):
    """Whether while validating or before the checkpoint is written: no epoch is left without a score."""
    monkeypatch.setattr(validation, "WINDOW", 2)

    def scores_until_killed():
        yield from (0.6, 0.2)
        if place == "score":
            raise Killed
        monkeypatch.setattr(checkpoint, "save", kill)
        yield 0.9

    def kill(*arguments):
        raise Killed

    with pytest.raises(Killed):
        train(tmp_path, scores_until_killed(), monkeypatch)
    monkeypatch.undo()
    monkeypatch.setattr(validation, "WINDOW", 2)
    again = MaskRCNN("training", config(WEIGHT_AVERAGING=0.5), tmp_path)
    again.load_weights(again.find_last())
    assert again.epoch == 2
    best, seen = Validation(again.predictor, again.log_dir, [PAIR]), []
    monkeypatch.setattr(best, "score", lambda: seen.append(again.keras_model.get_weights()) or 0.9)
    again.train(PATCHES, None, 1e-3, 3, custom_callbacks=[best])
    assert rows(again) == [("1", "0.6"), ("2", "0.2"), ("3", "0.9")]
    best.restore()
    for one, other in zip(again.keras_model.get_weights(), seen[0], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_training_goes_on_with_its_own_weights(tmp_path):
    network = MaskRCNN("training", config(WEIGHT_AVERAGING=0.9), tmp_path)
    trainer = network._trainer(1e-2)
    before = [keras.ops.convert_to_numpy(variable) for variable in trainer.trainable_variables]
    for variable in trainer.optimizer.variables:
        if "average" in variable.name:
            variable.assign(variable + 1)
    with averaged(trainer):
        inside = [keras.ops.convert_to_numpy(variable) for variable in trainer.trainable_variables]
    for old, mean, now in zip(before, inside, trainer.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(now))
        np.testing.assert_array_equal(mean, np.ones_like(old))  # an average begins at zero


def test_the_score_is_the_mean_aji(monkeypatch):
    image, truth = PAIR
    found = iter([truth, np.zeros_like(truth)])
    monkeypatch.setattr(validation.tiling, "segment", lambda predictor, image: (next(found), None))
    assert Validation(None, None, [PAIR, PAIR]).score() == pytest.approx(0.5)  # AJI of 1 and of 0
