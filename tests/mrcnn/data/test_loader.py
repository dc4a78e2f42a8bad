import re

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import utils
from mrcnn.data import augment
from mrcnn.data.examples import Example, find_instances
from mrcnn.data.loader import Batches, own_errors, pad_example
from mrcnn.selftraining.patch_dataset import PatchDataset
from nuclei import tissue
from nuclei.folders import patches
from tests.tiny_datasets import Labelled, Tiny, squares


class Small(Tiny):
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    STEPS_PER_EPOCH = 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    for seed, kind in enumerate(("lymphoid", "stroma")):
        patches.write_patch(folder, kind, *tissue.generate(kind, 128, seed))
    found = PatchDataset()
    found.add_patches(folder, ["lymphoid"], share=3)
    found.add_patches(folder, ["stroma"])
    found.prepare()
    return found


class Numbered(utils.Dataset):
    """Image k is all of the grey value k, without objects; `broken` cannot be read."""

    def __init__(self, count=40, broken=None):
        super().__init__()
        self.broken = broken
        self.add_class("slides", 1, "nucleus")
        for number in range(count):
            self.add_image("slides", number, f"{number}.png")
        self.prepare()

    def load_image(self, image_id):
        if image_id == self.broken:
            raise OSError(f"{image_id}.png is broken")
        return np.full((64, 64, 3), image_id, np.uint8)

    def load_labels(self, image_id):
        return np.zeros((64, 64), np.int32), np.zeros(0, np.int32)


def numbers(batch):
    return batch[0]["images"][:, 0, 0, 0].tolist()


def test_batches_have_fixed_shapes_and_drop_what_does_not_fit(dataset, caplog):
    (batch,) = Batches(dataset, Tiny())[0]
    assert "MAX_GT_INSTANCES is 5" in caplog.text
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "images": ((2, 128, 128, 3), "float32"),
        "gt_class_ids": ((2, 5), "int32"),
        "gt_boxes": ((2, 5, 4), "float32"),
        "gt_masks": ((2, 5, 56, 56), "uint8"),
        "outlined": ((2,), "float32"),
    }
    assert batch["gt_class_ids"].tolist() == [[1] * 5] * 2


def test_batches_depend_on_seed_epoch_and_index_alone(dataset):
    class Roomy(Tiny):
        MAX_GT_INSTANCES = 200

    def first_pixels(first_epoch, index, seed=0):
        batches = Batches(dataset, Roomy(), augment.augment, seed, first_epoch)
        return batches[index][0]["images"][:, :2].tolist()

    assert first_pixels(1, 2) == first_pixels(1, 2)
    assert first_pixels(1, 2) != first_pixels(0, 2)
    assert first_pixels(1, 2) != first_pixels(1, 2, seed=1)


class Recorder(keras.Model):
    """Keeps the grey values of the last images of a training."""

    def __init__(self, length):
        super().__init__()
        self.scale = self.add_weight(shape=(), initializer="ones")
        self.seen = self.add_weight(shape=(length,), initializer="zeros", trainable=False)
        self.built = True

    def call(self, inputs):
        return self.scale * ops.mean(inputs["images"])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.seen.assign(ops.concatenate([self.seen[2:], x["images"][:, 0, 0, 0]]))
        return y_pred


def config_with(workers):
    config = Small()
    config.WORKERS = workers
    return config


def fit(dataset, workers, first_epoch, epochs):
    config, length = config_with(workers), (epochs - first_epoch) * 28
    batches = Batches(dataset, config, seed=1, first_epoch=first_epoch)
    validation = Batches(dataset, config, seed=2, fixed=True, steps=2)
    model = Recorder(length)
    model.compile("sgd", jit_compile=False)
    with own_errors(batches, validation):
        model.fit(
            batches, validation_data=validation, initial_epoch=first_epoch, epochs=epochs, shuffle=False,
            verbose=0,
        )  # fmt: skip
    return ops.convert_to_numpy(model.seen).tolist()


def expected(first_epoch, epochs):
    config, order = config_with(1), []
    validation = Batches(Numbered(), config, seed=2)
    for epoch in range(first_epoch, epochs):
        batches = Batches(Numbered(), config, seed=1, first_epoch=epoch)
        order += [number for index in range(12) for number in numbers(batches[index])]
        order += [number for index in range(2) for number in numbers(validation[index])]
    return order


@pytest.mark.parametrize(("workers", "first_epoch"), [(0, 0), (4, 0), (4, 1)])
def test_training_sees_the_same_batches_with_any_workers_and_when_resumed(workers, first_epoch):
    assert fit(Numbered(), workers, first_epoch, 3) == expected(first_epoch, 3)


@pytest.mark.parametrize("workers", [1, 4])
def test_what_a_worker_raises_reaches_the_caller_as_it_is(workers):
    # Keras reads the first batches before training: the broken image comes later.
    order = expected(0, 1)
    late = next(number for number in order[10:24] if number not in order[:10] + order[24:])
    with pytest.raises(OSError, match=rf"^{late:g}\.png is broken$"):
        fit(Numbered(broken=late), workers, 0, 2)


def test_other_errors_pass_through_unchanged():
    with pytest.raises(KeyError), own_errors(Batches(Numbered(), Small()), None):
        raise KeyError("else")


def test_an_epoch_counts_once_it_has_begun_and_ended():
    batches = Batches(Numbered(), Small(), first_epoch=5)
    batches.on_epoch_end()
    assert batches.epoch == 5
    batches.on_epoch_begin()
    batches.on_epoch_end()
    assert batches.epoch == 6
    assert len(Batches(Numbered(), Small(), steps=7)) == 7


def test_sources_can_be_left_out_of_augmentation():
    def blacken(image, labels, rng):
        return np.zeros_like(image), labels

    dataset = Numbered(1)
    dataset.add_image("other", 1, "1.png")
    dataset.prepare()
    dataset.load_image = lambda image_id: np.full((64, 64, 3), 9, np.uint8)
    batches = Batches(dataset, Small(), blacken, no_augmentation_sources=["other"])
    assert sorted(numbers(batches[0])) == [0, 9]


def test_more_objects_than_places_are_said_once(caplog):
    dataset = Labelled(squares(20))
    batches = Batches(dataset, Tiny())
    batches[0], batches[1]
    (warning,) = caplog.messages
    assert re.match(r"slide\.png shows 20 objects, of which 15, .* smaller patches have fewer", warning)
    Batches(Labelled(squares(5)), Tiny())[0]
    assert caplog.messages == [warning]


def test_an_image_without_objects_is_all_padding():
    (batch,) = Batches(Labelled(squares(0)), Tiny(), augment.augment)[0]
    assert not batch["gt_class_ids"].any()
    assert not batch["gt_boxes"].any()
    assert not batch["gt_masks"].any()
    assert np.isfinite(batch["images"]).all()


def test_two_thousand_objects_are_all_there():
    class Many(Tiny):
        IMAGE_MIN_DIM = 720
        IMAGE_MAX_DIM = 720
        IMAGES_PER_GPU = 1
        MAX_GT_INSTANCES = 2100

    square = np.pad(np.ones((14, 14), np.int32), 1)
    labels = np.kron(np.arange(1, 2026, dtype=np.int32).reshape(45, 45), square)
    (batch,) = Batches(Labelled(labels), Many())[0]
    assert (batch["gt_class_ids"] == 1).sum() == 2025
    assert batch["gt_masks"].sum() == 2025 * 56 * 56


def test_datasets_that_cannot_be_drawn_from_are_refused():
    with pytest.raises(ValueError, match="holds no image"):
        Batches(utils.Dataset(), Tiny())
    late = Numbered(2)
    late.add_image("slides", 2, "2.png")
    with pytest.raises(ValueError, match=r"got 1 images after prepare\(\); call it again"):
        Batches(late, Tiny())
    late.prepare()
    for weight in (-1, np.nan):
        late.image_info[1]["weight"] = weight
        with pytest.raises(ValueError, match="the weights of a dataset's images"):
            Batches(late, Tiny())


@pytest.mark.parametrize("mode", ["pad64", "none"])
def test_modes_without_one_shape_are_refused_where_images_differ(mode):
    config = Tiny()
    config.IMAGE_RESIZE_MODE, config.IMAGE_MIN_DIM = mode, 0
    Batches(Labelled(squares(3)), config)[0]
    with pytest.raises(ValueError, match=r"slide\.png is \(192, 192, 3\) after resizing.*'crop' or 'square'"):
        Batches(Labelled(squares(3, 192)), config)[0]


def disc(radius):
    rows, columns = np.mgrid[:128, :128]
    return ((rows - 60.3) ** 2 + (columns - 57.8) ** 2 <= radius**2).astype(np.int32)


@pytest.mark.parametrize("diameter", [5, 6, 8, 11, 15, 20, 27, 40, 80])
def test_a_nucleus_survives_minimising_and_pasting(diameter):
    nucleus = disc(diameter / 2)
    image = np.zeros((128, 128, 3), np.uint8)
    labels = nucleus * 3  # ids 1 and 2 are not in view
    example = Example(image, labels, np.int32([1, 1, 1]), image.shape, (0, 0, 128, 128), 1)
    padded = pad_example(example, find_instances(labels), Tiny())
    assert padded["gt_class_ids"].tolist() == [1, 0, 0, 0, 0]
    window, top, left = utils.paste_mask(padded["gt_masks"][0], padded["gt_boxes"][0], labels.shape)
    pasted = np.zeros(labels.shape, bool)
    pasted[top : top + window.shape[0], left : left + window.shape[1]] = window
    assert (pasted & (nucleus > 0)).sum() / (pasted | (nucleus > 0)).sum() >= 0.97


def test_each_batch_holds_of_every_folder_what_its_share_says(tmp_path):
    class Five(Tiny):
        IMAGES_PER_GPU = 5

    found = PatchDataset()
    for folder, names, share in (("a", "123", 2), ("b", "1234567", 1), ("c", "12", 2)):
        for name in names:
            patches.write_patch(
                tmp_path / folder, name, np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.int32)
            )
        found.add_patches(tmp_path / folder, list(names), share)
    found.prepare()
    batches = Batches(found, Five())
    drawn = np.array([batches._draw(np.random.default_rng(seed)) for seed in range(500)])
    counts = [((drawn >= first) & (drawn < last)).sum(axis=1) for first, last in ((0, 3), (3, 10), (10, 12))]
    assert (np.array(counts).T == [2, 1, 2]).all()
    # Within a folder every patch has its turn: 1000 / 3, 500 / 7 and 1000 / 2 times.
    often = np.bincount(drawn.ravel(), minlength=12)
    assert often == pytest.approx([1000 / 3] * 3 + [500 / 7] * 7 + [500] * 2, rel=0.3)
    # Any patches meet: two of three, one of seven and both of two make 3 x 7 batches.
    assert len({tuple(sorted(batch)) for batch in drawn.tolist()}) == 21
