import numpy as np
import pytest

from mrcnn.training import losses


def test_rpn_class_loss_counts_sampled_anchors_only():
    logits = np.float32([[[0, 0], [0, 100], [100, 0]]])
    # The first is undecided between two classes: log 2; the second is certain and right; the third does
    # not count.
    assert float(losses.rpn_class_loss(np.int32([[-1, 1, 0]]), logits)) == pytest.approx(np.log(2) / 2)


def test_rpn_bbox_loss_is_smooth_l1_of_positives():
    match = np.int32([[1, -1]])
    deltas = np.float32([[[0.5, 0, 0, 3], [9, 9, 9, 9]]])
    expected = (0.5 * 0.5**2 + (3 - 0.5)) / 4
    assert float(losses.rpn_bbox_loss(match, np.zeros_like(deltas), deltas)) == pytest.approx(expected)


def test_class_loss_leaves_padding_out():
    logits = np.float32([[[0, 0], [100, 0]]])
    assert float(losses.class_loss(np.int32([[1, -1]]), logits)) == pytest.approx(np.log(2))


def test_bbox_loss_reads_the_deltas_of_the_class():
    deltas = np.zeros((1, 1, 3, 4), np.float32)
    deltas[0, 0, 2] = 2
    assert float(losses.bbox_loss(np.int32([[2]]), np.zeros((1, 1, 4), np.float32), deltas)) == 1.5
    assert float(losses.bbox_loss(np.int32([[1]]), np.zeros((1, 1, 4), np.float32), deltas)) == 0


def test_mask_loss_of_an_undecided_mask_is_log_two():
    logits = np.zeros((1, 2, 4, 4, 2), np.float32)
    target = np.ones((1, 2, 4, 4), np.float32)
    assert float(losses.mask_loss(np.int32([[1, -1]]), target, logits)) == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize("class_id", [0, -1])
def test_losses_without_positives_are_zero_not_nan(class_id):
    ids = np.full((1, 2), class_id, np.int32)
    zeros = np.zeros((1, 2, 4), np.float32)
    assert float(losses.rpn_bbox_loss(ids, zeros, zeros)) == 0
    assert float(losses.bbox_loss(ids, zeros, np.ones((1, 2, 2, 4), np.float32))) == 0
    masks = np.zeros((1, 2, 4, 4), np.float32)
    assert float(losses.mask_loss(ids, masks, np.ones((1, 2, 4, 4, 2), np.float32))) == 0
