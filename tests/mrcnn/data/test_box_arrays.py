import numpy as np
import pytest

from mrcnn import utils
from mrcnn.modeling import boxes as tensor_boxes


def random_boxes(count, seed, side=100):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, side, (count, 2))
    return np.concatenate([corners, corners + rng.integers(1, 40, (count, 2))], axis=1)


def test_overlaps_of_two_boxes():
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [5, 5, 5, 9]])
    # 50 px of 150 shared; the last has no area.
    assert utils.compute_overlaps(boxes, boxes) == pytest.approx(
        np.array([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])
    )


def test_one_box_against_many_agrees_with_all_pairs():
    boxes = random_boxes(30, seed=0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    expected = utils.compute_overlaps(boxes, boxes)[4]
    assert utils.compute_iou(boxes[4], boxes, areas[4], areas) == pytest.approx(expected)


def test_suppression_keeps_the_best_of_those_that_overlap():
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [50, 50, 60, 60], [0, 9, 10, 19]])
    assert utils.non_max_suppression(boxes, np.array([0.6, 0.9, 0.7, 0.5]), 0.5).tolist() == [1, 2, 3]
    assert utils.non_max_suppression(boxes[:0], np.zeros(0), 0.5).tolist() == []


def test_suppression_agrees_with_a_literal_one():
    boxes, scores = random_boxes(120, seed=1), np.random.default_rng(2).random(120)
    kept = []
    for i in np.argsort(-scores):
        if all(utils.compute_overlaps(boxes[[i]], boxes[[j]])[0, 0] <= 0.3 for j in kept):
            kept.append(i)
    assert utils.non_max_suppression(boxes, scores, 0.3).tolist() == kept


def test_deltas_move_and_grow_a_box():
    moved = utils.apply_box_deltas(np.array([[10, 20, 20, 40]]), np.array([[0.5, -0.25, np.log(2), 0]]))
    # Centre (15, 30) + (5, -5), height 10 -> 20, width 20.
    assert moved.dtype == np.float32
    assert moved == pytest.approx(np.array([[10, 15, 30, 35]]))


def test_refinement_is_the_inverse_of_applying_deltas():
    boxes, wanted = random_boxes(20, seed=3), random_boxes(20, seed=4)
    deltas = utils.box_refinement(boxes, wanted)
    assert utils.apply_box_deltas(boxes, deltas) == pytest.approx(wanted, abs=1e-3)


def test_anchors_lie_at_multiples_of_the_stride():
    anchors = utils.generate_anchors(8, [1, 4], (2, 3), 16, 2)
    # Columns 0 and 2 of row 0; the second anchor is 4 px high and 16 px wide.
    assert anchors.tolist() == [[-4, -4, 4, 4], [-2, -8, 2, 8], [-4, 28, 4, 36], [-2, 24, 2, 40]]


def test_several_scales_come_within_each_ratio():
    anchors = utils.generate_anchors([4, 8], [1, 4], (1, 1), 16, 1)
    assert (anchors[:, 2:] - anchors[:, :2]).tolist() == [[4, 4], [8, 8], [2, 8], [4, 16]]


def test_pyramid_anchors_differ_from_those_on_tensors_by_half_a_cell():
    scales, ratios, strides = (8, 16), (0.5, 1, 2), (4, 8)
    anchors = utils.generate_pyramid_anchors(scales, ratios, [(8, 6), (4, 3)], strides, 1)
    ours = tensor_boxes.pyramid_anchors((32, 24), scales, ratios, strides)
    half_cell = np.repeat([2, 4], [8 * 6 * 3, 4 * 3 * 3])[:, None]
    assert anchors + half_cell == pytest.approx(ours, abs=1e-4)


def test_the_whole_image_is_0_to_1():
    normed = utils.norm_boxes(np.array([[0, 0, 101, 201], [50, 100, 51, 101]]), (101, 201))
    assert normed.dtype == np.float32
    assert normed.tolist() == [[0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]]


def test_denorm_is_the_inverse_of_norm():
    boxes = random_boxes(50, seed=5)
    back = utils.denorm_boxes(utils.norm_boxes(boxes, (140, 333)), (140, 333))
    assert back.dtype == np.int32
    assert (back == boxes).all()


def test_rows_of_zeros_are_trimmed():
    assert utils.trim_zeros(np.array([[0, 1], [0, 0], [2, 0]])).tolist() == [[0, 1], [2, 0]]
