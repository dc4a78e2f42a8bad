import numpy as np
import pytest

from mrcnn.data.loader import Batches
from mrcnn.selftraining.patch_dataset import PatchDataset
from nuclei import tissue
from nuclei.folders import patches
from nuclei.tissue import variety
from tests.tiny_datasets import Tiny


def test_masks_and_labels_of_a_patch_agree(tmp_path):
    patches.write_patch(tmp_path, "lymphoid", *tissue.generate("lymphoid", 128, 0))
    dataset = PatchDataset()
    dataset.add_patches(tmp_path, ["lymphoid"])
    dataset.prepare()
    masks, class_ids = dataset.load_mask(0)
    labels, _ = dataset.load_labels(0)
    assert masks.shape == (128, 128, len(class_ids))
    assert (masks.any(axis=2) == (labels > 0)).all()


@pytest.mark.parametrize("outlined", [True, False])
def test_a_patch_says_whether_its_outlines_are_to_be_learnt(tmp_path, outlined):
    patches.write_patch(tmp_path, "a", np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.int32))
    found = PatchDataset()
    found.add_patches(tmp_path, ["a"], outlined=outlined)
    found.prepare()
    (batch,) = Batches(found, Tiny())[0]
    assert batch["outlined"].tolist() == [float(outlined)] * 2


def test_undecided_nuclei_are_of_the_class_to_ignore(tmp_path):
    labels = np.zeros((128, 128), np.int32)
    labels[10:20, 10:20] = 1
    undecided = np.zeros_like(labels)
    undecided[50:60, 50:60] = 1
    image = np.zeros((128, 128, 3), np.uint8)
    patches.write_patch(tmp_path, "a", image, labels, np.float32([0.9]), undecided)
    found = PatchDataset()
    found.add_patches(tmp_path, ["a"])
    found.prepare()
    (batch,) = Batches(found, Tiny())[0]
    assert batch["gt_class_ids"][0].tolist() == [1, -1, 0, 0, 0]
    assert batch["gt_boxes"][0, 1].tolist() == [50, 50, 60, 60]


def test_generated_tissue_takes_its_share_of_every_batch(tmp_path):
    black = np.zeros((64, 64, 3), np.uint8)
    for name in ("a", "b"):
        patches.write_patch(tmp_path, name, black, np.zeros((64, 64), np.int32))
    found = PatchDataset()
    found.add_patches(tmp_path, ["a", "b"], share=3)
    found.add_generated(seed=0, share=1, size=64)
    found.prepare()
    settings = Tiny()
    settings.IMAGES_PER_GPU, settings.IMAGE_MIN_DIM, settings.IMAGE_MAX_DIM = 4, 64, 64
    batches = Batches(found, settings)
    for index in range(3):
        (batch,) = batches[index]
        assert [bool(image.any()) for image in batch["images"]].count(True) == 1


def test_generated_tissue_of_another_seed_is_other_tissue():
    def images(seed):
        found = PatchDataset()
        found.add_generated(seed, size=64)
        found.prepare()
        return [found.load_image(number) for number in range(3)]

    first, again, other = images(0), images(0), images(1)
    assert np.array_equal(first, again)
    assert not any(np.array_equal(a, b) for a in first for b in other)


def test_generated_tissue_has_its_nuclei(tmp_path):
    found = PatchDataset()
    found.add_generated(seed=0, size=64)
    found.prepare()
    image, labels = variety.generate(64, 5)
    assert np.array_equal(found.load_image(5), image)
    assert np.array_equal(found.load_labels(5)[0], labels)
    assert found.load_labels(5)[1].tolist() == [1] * labels.max()
