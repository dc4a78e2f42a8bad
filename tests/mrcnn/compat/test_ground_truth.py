import numpy as np
import pytest

from mrcnn import utils
from mrcnn.compat import ground_truth
from mrcnn.config import NucleusConfig
from mrcnn.data import augment
from tests.tiny_datasets import Labelled, Tiny, squares


def test_load_image_gt_answers_in_matterports_form():
    class Square(NucleusConfig):
        NUM_CLASSES = 3
        IMAGE_RESIZE_MODE = "square"
        IMAGE_MAX_DIM = 128

    labels = np.zeros((40, 64), np.int32)
    labels[10:20, 5:25], labels[30, 30] = 2, 3  # 1 is hidden, 3 a single pixel
    image, meta, class_ids, boxes, masks = ground_truth.load_image_gt(Labelled(labels), Square(), 0)
    assert image.shape == (128, 128, 3)
    assert image.dtype == np.uint8
    # Enlarged twice, and centred in 128 px: 24 px above.
    assert boxes.tolist() == [[24 + 20, 10, 24 + 40, 50], [24 + 60, 60, 24 + 62, 62]]
    assert class_ids.tolist() == [1, 1]
    assert masks.shape == (128, 128, 2)
    assert masks.dtype == bool
    assert (utils.extract_bboxes(masks) == boxes).all()
    assert masks.sum(axis=(0, 1)).tolist() == [20 * 40, 4]
    assert meta.shape == (Square().IMAGE_META_SIZE,)
    parsed = ground_truth.parse_image_meta(meta[None])
    assert parsed["original_image_shape"].tolist() == [[40, 64, 3]]
    assert parsed["window"].tolist() == [[24, 0, 104, 128]]
    assert parsed["active_class_ids"].tolist() == [[1, 1, 0]]  # the gland is another source's


def test_load_image_gt_gives_mini_masks_that_expand_to_the_masks():
    dataset, config = Labelled(squares(30)), Tiny()
    image, _, class_ids, boxes, minis = ground_truth.load_image_gt(dataset, config, 0, use_mini_mask=True)
    _, _, _, _, masks = ground_truth.load_image_gt(dataset, config, 0)
    assert minis.shape == (*config.MINI_MASK_SHAPE, 30)
    assert (utils.expand_mask(boxes, minis, image.shape) == masks).all()
    _, _, _, no_boxes, no_masks = ground_truth.load_image_gt(Labelled(squares(0)), config, 0)
    assert no_boxes.shape == (0, 4)
    assert no_masks.shape == (128, 128, 0)


def test_load_image_gt_augments_image_and_masks_alike():
    dataset, config, seen = Labelled(squares(3)), Tiny(), set()
    for seed in range(10):
        image, _, _, _, masks = ground_truth.load_image_gt(
            dataset, config, 0, augment=True, augmentation=augment.turn, rng=np.random.default_rng(seed)
        )
        assert ((image[..., 0] == 0) == masks.any(axis=2)).all()
        seen.add(masks.any(axis=2).tobytes())
    assert len(seen) > 3
    with pytest.raises(ValueError, match="'flip' is no augmentation; pass a function"):
        ground_truth.load_image_gt(dataset, config, 0, augmentation="flip")


def test_meta_vectors_are_read_as_they_were_composed():
    metas = [
        ground_truth.compose_image_meta(7, (40, 64, 3), (128, 128, 3), (24, 0, 104, 128), 1.5, [1, 1, 0]),
        ground_truth.compose_image_meta(8, (9, 9, 3), (64, 64, 3), (0, 0, 64, 64), 1, [1, 0, 1]),
    ]
    assert metas[0].tolist() == [7, 40, 64, 3, 128, 128, 3, 24, 0, 104, 128, 1.5, 1, 1, 0]
    parsed = ground_truth.parse_image_meta(np.stack(metas))
    assert parsed["image_id"].tolist() == [7, 8]
    assert parsed["image_shape"].tolist() == [[128, 128, 3], [64, 64, 3]]
    assert parsed["scale"].tolist() == [1.5, 1]
    assert parsed["scale"].dtype == np.float32
    assert parsed["active_class_ids"].dtype == np.int32


def test_molding_is_undone_exactly():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    config = Tiny()
    config.MEAN_PIXEL = (123.7, 116.8, 103.9)
    molded = ground_truth.mold_image(image, config)
    assert molded.dtype == np.float32
    assert molded[0, 0] == pytest.approx(image[0, 0] - np.array(config.MEAN_PIXEL), abs=1e-4)
    assert (ground_truth.unmold_image(molded, config) == image).all()
