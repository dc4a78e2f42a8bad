"""The class as its users know it: training and its files. Detection is in inference/test_detection.py."""

import csv
import re
import shutil

import keras
import numpy as np
import pytest

from mrcnn import model
from mrcnn.model import MaskRCNN
from nuclei.errors import InputError
from tests.tiny_network import Discs, config, discs, eagerly

PATCHES = Discs([(30, 30), (80, 40), (60, 100)], [(20, 100), (64, 64)])
OTHERS = Discs([(40, 40), (90, 90)])


@pytest.fixture(scope="module", autouse=True)
def without_compiling():
    with eagerly():
        yield


class Kill(keras.callbacks.Callback):
    """Ends the program when the third epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def long_training(kept=0):
    return config(STEPS_PER_EPOCH=2, WORKERS=2, WEIGHT_AVERAGING=0.5, CHECKPOINTS_KEPT=kept)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of three epochs."""
    network = MaskRCNN("training", long_training(), tmp_path_factory.mktemp("trained"))
    losses = network.train(PATCHES, OTHERS, 1e-3, 3)
    return network, losses


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A network as it is made, for what does not change it."""
    return MaskRCNN("training", config(), tmp_path_factory.mktemp("fresh"))


def epochs_in(folder):
    with (folder / "losses.csv").open(newline="") as file:
        return [float(row["epoch"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_after_each_epoch_the_folder_of_logs_has_what_it_found(trained):
    network, losses = trained
    folder = network.log_dir
    assert folder.parent == network.model_dir and folder.name.startswith("tiny20")
    assert network.epoch == 3
    names = {path.name for path in folder.iterdir() if path.is_file()}
    weights_files = {f"mask_rcnn_tiny_{epoch:04d}.h5" for epoch in (1, 2, 3)}
    assert weights_files | {"mask_rcnn_tiny_best.h5", "losses.csv", "state_0003.npz"} <= names
    assert network.find_last() == str(folder / "mask_rcnn_tiny_0003.h5")
    assert list(folder.rglob("events.out.tfevents.*"))
    assert epochs_in(folder) == [1, 2, 3]
    for name in ("loss", "mrcnn_mask_loss", "val_loss", "val_mrcnn_mask_loss"):
        assert len(losses[name]) == 3


def test_no_validation_steps_are_no_validation(fresh, monkeypatch):
    given = []
    monkeypatch.setattr(fresh.config, "VALIDATION_STEPS", 0)
    monkeypatch.setattr(fresh, "_trainer", lambda _: None)
    monkeypatch.setattr(fresh, "_fit", lambda trainer, batches, validation, *_: given.append(validation))
    fresh.train(PATCHES, OTHERS, 1e-3, 1)
    assert given == [None]


def test_the_best_weights_are_those_of_the_smallest_loss_on_the_validation_dataset(trained):
    network, losses = trained
    best = 1 + int(np.argmin(losses["val_loss"]))
    other = MaskRCNN("inference", config(), network.model_dir)
    kept = []
    for name in ("best", f"{best:04d}"):
        other.load_weights(network.log_dir / f"mask_rcnn_tiny_{name}.h5")
        kept.append(other.keras_model.get_weights())
    for one, expected in zip(*kept, strict=True):
        np.testing.assert_array_equal(one, expected)


def assert_goes_on(folder, uninterrupted, expected):
    """A training that is killed after two of three epochs ends as one that was not."""
    with pytest.raises(KeyboardInterrupt):
        MaskRCNN("training", long_training(kept=1), folder).train(
            PATCHES, OTHERS, 1e-3, 3, custom_callbacks=[Kill()]
        )
    network = MaskRCNN("training", long_training(kept=1), folder)
    network.load_weights(network.find_last())
    assert network.epoch == 2
    losses = network.train(PATCHES, OTHERS, 1e-3, 3)
    assert epochs_in(network.log_dir) == [1, 2, 3]
    for name, values in expected.items():
        assert losses[name] == pytest.approx(values, rel=1e-9), name
    found = network.keras_model.get_weights()
    for one, other in zip(found, uninterrupted.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert list(folder.iterdir()) == [network.log_dir]  # it went on in the same folder
    assert {path.name for path in network.log_dir.glob("*_tiny_0*.h5")} == {"mask_rcnn_tiny_0003.h5"}


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not(trained, tmp_path):
    assert_goes_on(tmp_path, *trained)


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not_when_compiled(tmp_path):
    with eagerly(False):
        network = MaskRCNN("training", long_training(), tmp_path / "whole")
        losses = network.train(PATCHES, OTHERS, 1e-3, 3)
        assert_goes_on(tmp_path / "killed", network, losses)


def test_a_training_that_is_done_is_not_done_again(trained):
    network, losses = trained
    again = MaskRCNN("training", long_training(), network.model_dir)
    again.load_weights(network.find_last())
    assert again.train(PATCHES, OTHERS, 1e-3, 3) == losses
    # What the file has are the weights of the last step: their average is taken now.
    for one, other in zip(again.keras_model.get_weights(), network.keras_model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("layers", ["heads", "all"])
def test_an_earlier_phase_that_is_done_changes_nothing(trained, layers):
    network, _ = trained
    again = MaskRCNN("training", long_training(), network.model_dir)
    again.load_weights(network.find_last())
    before = again.keras_model.get_weights()
    again.train(PATCHES, OTHERS, 1e-3, 1, layers)  # as a script says it that is run again
    for one, other in zip(again.keras_model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_phase_after_one_that_is_done_begins_with_an_optimiser_of_its_own(tmp_path, caplog):
    """As it does where the program is not run again in between."""

    class Steps(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            steps.append(int(self.model.optimizer.iterations.numpy()))

    steps, one_step = [], config(OPTIMIZER="adamw")
    MaskRCNN("training", one_step, tmp_path).train(PATCHES, None, 1e-3, 1)
    again = MaskRCNN("training", one_step, tmp_path)
    again.load_weights(again.find_last())
    with caplog.at_level("INFO", "mrcnn"):
        again.train(PATCHES, None, 1e-3, 1)
    assert "1 epochs are done already, 1 were asked for" in caplog.text
    again.train(PATCHES, None, 1e-3, 2, custom_callbacks=[Steps()])
    assert steps == [0]


def test_weights_outside_a_folder_of_logs_are_no_training_to_go_on_with(trained, tmp_path):
    shutil.copy(trained[0].find_last(), tmp_path / "mask_rcnn_breast_0020.h5")
    network = MaskRCNN("training", config(), tmp_path / "logs")
    network.load_weights(tmp_path / "mask_rcnn_breast_0020.h5")
    assert network.epoch == 0 and network.log_dir.parent == tmp_path / "logs"


@pytest.mark.slow
def test_the_network_ends_with_the_average_of_its_weights(tmp_path):
    class Last(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(network.keras_model.box_head.get_weights()[0])

    steps = []
    network = MaskRCNN("training", config(STEPS_PER_EPOCH=2, WEIGHT_AVERAGING=0.75), tmp_path)
    network.train(PATCHES, None, 1e-2, 1, "heads", custom_callbacks=[Last()])
    average = network.keras_model.box_head.get_weights()[0]
    np.testing.assert_allclose(average, 0.75 * steps[0] + 0.25 * steps[1], atol=1e-6)
    assert not np.allclose(average, steps[1], atol=1e-6)


@pytest.mark.slow
def test_it_trains_and_detects_in_bfloat16(tmp_path):
    network = MaskRCNN("training", config(MIXED_PRECISION=True, DETECTION_MIN_CONFIDENCE=0.0), tmp_path)
    losses = network.train(PATCHES, None, 1e-3, 1)
    assert np.isfinite(losses["loss"]).all()
    assert {str(weight.dtype) for weight in network.keras_model.weights} == {"float32"}
    (found,) = network.detect([PATCHES.load_image(0)])
    assert len(found["scores"]) > 0
    assert np.isfinite(found["scores"]).all() and found["scores"].dtype == np.float32


def test_images_without_objects_can_be_trained_on(tmp_path):
    network = MaskRCNN("training", config(), tmp_path)
    losses = network.train(Discs([], []), Discs([]), 1e-3, 1)
    assert np.isfinite(list(losses.values())).all()
    assert losses["mrcnn_mask_loss"] == [0]
    assert all(np.isfinite(values).all() for values in network.keras_model.get_weights())


def test_more_objects_than_places_are_said(tmp_path, caplog):
    centres = [(2.5 + 5 * (number // 25), 2.5 + 5 * (number % 25)) for number in range(600)]
    network = MaskRCNN("training", config(MAX_GT_INSTANCES=500), tmp_path)
    losses = network.train(Discs(centres, radius=2), None, 1e-3, 1, "heads")
    assert re.search(r"discs_0\.png shows 600 objects, of which 100.*smaller patches have fewer", caplog.text)
    assert np.isfinite(losses["loss"]).all()


class Wrong(Discs):
    """Masks of another size, or class ids that the configuration does not have."""

    def __init__(self, size=128, class_id=1):
        super().__init__([(30, 30)])
        self.size, self.class_id = size, class_id

    def load_mask(self, image_id):
        masks, class_ids = super().load_mask(image_id)
        return masks[: self.size], class_ids * self.class_id


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Discs(), "holds no image"),
        (Wrong(size=64), r"discs_0\.png: its masks are of \(64, 128\) px, the image of \(128, 128\) px"),
        (Wrong(class_id=2), r"discs_0\.png: class id 2; with NUM_CLASSES = 2 they go from 1 to 1"),
    ],
)
def test_datasets_that_cannot_be_trained_on_are_refused(fresh, dataset, message):
    with pytest.raises(ValueError, match=message):
        fresh.train(dataset, None, 1e-3, 1, "heads")


def test_a_validation_dataset_that_cannot_be_used_is_refused(fresh):
    with pytest.raises(ValueError, match="class id 2"):
        fresh.train(PATCHES, Wrong(class_id=2), 1e-3, 1, "heads")


def test_wrong_uses_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'training' or 'inference'"):
        MaskRCNN("train", config(), tmp_path)
    with pytest.raises(ValueError, match="unknown BACKBONE 'vgg'"):
        MaskRCNN("training", config(BACKBONE="vgg"), tmp_path)
    with pytest.raises(ValueError, match="OPTIMIZER is 'sgd' or 'adamw', not 'adam'"):
        MaskRCNN("training", config(OPTIMIZER="adam"), tmp_path).train(PATCHES, None, 1e-3, 1)
    network = MaskRCNN("inference", config(), tmp_path)
    with pytest.raises(ValueError, match="made for inference"):
        network.train(PATCHES, None, 1e-3, 1)
    with pytest.raises(ValueError, match="no ImageNet weights for a BACKBONE of your own"):
        network.get_imagenet_weights()
    with pytest.raises(FileNotFoundError, match="no weights of a training of 'tiny'"):
        network.find_last()


def test_a_truncated_checkpoint_is_refused_and_changes_nothing(trained, fresh, tmp_path):
    whole = (trained[0].log_dir / "mask_rcnn_tiny_0003.h5").read_bytes()
    path = tmp_path / "mask_rcnn_tiny_0003.h5"
    path.write_bytes(whole[: len(whole) // 2])
    before = fresh.keras_model.get_weights()
    with pytest.raises(InputError, match="cannot be read as weights"):
        fresh.load_weights(path)
    assert all(
        (one == other).all() for one, other in zip(fresh.keras_model.get_weights(), before, strict=True)
    )
    assert fresh.epoch == 0


def test_a_folder_that_describes_no_network_is_refused(fresh, tmp_path):
    with pytest.raises(InputError, match="run pseudo_label.py first"):
        model.load(tmp_path)
    fresh.save(tmp_path)
    with pytest.raises(
        InputError, match="config.json does not describe a network: unknown BACKBONE 'backbone'"
    ):
        model.load(tmp_path)
    (tmp_path / "mask_rcnn.h5").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be read as weights"):
        model.load(tmp_path, BACKBONE=fresh.config.BACKBONE)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.slow
def test_detections_less_likely_than_background_are_found_when_asked_for(tmp_path, above):
    changes = {"DETECTION_MIN_CONFIDENCE": 0.2, "DETECTION_ABOVE_BACKGROUND": above}
    network = MaskRCNN("inference", config(**changes), tmp_path)
    # Every region gets the logits 1 for background and 0 for a nucleus.
    logits = network.keras_model.get_layer("mrcnn_class_logits")
    kernel, _ = logits.get_weights()
    logits.set_weights([np.zeros_like(kernel), np.float32([1, 0])])
    (found,) = network.predictor.predict(discs([(30, 30)])[0][None])
    assert (len(found["scores"]) == 0) == above
    assert found["scores"] == pytest.approx(1 / (1 + np.e))
