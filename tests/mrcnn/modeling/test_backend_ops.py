"""What a backend has ready-made answers as our own operations do, on the boxes and maps of both geometries.

PyTorch's is compared with TensorFlow's and ours in mrcnn/test_backends.py.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mrcnn.modeling import backend_ops, boxes, roi_align

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients are taped")

STRIDES, SHAPE = (4, 8, 16, 32), (64, 128)  # px


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=(2, SHAPE[0] // s, SHAPE[1] // s, 3)), tf.float32) for s in STRIDES]


def of_all_levels():
    """(2, 45, 4) boxes of all sizes, some of them at the borders, and padding."""
    rng = np.random.default_rng(1)
    first = rng.uniform(0, np.array(SHAPE) - 8, (2, 40, 2))
    last = np.minimum(first + np.exp(rng.uniform(1, 5, (2, 40, 2))), SHAPE)
    borders = [[0, 0, 64, 128], [0, 0, 20, 20], [44, 100, 64, 128], [0.4, 0.4, 1.6, 1.6], [0, 0, 0, 0]]
    borders = np.broadcast_to(np.array(borders), (2, 5, 4))
    return np.concatenate([np.concatenate([first, last], -1), borders], 1).astype(np.float32)


def pooled_and_gradients(maps, centred):
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = roi_align.roi_align(maps, of_all_levels(), 5, STRIDES, SHAPE, centred)
        factors = np.random.default_rng(2).normal(size=pooled.shape).astype(np.float32)
        total = tf.reduce_sum(pooled * factors)
    return pooled, tape.gradient(total, maps, unconnected_gradients="zero")


def test_padding_goes_up_to_the_last_object_of_the_batch():
    class_ids = np.int32([[1, 0, 0, 0, 0], [1, -1, 1, 0, 0]])
    gt = backend_ops.without_padding(np.ones((2, 5, 4), np.float32), class_ids)
    assert [tuple(values.shape) for values in gt] == [(2, 3, 4), (2, 3)]
    np.testing.assert_array_equal(gt[1], class_ids[:, :3])


def test_without_any_object_one_place_is_left():
    gt = backend_ops.without_padding(np.ones((2, 5, 4), np.float32), np.zeros((2, 5), np.int32))
    assert [tuple(values.shape) for values in gt] == [(2, 1, 4), (2, 1)]


@pytest.mark.parametrize("centred", [True, False])
def test_sampled_grids_and_their_gradients_equal_the_gathered_ones(maps, centred, monkeypatch):
    levels = np.unique(roi_align.pyramid_level(of_all_levels(), len(maps)))
    assert len(levels) > 1
    pooled, gradients = pooled_and_gradients(maps, centred)
    monkeypatch.setattr(backend_ops, "sample_grids", lambda *arguments: None)
    expected, expected_gradients = pooled_and_gradients(maps, centred)
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-4)
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


def test_a_box_beyond_the_image_reads_no_other_level():
    maps = [np.full((1, 64 // s, 64 // s, 1), s, np.float32) for s in STRIDES]
    far = np.float32([[[-400, -400, -380, -380], [900, 900, 920, 920], [-300, -300, 300, 300]]])
    pooled = np.array(roi_align.roi_align(maps, far, 3, STRIDES, (64, 64)))[0, ..., 0]
    levels = np.array(roi_align.pyramid_level(far, len(maps)))[0]
    for values, level in zip(pooled, levels, strict=True):
        assert (values == STRIDES[level]).all()


def test_maps_in_bfloat16_are_sampled_in_float32(maps):
    halved = [ops.cast(one, "bfloat16") for one in maps]
    pooled = roi_align.roi_align(halved, of_all_levels(), 5, STRIDES, SHAPE)
    assert pooled.dtype == tf.float32
    exact = roi_align.roi_align(
        [ops.cast(one, "float32") for one in halved], of_all_levels(), 5, STRIDES, SHAPE
    )
    np.testing.assert_allclose(pooled, exact, atol=1e-6)


def test_a_batch_of_unknown_size_is_pooled_when_compiled(maps):
    @tf.function(input_signature=[tf.TensorSpec((None, 45, 4), tf.float32)])
    def pooled(regions):
        return roi_align.roi_align(maps, regions, 5, STRIDES, SHAPE)

    assert pooled.get_concrete_function().output_shapes.as_list() == [None, 45, 5, 5, 3]
    regions = of_all_levels()
    np.testing.assert_allclose(
        pooled(regions), roi_align.roi_align(maps, regions, 5, STRIDES, SHAPE), atol=1e-4
    )


def test_suppression_keeps_what_our_own_keeps():
    rng = np.random.default_rng(3)
    first = rng.uniform(0, 60, (2, 80, 2))
    candidates = np.concatenate([first, first + rng.uniform(5, 40, (2, 80, 2))], -1).astype(np.float32)
    scores = rng.uniform(-0.3, 1, (2, 80)).astype(np.float32)
    index, valid = (np.array(found) for found in backend_ops.non_max_suppression(candidates, scores, 30, 0.4))
    ours, ours_valid = (np.array(found) for found in boxes.suppress_all_at_once(candidates, scores, 30, 0.4))
    np.testing.assert_array_equal(valid, ours_valid)
    np.testing.assert_array_equal(index[valid], ours[valid])


def test_nothing_is_kept_of_boxes_without_a_score():
    candidates, scores = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4), np.float32)
    index, valid = backend_ops.non_max_suppression(candidates, scores, 3, 0.5)
    assert index.shape == (1, 3)
    assert not np.array(valid).any()
