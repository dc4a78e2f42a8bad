import numpy as np
import pytest

from mrcnn.modeling import boxes, roi_align


def test_anchors_of_one_level_row_by_row():
    anchors = boxes.pyramid_anchors((8, 8), scales=(4,), ratios=(1,), strides=(4,))
    assert anchors.tolist() == [[0, 0, 4, 4], [0, 4, 4, 8], [4, 0, 8, 4], [4, 4, 8, 8]]


def test_anchors_where_matterport_has_them():
    anchors = boxes.pyramid_anchors((8, 4), scales=(4,), ratios=(1,), strides=(4,), centred=False)
    assert anchors.tolist() == [[-2, -2, 2, 2], [2, -2, 6, 2]]


def test_anchor_ratio_is_width_over_height_at_equal_area():
    (anchor,) = boxes.pyramid_anchors((4, 4), scales=(8,), ratios=(4,), strides=(4,))
    assert anchor.tolist() == [0, -6, 4, 10]  # 4 high, 16 wide, around (2, 2)


def test_overlaps_hand_computed():
    first = np.array([[[0, 0, 10, 10], [0, 0, 0, 0]]], np.float32)
    second = np.array([[[0, 5, 10, 15], [20, 20, 30, 30], [0, 0, 10, 10]]], np.float32)
    # 50 px shared of 150; nothing shared; the same box; padding overlaps nothing.
    expected = [[[1 / 3, 0, 1], [0, 0, 0]]]
    np.testing.assert_allclose(boxes.overlaps(first, second), expected, atol=1e-6)


def test_decode_inverts_encode():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (2, 50, 2, 2))
    first, second = np.concatenate([corners, corners + rng.uniform(5, 40, corners.shape)], -1).swapaxes(0, 2)
    first, second = first.astype(np.float32), second.astype(np.float32)
    std_dev = (0.1, 0.1, 0.2, 0.2)
    deltas = boxes.encode(first, second, std_dev)
    np.testing.assert_allclose(boxes.decode(first, deltas, std_dev), second, rtol=1e-4, atol=1e-3)


def test_encode_hand_computed():
    # Centre moves by (1, 2) of a size of 10; height doubles, width stays.
    deltas = boxes.encode(np.float32([[0, 0, 10, 10]]), np.float32([[-4, 2, 16, 12]]), (1, 1, 1, 1))
    np.testing.assert_allclose(deltas, [[0.1, 0.2, np.log(2), 0]], atol=1e-6)


def greedy(candidates, scores, limit, threshold):
    """The textbook loop."""
    overlaps = np.array(boxes.overlaps(candidates[None], candidates[None]))[0]
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > 0 and len(kept) < limit and all(overlaps[i, j] <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("suppress", [boxes.non_max_suppression, boxes.suppress_all_at_once])
@pytest.mark.parametrize("limit", [5, 60])
def test_non_max_suppression_equals_the_greedy_loop(limit, suppress):
    rng = np.random.default_rng(1)
    top_left = rng.uniform(0, 60, (2, 60, 2))
    candidates = np.concatenate([top_left, top_left + rng.uniform(10, 30, (2, 60, 2))], -1).astype(np.float32)
    scores = rng.permutation(120).reshape(2, 60).astype(np.float32) - 20  # 21 of them are not positive
    index, valid = (np.array(value) for value in suppress(candidates, scores, limit, 0.3))
    for i in range(2):
        assert index[i][valid[i]].tolist() == greedy(candidates[i], scores[i], limit, 0.3)


@pytest.mark.parametrize("suppress", [boxes.non_max_suppression, boxes.suppress_all_at_once])
def test_non_max_suppression_follows_chains(suppress):
    # a overlaps b, b overlaps c, a and c are apart: b goes, so c stays.
    chain = np.float32([[[0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18]]])
    index, valid = suppress(chain, np.float32([[0.9, 0.8, 0.7]]), 3, 0.3)
    assert np.array(index)[np.array(valid)].tolist() == [0, 2]


def test_pyramid_level_doubles_with_the_side():
    sides = np.float32([8, 112, 224, 448, 4000])
    corners = np.stack([0 * sides, 0 * sides, sides, sides], axis=-1)
    assert np.array(roi_align.pyramid_level(corners, 4)).tolist() == [0, 1, 2, 3, 3]


def test_roi_align_of_a_ramp_reads_the_ramp():
    # A map whose cells hold the coordinate of their centre gives back the coordinates of the bin centres.
    levels = []
    for stride in (4, 8):
        centres = (np.arange(64 // stride) + 0.5) * stride
        rows, columns = np.meshgrid(centres, centres, indexing="ij")
        levels.append(np.stack([rows, columns], -1)[None].astype(np.float32))
    roi = np.float32([[[10.3, 20.1, 31.3, 34.1]]])
    pooled = np.array(roi_align.roi_align(levels, roi, 7, (4, 8), (64, 64)))[0, 0]
    np.testing.assert_allclose(pooled[:, 0, 0], 10.3 + (np.arange(7) + 0.5) * 3, atol=1e-4)
    np.testing.assert_allclose(pooled[0, :, 1], 20.1 + (np.arange(7) + 0.5) * 2, atol=1e-4)


def test_roi_align_reads_each_box_from_its_level():
    levels = [np.full((1, 64 // s, 64 // s, 1), s, np.float32) for s in (4, 8, 16)]
    rois = np.float32([[[0, 0, 20, 20], [0, 0, 112, 112]]])
    pooled = np.array(roi_align.roi_align(levels, rois, 2, (4, 8, 16), (64, 64)))
    assert np.unique(pooled[0, 0]).tolist() == [4]
    assert np.unique(pooled[0, 1]).tolist() == [8]


def bilinear(level, y, x):
    """The textbook formula, the border continued."""
    height, width = level.shape[:2]
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = level[top, left] * (1 - dx) + level[top, right] * dx
    lower = level[bottom, left] * (1 - dx) + level[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


@pytest.mark.parametrize("centred", [True, False])
def test_roi_align_equals_its_definition(centred):
    rng = np.random.default_rng(2)
    side, strides, size = 128, (4, 8, 16), 3
    levels = [rng.normal(size=(2, side // s, side // s, 5)).astype(np.float32) for s in strides]
    corner = rng.uniform(0, 60, (2, 8, 2))
    rois = np.concatenate([corner, corner + rng.uniform(2, 68, corner.shape)], -1).astype(np.float32)
    rois[:, 0] = 0, 0, side, side
    pooled = np.array(roi_align.roi_align(levels, rois, size, strides, (side, side), centred))
    chosen = np.array(roi_align.pyramid_level(rois, 3))
    for image, roi in np.ndindex(2, 8):
        y1, x1, y2, x2 = rois[image, roi]
        level, stride = levels[chosen[image, roi]][image], strides[chosen[image, roi]]
        last = level.shape[0] - 1
        for i, j in np.ndindex(size, size):
            if centred:
                y = (y1 + (i + 0.5) / size * (y2 - y1)) / stride - 0.5
                x = (x1 + (j + 0.5) / size * (x2 - x1)) / stride - 0.5
            else:  # pixels 0 and 127 of the image are cells 0 and `last`
                y = (y1 + i / (size - 1) * (y2 - 1 - y1)) / (side - 1) * last
                x = (x1 + j / (size - 1) * (x2 - 1 - x1)) / (side - 1) * last
            np.testing.assert_allclose(pooled[image, roi, i, j], bilinear(level, y, x), atol=1e-4)


def test_crop_masks_of_the_same_box_is_the_mask_and_outside_is_zero():
    mask = np.float32([[[[1, 0], [0, 1]]]])
    box = np.float32([[[10, 10, 14, 14]]])
    np.testing.assert_allclose(roi_align.crop_masks(mask, box, box, 2), mask)
    # A box twice as wide: its right half lies outside the mask's own box.
    wide = np.float32([[[10, 10, 14, 18]]])
    np.testing.assert_allclose(roi_align.crop_masks(np.ones_like(mask), box, wide, 2), [[[[1, 0], [1, 0]]]])
