import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.training import targets


class Tiny(Config):
    RPN_TRAIN_ANCHORS_PER_IMAGE = 4
    TRAIN_ROIS_PER_IMAGE = 6
    ROI_POSITIVE_RATIO = 0.5
    MASK_POOL_SIZE = 2
    MASK_SHAPE = (4, 4)
    CELL_CENTRED = True
    MINI_MASK_SHAPE = (4, 4)


SEED = keras.random.SeedGenerator(0)
OBJECT, CROWD, PADDING = [0, 0, 10, 10], [50, 50, 90, 90], [0, 0, 0, 0]
GT_BOXES = np.float32([[OBJECT, CROWD, PADDING]])
GT_IDS = np.int32([[1, -1, 0]])


def anchor_match(anchors):
    match, deltas = targets.anchor_targets(np.float32(anchors), GT_BOXES, GT_IDS, Tiny(), SEED)
    return np.array(match)[0].tolist(), np.array(deltas)[0]


def test_anchor_targets_by_overlap():
    # The same box; 0.5 of it (neither); far away; inside the region to ignore.
    match, deltas = anchor_match([OBJECT, [0, 0, 5, 10], [30, 30, 40, 40], [60, 60, 70, 70]])
    assert match == [1, 0, -1, 0]
    np.testing.assert_allclose(deltas[0], 0, atol=1e-6)


def test_the_best_anchor_of_an_object_is_positive_even_below_the_threshold():
    match, _ = anchor_match([[0, 0, 5, 10], [0, 0, 2, 10], [30, 30, 40, 40]])
    assert match == [1, -1, -1]


def test_anchors_are_sampled_at_most_half_positive():
    match, _ = anchor_match([OBJECT] * 10 + [[30, 30, 40, 40]] * 10)
    assert match.count(1) == 2
    assert match.count(-1) == 2


def test_an_image_without_objects_has_only_negative_anchors():
    nothing = np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.int32)
    match, deltas = targets.anchor_targets(np.float32([OBJECT, CROWD]), *nothing, Tiny(), SEED)
    assert np.array(match).tolist() == [[-1, -1]]
    assert np.isfinite(np.array(deltas)).all()


def roi_targets(proposals, gt_ids=GT_IDS, outlined=1):
    masks = np.zeros((1, 3, 4, 4), np.uint8)
    masks[0, 0, :2] = 1  # the upper half of the object
    gt = gt_ids, GT_BOXES, masks, np.float32([outlined])
    found = targets.roi_targets(np.float32([proposals]), *gt, Tiny(), SEED)
    return [np.array(value)[0] for value in found]


def test_roi_targets_put_positives_first():
    near, far, in_crowd = [0, 0, 10, 8], [30, 30, 40, 40], [60, 60, 70, 70]
    rois, class_ids, deltas, masks = roi_targets([near, far, in_crowd, PADDING])
    # The object itself joins the proposals, so two of three positive places are filled.
    assert sorted(class_ids[:3].tolist()) == [-1, 1, 1]
    assert class_ids[3:].tolist().count(0) == 1
    assert rois[3:][class_ids[3:] == 0].tolist() == [far]
    positives = rois[:3][class_ids[:3] == 1].tolist()
    assert sorted(positives) == [near, OBJECT]
    for roi, mask in zip(rois[:3], masks, strict=True):
        if roi.tolist() in positives:
            np.testing.assert_allclose(mask[:2], 1, atol=1e-5)
            np.testing.assert_allclose(mask[2:], 0, atol=1e-5)
    assert np.isfinite(deltas).all()


def test_roi_targets_without_objects_are_background_only():
    _, class_ids, deltas, _ = roi_targets([[30, 30, 40, 40], PADDING], np.zeros_like(GT_IDS))
    assert class_ids[:3].tolist() == [-1, -1, -1]
    assert sorted(class_ids[3:].tolist()) == [-1, -1, 0]
    assert np.isfinite(deltas).all()


def test_beside_a_guessed_box_nothing_is_called_background():
    beside, far = [0, 0, 10, 4], [30, 30, 40, 40]  # an overlap of 0.4 with the object, and none
    for outlined, expected in ((1, [beside, far]), (0, [far])):
        rois, class_ids, _, _ = roi_targets([beside, far, PADDING], outlined=outlined)
        assert sorted(rois[class_ids == 0].tolist()) == expected


@pytest.mark.parametrize(("largest", "learnt"), [(0.5, True), (0.3, False)])
def test_a_region_a_little_off_an_object_is_background_or_is_not_learnt(monkeypatch, largest, learnt):
    monkeypatch.setattr(Tiny, "NEGATIVE_ROI_OVERLAP", largest)
    off, far = [0, 0, 4, 10], [30, 30, 40, 40]  # 0.4 of the object
    rois, class_ids, _, _ = roi_targets([off, far])
    background = rois[class_ids == 0].tolist()
    assert far in background and (off in background) == learnt
