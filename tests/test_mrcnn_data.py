import numpy as np
import pytest

from mrcnn import data, utils
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


def test_augmentation_keeps_masks_on_their_nuclei(dataset):
    image, (labels, _) = dataset.load_image(0), dataset.load_labels(0)
    for seed in range(4):
        changed, moved = data.augment(image, labels, np.random.default_rng(seed))
        assert changed.shape[:2] == moved.shape
        inside = moved > 0
        assert changed[inside].mean() < changed[~inside].mean() - 20  # nuclei stay darker than the rest


def test_fit_pads_without_inventing_nuclei():
    image = np.full((50, 60, 3), 200, np.uint8)
    padded, moved = data.fit(image, np.ones((50, 60), np.int32), 64, np.random.default_rng(0))
    assert padded.shape == (64, 64, 3)
    assert moved.sum() == 50 * 60


def test_an_image_without_objects_is_all_padding():
    labels = np.zeros((128, 128), np.int32)
    image = np.zeros((128, 128, 3), np.uint8)
    example = data.pad_example(image, labels, np.zeros(0, np.int32), Tiny(), np.random.default_rng(0))
    assert not example["gt_class_ids"].any()
    assert not example["gt_boxes"].any()


def test_stain_jitter_of_strength_zero_changes_nothing_but_rounding():
    image = np.random.default_rng(0).integers(20, 250, (16, 16, 3)).astype(np.uint8)
    same = data.jitter_stain(image, np.random.default_rng(0), strength=0, shift=0)
    assert np.abs(same.astype(int) - image).max() <= 1


def test_a_small_nucleus_survives_minimising_and_pasting():
    rows, columns = np.mgrid[:128, :128]
    nucleus = (rows - 60) ** 2 / 36 + (columns - 57) ** 2 / 81 <= 1
    image = np.zeros((128, 128, 3), np.uint8)
    labels = np.where(nucleus, 3, 0).astype(np.int32)  # ids 1 and 2 are not in view
    class_ids = np.int32([1, 1, 1])
    example = data.pad_example(image, labels, class_ids, Tiny(), np.random.default_rng(0))
    assert example["gt_class_ids"].tolist() == [1, 0, 0, 0, 0]
    assert example["gt_boxes"][0].tolist() == [54, 48, 67, 67]
    window, top, left = utils.paste_mask(example["gt_masks"][0], example["gt_boxes"][0], nucleus.shape)
    pasted = np.zeros_like(nucleus)
    pasted[top : top + window.shape[0], left : left + window.shape[1]] = window
    assert (pasted & nucleus).sum() / (pasted | nucleus).sum() > 0.95


def test_masks_and_labels_of_a_patch_agree(dataset):
    masks, class_ids = dataset.load_mask(0)
    labels, _ = dataset.load_labels(0)
    assert masks.shape == (128, 128, len(class_ids))
    assert (masks.any(axis=2) == (labels > 0)).all()


@pytest.mark.parametrize("outlined", [True, False])
def test_a_patch_says_whether_its_outlines_are_to_be_learnt(tmp_path, outlined):
    patches.write_patch(tmp_path, "a", np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.int32))
    found = data.PatchDataset()
    found.add_patches(tmp_path, ["a"], outlined=outlined)
    (batch,) = data.Batches(found, Tiny())[0]
    assert batch["outlined"].tolist() == [float(outlined)] * 2


def test_undecided_nuclei_are_of_the_class_to_ignore(tmp_path):
    labels = np.zeros((128, 128), np.int32)
    labels[10:20, 10:20] = 1
    undecided = np.zeros_like(labels)
    undecided[50:60, 50:60] = 1
    image = np.zeros((128, 128, 3), np.uint8)
    patches.write_patch(tmp_path, "a", image, labels, np.float32([0.9]), undecided)
    found = data.PatchDataset()
    found.add_patches(tmp_path, ["a"])
    example = data.pad_example(image, *found.load_labels(0), Tiny(), np.random.default_rng(0))
    assert example["gt_class_ids"].tolist() == [1, -1, 0, 0, 0]
    assert example["gt_boxes"][1].tolist() == [50, 50, 60, 60]


def test_each_batch_holds_of_every_folder_what_its_share_says(tmp_path):
    class Five(Tiny):
        IMAGES_PER_GPU = 5

    found = data.PatchDataset()
    for folder, names, share in (("a", "123", 2), ("b", "1234567", 1), ("c", "12", 2)):
        for name in names:
            patches.write_patch(
                tmp_path / folder, name, np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.int32)
            )
        found.add_patches(tmp_path / folder, list(names), share)
    batches = data.Batches(found, Five())
    drawn = np.array([batches._draw(np.random.default_rng(seed)) for seed in range(500)])
    counts = [((drawn >= first) & (drawn < last)).sum(axis=1) for first, last in ((0, 3), (3, 10), (10, 12))]
    assert (np.array(counts).T == [2, 1, 2]).all()
    # Within a folder every patch has its turn: 1000 / 3, 500 / 7 and 1000 / 2 times.
    often = np.bincount(drawn.ravel(), minlength=12)
    assert often == pytest.approx([1000 / 3] * 3 + [500 / 7] * 7 + [500] * 2, rel=0.3)
