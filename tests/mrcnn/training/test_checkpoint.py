import numpy as np
import pytest

from mrcnn.modeling import weights
from mrcnn.modeling.network import Network
from mrcnn.training import checkpoint
from mrcnn.training.trainer import Trainer
from tests.tiny_network import config


def make(trained=".*", optimizer="adamw", seed=0):
    """A network ready to be trained."""
    network = Network(config())
    for name, layer in weights.layers(network).items():
        layer.trainable = trained == ".*" or name.startswith(trained)
    trainer = Trainer(network, seed)
    trainer.compile(optimizer, jit_compile=False)
    trainer.optimizer.build(trainer.trainable_variables)
    trainer.built = True
    return trainer


def state(trainer):
    variables = [*trainer.optimizer.variables, trainer.seed.state]
    return [np.asarray(variable).copy() for variable in variables]


@pytest.fixture(scope="module")
def changed():
    """A trainer whose state is not that of the beginning."""
    trainer, rng = make(), np.random.default_rng(0)
    for variable in [*trainer.optimizer.variables, trainer.seed.state]:
        if variable.name != "learning_rate":
            variable.assign(rng.integers(1, 100, variable.shape).astype(variable.dtype))
    return trainer


def test_names_say_the_epoch(tmp_path):
    assert checkpoint.weights_path(tmp_path, "nucleus", 3) == tmp_path / "mask_rcnn_nucleus_0003.h5"
    assert checkpoint.epoch_of(tmp_path / "mask_rcnn_nucleus_0003.h5") == 3
    assert checkpoint.epoch_of("mask_rcnn_nucleus_12345.h5") == 12345
    assert checkpoint.epoch_of("mask_rcnn_two_words_0040.h5") == 40
    for other in ("mask_rcnn_coco.h5", "mask_rcnn_nucleus_best.h5", "state_0003.npz", "nucleus_0003.h5"):
        assert checkpoint.epoch_of(other) is None


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_the_last_weights_of_the_last_training_that_has_any(tmp_path):
    touch(tmp_path / "cells20260101T120000", "mask_rcnn_cells_0001.h5", "mask_rcnn_cells_0010.h5")
    touch(tmp_path / "cells20260101T120000", "mask_rcnn_cells_0009.h5", "mask_rcnn_cells_best.h5")
    touch(tmp_path / "cells20250101T1200", "mask_rcnn_cells_0099.h5")  # Matterport's form
    touch(tmp_path / "cells20270101T120000", "losses.csv")
    touch(tmp_path / "cells_and_more20280101T120000", "mask_rcnn_cells_and_more_0001.h5")
    touch(tmp_path, "cells20290101T120000")
    found = checkpoint.find_last(tmp_path, "Cells")
    assert found == tmp_path / "cells20260101T120000" / "mask_rcnn_cells_0010.h5"


@pytest.mark.parametrize("folder", [".", "none"])
def test_a_folder_without_a_training_is_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no weights of a training of 'cells' in"):
        checkpoint.find_last(tmp_path / folder, "cells")


def test_a_state_comes_back(changed, tmp_path):
    checkpoint.save(tmp_path, "tiny", 2, changed, kept=0)
    again = make(seed=5)
    assert checkpoint.restore(tmp_path / "mask_rcnn_tiny_0002.h5", again)
    for one, other in zip(state(again), state(changed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_learning_rate_is_the_callers(changed, tmp_path):
    checkpoint.save(tmp_path, "tiny", 2, changed, kept=0)
    again = make()
    again.optimizer.learning_rate = 0.125
    assert checkpoint.restore(tmp_path / "mask_rcnn_tiny_0002.h5", again)
    assert float(again.optimizer.learning_rate) == 0.125


@pytest.mark.parametrize("other", [{"trained": "mrcnn_"}, {"optimizer": "sgd"}, {"optimizer": "rmsprop"}])
def test_a_state_of_another_training_is_left(changed, tmp_path, other):
    checkpoint.save(tmp_path, "tiny", 2, changed, kept=0)
    trainer = make(**other)
    before = state(trainer)
    assert not checkpoint.restore(tmp_path / "mask_rcnn_tiny_0002.h5", trainer)
    for one, expected in zip(state(trainer), before, strict=True):
        np.testing.assert_array_equal(one, expected)


def test_only_the_newest_state_and_as_many_weights_as_asked_for_are_kept(changed, tmp_path):
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, "tiny", epoch, changed, kept=2)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mask_rcnn_tiny_0002.h5", "mask_rcnn_tiny_0003.h5", "state_0003.npz"}
    assert not checkpoint.restore(tmp_path / "mask_rcnn_tiny_0002.h5", changed)


def test_going_on_from_an_older_epoch_keeps_what_it_writes(changed, tmp_path):
    touch(tmp_path, "mask_rcnn_tiny_0001.h5", "mask_rcnn_tiny_0004.h5", "mask_rcnn_tiny_0005.h5")
    touch(tmp_path, "mask_rcnn_tiny_too_0001.h5")  # another configuration's
    checkpoint.save(tmp_path, "tiny", 2, changed, kept=1)
    assert [checkpoint.epoch_of(path) for path in checkpoint.list_weights(tmp_path, "tiny")] == [2, 4, 5]
    assert (tmp_path / "mask_rcnn_tiny_too_0001.h5").exists()


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("nucleus20260101T120000", True), ("nucleus20260101T1200", True), ("zoo", False), (".", False)],
)
def test_only_a_folder_of_logs_has_a_training_to_go_on_with(tmp_path, folder, expected):
    assert checkpoint.is_in_logs(tmp_path / folder / "mask_rcnn_nucleus_0020.h5") == expected
