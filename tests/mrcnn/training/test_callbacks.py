import csv
import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from tqdm import tqdm

from mrcnn.modeling import weights
from mrcnn.modeling.network import Network
from mrcnn.training import callbacks, checkpoint
from mrcnn.training.trainer import Trainer
from nuclei.errors import InputError
from tests.tiny_network import config


def read(folder):
    with (folder / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_has_a_row_an_epoch(tmp_path):
    log = callbacks.LossLog(tmp_path, 0)
    assert log.losses == {}
    log.on_epoch_end(0, {"loss": 3.0, "val_loss": 4.0})
    log.on_epoch_end(1, {"loss": np.float32(2.5), "val_loss": 3.5})
    assert read(tmp_path) == [
        {"epoch": "1", "loss": "3.0", "val_loss": "4.0"},
        {"epoch": "2", "loss": "2.5", "val_loss": "3.5"},
    ]
    assert log.losses == {"loss": [3.0, 2.5], "val_loss": [4.0, 3.5]}


def test_a_resumed_log_goes_on_after_the_epochs_whose_weights_are_there(tmp_path):
    log = callbacks.LossLog(tmp_path, 0)
    for epoch in range(3):
        log.on_epoch_end(epoch, {"loss": 3.0 - epoch})
    again = callbacks.LossLog(tmp_path, 2)
    again.on_epoch_end(2, {"loss": 9.0})
    assert [row["epoch"] for row in read(tmp_path)] == ["1", "2", "3"]
    assert again.losses == {"loss": [3.0, 2.0, 9.0]}


def test_a_log_that_began_late_has_no_epoch_twice(tmp_path):
    # Weights of epoch 3 came without a log.
    log = callbacks.LossLog(tmp_path, 3)
    for epoch in (3, 4, 5):
        log.on_epoch_end(epoch, {"loss": 1.0})
    again = callbacks.LossLog(tmp_path, 5)
    again.on_epoch_end(5, {"loss": 2.0})
    assert [row["epoch"] for row in read(tmp_path)] == ["4", "5", "6"]


def test_epochs_without_a_validation_are_not_a_number(tmp_path):
    callbacks.LossLog(tmp_path, 0).on_epoch_end(0, {"loss": 3.0})
    log = callbacks.LossLog(tmp_path, 1)
    log.on_epoch_end(1, {"loss": 2.0, "val_loss": 4.0})
    assert [row["val_loss"] for row in read(tmp_path)] == ["nan", "4.0"]
    assert log.losses == {"loss": [3.0, 2.0], "val_loss": [4.0]}


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_no_number_ends_the_training(loss):
    stop = callbacks.StopOnNonFinite()
    stop.on_train_batch_end(0, {"loss": 3.0})
    with pytest.raises(FloatingPointError, match="train with a smaller learning rate"):
        stop.on_train_batch_end(1, {"loss": loss})


def test_the_bar_counts_the_steps_of_all_epochs():
    with tqdm(total=6, disable=False, file=io.StringIO()) as bar:
        progress = callbacks.Progress(bar)
        progress.set_params({"steps": 2})
        progress.on_epoch_begin(1)  # resumed after the first of three
        assert bar.n == 2
        for batch in range(2):
            progress.on_train_batch_end(batch, {"loss": 1.234, "mrcnn_mask_loss": 0.5})
        progress.on_epoch_begin(2)
        assert bar.n == 4
        assert bar.postfix == "loss=1.23, mask=0.50"


@pytest.fixture(scope="module")
def trainer():
    made = Trainer(Network(config()), 0)
    made.compile("sgd", jit_compile=False)
    made.optimizer.build(made.trainable_variables)
    return made


def run(trainer, folder, validation, before=()):
    """The epochs' ends, at each of which the weights are another constant: 1, 2, ..."""
    beside = callbacks.Checkpoints(folder, "tiny", 1, list(before))
    beside.set_model(trainer)
    layer = weights.layers(trainer.network)["rpn_class_raw"]
    for epoch, loss in enumerate(validation):
        layer.bias.assign(np.full(layer.bias.shape, epoch + 1.0))
        beside.on_epoch_end(epoch, {"loss": 1.0} if loss is None else {"loss": 1.0, "val_loss": loss})


def stored(trainer, path):
    weights.read(path, trainer.network)
    return weights.layers(trainer.network)["rpn_class_raw"].bias.numpy()[0]


def test_the_best_weights_are_those_of_the_smallest_validation_loss(trainer, tmp_path):
    run(trainer, tmp_path, [3.0, 1.0, 2.0])
    assert stored(trainer, checkpoint.best_path(tmp_path, "tiny")) == 2
    assert stored(trainer, checkpoint.weights_path(tmp_path, "tiny", 3)) == 3
    assert len(checkpoint.list_weights(tmp_path, "tiny")) == 1


def test_the_best_of_a_resumed_training_is_better_than_those_before(trainer, tmp_path):
    run(trainer, tmp_path, [0.8, 0.4, 0.6], before=[np.nan, 0.7, 0.5])
    assert stored(trainer, checkpoint.best_path(tmp_path, "tiny")) == 2


def test_without_a_better_epoch_there_are_no_best_weights(trainer, tmp_path):
    run(trainer, tmp_path, [0.8, None], before=[0.5])
    assert not checkpoint.best_path(tmp_path, "tiny").exists()


@pytest.mark.parametrize("method", ["on_train_begin", "on_epoch_begin", "on_test_begin", "on_epoch_end"])
def test_events_for_which_the_disk_is_full_are_told_in_one_line(tmp_path, monkeypatch, method):
    def full(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "Failed to flush 1 events")

    monkeypatch.setattr(keras.callbacks.TensorBoard, method, full)
    with pytest.raises(InputError, match="cannot write TensorBoard's events into .*the free disk space"):
        getattr(callbacks.Events(tmp_path), method)(0)


def test_events_that_cannot_be_written_are_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    events = callbacks.Events(tmp_path / "file" / "below")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(InputError, match="cannot write TensorBoard's events into .*below; check its perm"):
        events.set_model(model)
        events.on_epoch_end(0, {"loss": 1.0})
        events.on_train_end()
