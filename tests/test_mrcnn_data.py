import numpy as np
import pytest

from mrcnn import data
from mrcnn.config import NucleusConfig
from nuclei import patches, tissue


class Tiny(NucleusConfig):
    IMAGE_DIM = 128
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 3
    MAX_GT_INSTANCES = 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    for seed, kind in enumerate(("lymphoid", "stroma")):
        patches.write_patch(folder, kind, *tissue.generate(kind, 128, seed))
    found = data.PatchDataset()
    found.add_patches(folder, ["lymphoid"], share=3)
    found.add_patches(folder, ["stroma"])
    found.prepare()
    return found


def test_batches_have_fixed_shapes_and_drop_what_does_not_fit(dataset):
    (batch,) = data.Batches(dataset, Tiny())[0]
    assert batch["images"].shape == (2, 128, 128, 3)
    assert batch["gt_boxes"].shape == (2, 5, 4)
    assert batch["gt_masks"].shape == (2, 5, 56, 56)
    assert batch["gt_class_ids"].tolist() == [[1] * 5] * 2


def test_batches_depend_on_seed_epoch_and_index_alone(dataset):
    def first_pixels(first_epoch, index, seed=0):
        batches = data.Batches(dataset, Tiny(), data.augment, seed, first_epoch)
        return batches[index][0]["images"][:, :2].tolist()

    assert first_pixels(1, 2) == first_pixels(1, 2)
    assert first_pixels(1, 2) != first_pixels(0, 2)
    assert first_pixels(1, 2) != first_pixels(1, 2, seed=1)


def test_images_are_drawn_by_their_share(dataset):
    assert data.Batches(dataset, Tiny()).probabilities.tolist() == [0.75, 0.25]


def test_augmentation_keeps_masks_on_their_nuclei(dataset):
    image, (masks, _) = dataset.load_image(0), dataset.load_mask(0)
    for seed in range(4):
        changed, moved = data.augment(image, masks, np.random.default_rng(seed))
        assert changed.shape[:2] == moved.shape[:2]
        inside = moved.any(axis=2)
        assert changed[inside].mean() < changed[~inside].mean() - 20  # nuclei stay darker than the rest


def test_fit_pads_without_inventing_nuclei():
    image = np.full((50, 60, 3), 200, np.uint8)
    masks = np.ones((50, 60, 1), bool)
    padded, moved = data.fit(image, masks, 64, np.random.default_rng(0))
    assert padded.shape == (64, 64, 3)
    assert moved.sum() == 50 * 60


def test_an_image_without_objects_is_all_padding():
    masks = np.zeros((128, 128, 0), bool)
    image = np.zeros((128, 128, 3), np.uint8)
    example = data.pad_example(image, masks, np.zeros(0, np.int32), Tiny(), np.random.default_rng(0))
    assert not example["gt_class_ids"].any()
    assert not example["gt_boxes"].any()


def test_stain_jitter_of_strength_zero_changes_nothing_but_rounding():
    image = np.random.default_rng(0).integers(20, 250, (16, 16, 3)).astype(np.uint8)
    same = data.jitter_stain(image, np.random.default_rng(0), strength=0, shift=0)
    assert np.abs(same.astype(int) - image).max() <= 1
