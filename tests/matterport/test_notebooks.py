"""Notebooks written for Matterport's implementation run: shapes made as they are needed, and looking inside.

See test_clients.py for scripts.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrcnn import utils
from tests.matterport import annotated, inspect_data, inspect_model, shapes
from tests.matterport.small import WEIGHTS
from tests.tiny_network import CENTRES, RADIUS, SIDE, assert_found


def test_of_shapes_that_overlap_the_later_one_is_on_top():
    dataset = shapes.ShapesDataset()
    dataset.load_shapes(0, 128, 128)
    drawn = [
        ("square", (9, 9, 9), (40, 40, 20)),
        ("triangle", (1, 2, 3), (60, 60, 10)),
        ("circle", (5, 5, 5), (20, 20, 3)),
    ]
    dataset.add_image("shapes", 0, None, width=128, height=100, bg_color=(200, 100, 50), shapes=drawn)
    dataset.prepare()
    mask, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 3, 2] and mask.shape == (100, 128, 3)
    assert utils.extract_bboxes(mask)[:2].tolist() == [[20, 20, 61, 61], [50, 50, 71, 71]]
    assert mask.sum(axis=2).max() == 1
    image = dataset.load_image(0)
    assert (image[mask[..., 1]] == (1, 2, 3)).all() and (image[~mask.any(axis=2)] == (200, 100, 50)).all()
    assert dataset.image_reference(0) == drawn


def test_no_two_shapes_overlap_by_much():
    for _ in range(20):
        _, made = shapes.ShapesDataset().random_image(128, 128)
        boxes = np.array([[y - s, x - s, y + s, x + s] for _, _, (x, y, s) in made])
        overlaps = utils.compute_overlaps(boxes, boxes)
        assert (overlaps - np.eye(len(boxes)) <= 0.3).all()


@pytest.mark.slow
def test_shapes_are_learnt_heads_first_and_then_all(printed, trained):
    model, found = shapes.main()
    names = ["mask_rcnn_shapes_0001.h5", "mask_rcnn_shapes_0002.h5"]
    assert trained("logs", "shapes") == names
    out = printed()
    assert model.find_last().endswith(names[1]) and f"Loading weights from {model.find_last()}" in out
    assert found["masks"].shape[:2] == (128, 128) and found["rois"].shape == (len(found["scores"]), 4)
    assert "original_image shape: (128, 128, 3)" in out
    assert "image_meta shape: (16,)" in out  # 12 numbers and one a class
    assert 0 <= float(out.partition("mAP: ")[2].split()[0]) <= 1
    assert len(plt.get_fignums()) == 4  # two of top masks, the truth, and what was found
    assert Path("logs/mask_rcnn_shapes.h5").exists()
    report = model.load_weights("mask_rcnn_coco.h5", by_name=True, exclude=shapes.HEADS)
    assert set(report.left) == set(shapes.HEADS) - {"mrcnn_bbox"}


@pytest.fixture
def training_balloons(tmp_path):
    annotated.balloons(tmp_path / "balloons")
    return inspect_data.load("balloons")


def test_a_dataset_is_looked_at(training_balloons, printed):
    image, mask, bbox = inspect_data.bounding_boxes(training_balloons, 0)
    around = [[y - RADIUS, x - RADIUS, y + RADIUS, x + RADIUS] for y, x in CENTRES[0]]
    assert np.abs(bbox - around).max() <= 1
    out = printed()
    assert "image_id 0 balloons/train/0.png" in out
    assert " mask shape: (128, 128, 4) min: 0.00000 max: 1.00000 bool" in out
    image, window, boxes, larger = inspect_data.resized(image, mask)
    assert image.shape == (256, 256, 3) and window == (0, 0, 256, 256)
    assert (boxes == 2 * bbox).all() and larger.sum() == 4 * mask.sum()


def test_mini_masks_and_masks_are_turned_into_each_other(training_balloons):
    image, bbox, mini, full, again = inspect_data.mini_masks(training_balloons, 0)
    assert mini.shape == (56, 56, 4) and full.shape == (128, 128, 4)
    assert (mini != again).mean() < 0.01
    assert (utils.extract_bboxes(full) == bbox).all()
    # Discs are dark, and their masks are where they are, mirrored or not.
    assert (image[full.any(axis=2), 1] < 100).mean() > 0.9


def test_anchors_lie_where_matterport_has_them():
    anchors, levels = inspect_data.all_anchors()
    assert levels.tolist() == [[128 // stride] * 2 for stride in (4, 8, 16, 32, 64)]
    assert anchors.shape == (3 * (32**2 + 16**2 + 8**2 + 4**2 + 2**2), 4)
    middle = inspect_data.middle_anchors(np.zeros((128, 128, 3), np.uint8), anchors, levels)
    # Squares of 12, 22, ... px around the middle of the image.
    squares = [level[1].tolist() for level in middle]
    assert squares == [[64 - side / 2] * 2 + [64 + side / 2] * 2 for side in (12, 22, 40, 72, 128)]


def test_where_else_batches_come_from_is_said_and_true(training_balloons, capsys):
    batch = inspect_data.training_batch(training_balloons)
    assert "'data_generator'; use mrcnn.data.loader.Batches(dataset, config)" in capsys.readouterr().out
    assert batch["images"].shape == (2, 128, 128, 3)
    assert sorted(batch["gt_class_ids"].sum(axis=1)) == [3, 4]


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """A dataset, and a model that knows what it shows."""
    folder = tmp_path_factory.mktemp("inspected")
    annotated.balloons(folder)
    return inspect_model.load(folder, WEIGHTS)


@pytest.mark.slow
def test_detections_are_looked_at_and_scored(inspected, capsys):
    dataset, model = inspected
    ap, ap_range, overlaps = inspect_model.detect(dataset, model, 0)
    assert ap == 1 and 0.6 < ap_range <= 1
    assert overlaps.shape == (4, 4) and (overlaps.max(axis=0) > 0.7).all()
    assert "image ID: balloon.0.png (0)" in capsys.readouterr().out
    assert inspect_model.compute_batch_ap(dataset, model, [0, 1]) == 1
    assert_found(model.detect([dataset.load_image(1)])[0], CENTRES[1], (SIDE, SIDE))


def test_what_goes_into_a_model_is_looked_at(inspected):
    dataset, model = inspected
    normalised, pixels = inspect_model.anchors_of(model, (128, 128, 3))
    assert np.abs(normalised).max() < 2  # of 128 px, and no further beyond the edge than an anchor is long
    assert np.abs(pixels - model.keras_model.anchors(np.zeros((1, 128, 128, 3)))).max() <= 0.5
    moved = inspect_model.refined(np.array([[0, 0, 10, 20]]), np.array([[1, 0, 0, 0]]))
    assert moved.tolist() == [[1, 0, 11, 20]]  # by a tenth of its height
    inputs, meta, windows = inspect_model.molded(model, dataset.load_image(0))
    assert inputs.shape == (1, 128, 128, 3)
    assert windows.tolist() == meta["window"].tolist() == [[0, 0, 128, 128]]
    assert inputs[0, 0, 0].tolist() == [225 - 200, 190 - 170, 215 - 200]


def test_each_cell_that_looks_inside_matterports_graph_has_a_message(inspected):
    dataset, model = inspected
    boxes = np.array([[0, 0, 9, 9]])
    messages = inspect_model.through_the_graph(model, dataset.load_image(0), np.ones(1, int), boxes)
    assert len(messages) == 7
    assert [message for message in messages if "; use " not in message] == []


@pytest.mark.slow
def test_weights_are_looked_at(inspected):
    names = inspect_model.weight_histograms(inspected[1])
    assert {"c1_convolution", "fpn_c5p5", "rpn_class_raw", "mrcnn_class_logits", "mrcnn_mask"} <= set(names)
