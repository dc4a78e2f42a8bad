import numpy as np
import pytest

from mrcnn.data.loader import Batches
from mrcnn.selftraining.patch_dataset import PatchDataset
from nuclei import tissue
from nuclei.folders import patches
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
