"""Scripts as users of Matterport's implementation have written them run as they are.

The clients beside this file are our own, one for each whose habits they keep; test_notebooks.py has those
that were notebooks, tests/mrcnn/test_scripts.py runs nucleus.py. Their network knows some discs by heart, so
what it finds is known too.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
import skimage.io

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config
from tests.matterport import (
    annotated,
    balloon,
    coco,
    five_channels,
    kangaroo,
    pseudo_labelling,
    shapes,
)
from tests.matterport.small import WEIGHTS
from tests.tiny_network import CENTRES, RADIUS, SIDE, assert_found, discs

# What clients give by position or by name, as Matterport has it; an argument of our own comes after.
ARGUMENTS = {
    modellib.MaskRCNN: "mode config model_dir",
    modellib.MaskRCNN.train: "self train_dataset val_dataset learning_rate epochs layers augmentation "
    "custom_callbacks no_augmentation_sources",
    modellib.MaskRCNN.detect: "self images verbose",
    modellib.MaskRCNN.load_weights: "self filepath by_name exclude",
    modellib.MaskRCNN.find_last: "self",
    modellib.MaskRCNN.get_imagenet_weights: "self",
    modellib.MaskRCNN.set_trainable: "self layer_regex keras_model indent verbose",
    modellib.MaskRCNN.set_log_dir: "self model_path",
    modellib.MaskRCNN.mold_inputs: "self images",
    modellib.MaskRCNN.unmold_detections: "self detections mrcnn_mask original_image_shape image_shape window",
    modellib.MaskRCNN.get_anchors: "self image_shape",
    modellib.MaskRCNN.get_trainable_layers: "self",
    modellib.MaskRCNN.find_trainable_layer: "self layer",
    modellib.log: "text array",
    modellib.load_image_gt: "dataset config image_id augment augmentation use_mini_mask",
    modellib.compose_image_meta: "image_id original_image_shape image_shape window scale active_class_ids",
    modellib.parse_image_meta: "meta",
    modellib.compute_backbone_shapes: "config image_shape",
    utils.Dataset: "class_map",
    utils.Dataset.add_class: "self source class_id class_name",
    utils.Dataset.add_image: "self source image_id path kwargs",
    utils.Dataset.prepare: "self class_map",
    utils.Dataset.map_source_class_id: "self source_class_id",
    utils.Dataset.get_source_class_id: "self class_id source",
    utils.Dataset.source_image_link: "self image_id",
    utils.Dataset.image_reference: "self image_id",
    utils.Dataset.load_image: "self image_id",
    utils.Dataset.load_mask: "self image_id",
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "names"), ARGUMENTS.items(), ids=lambda value: getattr(value, "__qualname__", "")
)
def test_arguments_have_the_names_and_places_that_clients_know(function, names):
    known = names.split()
    assert list(inspect.signature(function).parameters)[: len(known)] == known


def test_a_configuration_has_every_name_that_clients_set():
    clients = (balloon, shapes, coco, kangaroo, five_channels, pseudo_labelling)
    configs = [value for client in clients for value in vars(client).values() if inspect.isclass(value)]
    named = {name for each in configs if issubclass(each, Config) for name in vars(each) if name.isupper()}
    assert len(named) > 8 and named <= set(dir(Config))


@pytest.mark.parametrize("as_list", [False, True])
def test_polygons_of_balloons_are_masks(tmp_path, as_list):
    corners = [(10, 20), (10, 29), (14, 29), (14, 20)]
    annotated.via_project(tmp_path / "train", (np.zeros((40, 50, 3), np.uint8), [corners]), as_list=as_list)
    dataset = balloon.BalloonDataset()
    dataset.load_balloon(tmp_path, "train")
    dataset.prepare()
    mask, class_ids = dataset.load_mask(0)
    assert mask.shape == (40, 50, 1) and mask.dtype == bool and class_ids.tolist() == [1]
    assert mask.sum() == 5 * 10 and mask[10:15, 20:30].all()
    assert dataset.image_reference(0) == str(tmp_path / "train" / "0.png")
    assert utils.extract_bboxes(mask).tolist() == [[10, 20, 15, 30]]


@pytest.mark.slow
def test_balloons_are_learnt_and_keep_their_colour(tmp_path, trained):
    annotated.balloons(tmp_path / "balloons")
    balloon.main(["train", "--dataset", "balloons", "--weights", "mask_rcnn_coco.h5"])
    assert trained("logs", "balloon") == ["mask_rcnn_balloon_0001.h5"]
    image, labels = discs(CENTRES[0])
    balloon.main(["splash", "--weights", "last", "--image", "balloons/val/0.png"])
    splash = skimage.io.imread("splash.png")
    # At most the rim of a disc is told otherwise; light ground is grey, with all three channels alike.
    coloured = (splash.max(axis=2).astype(int) - splash.min(axis=2)) > 2
    assert (coloured != (labels > 0)).sum() < 0.2 * (labels > 0).sum()
    assert (splash[coloured] == image[coloured]).all()


@pytest.mark.slow
def test_a_film_keeps_the_colour_of_balloons_too():
    film = cv2.VideoWriter("film.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (SIDE, SIDE))
    for centres in CENTRES:
        film.write(np.ascontiguousarray(discs(centres)[0][..., ::-1]))
    film.release()
    balloon.main(["splash", "--weights", str(WEIGHTS), "--video", "film.avi"])
    found = cv2.VideoCapture("splash.avi")
    for centres in CENTRES:
        _, frame = found.read()
        colour = frame.max(axis=2).astype(int) - frame.min(axis=2)
        assert all(colour[y - 4 : y + 4, x - 4 : x + 4].mean() > 50 for y, x in centres)
        assert colour[discs(centres, radius=RADIUS + 8)[1] == 0].mean() < 5
    assert not found.read()[0]


def test_crowds_of_coco_have_negative_class_ids(tmp_path):
    annotated.coco_dataset(tmp_path)
    dataset = coco.CocoDataset()
    assert dataset.load_coco(tmp_path, "val") is None
    dataset.prepare()
    assert dataset.map_source_class_id(f"coco.{annotated.NUCLEUS}") == 1
    assert dataset.get_source_class_id(1, "coco") == annotated.NUCLEUS
    mask, class_ids = dataset.load_mask(1)
    assert class_ids.tolist() == [1, 1, 1, -1] and mask.shape == (SIDE, SIDE, 4)
    assert mask[:5, :2, 3].all() and mask[..., 3].sum() == 10
    assert dataset.image_reference(1).endswith("explore?id=1001")
    with pytest.warns(UserWarning, match="CocoDataset has no masks for .*id=1002"):
        assert dataset.load_mask(2)[0].shape == (0, 0, 0)
    ground_truth = modellib.load_image_gt(dataset, coco.CocoConfig(), 1)
    assert ground_truth[2].tolist() == [1, 1, 1, -1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CocoDataset has no masks")
def test_coco_is_learnt_and_scored_by_its_own_program(tmp_path, trained):
    annotated.coco_dataset(tmp_path / "coco")
    coco.main(["train", "--dataset", "coco", "--model", "coco"])
    assert trained("logs", "coco") == [f"mask_rcnn_coco_000{epoch}.h5" for epoch in (1, 2, 3)]
    stats = coco.main(["evaluate", "--dataset", "coco", "--model", "last"])
    for kind in ("bbox", "segm"):
        assert stats[kind][1] == pytest.approx(1)  # AP at an overlap of 0.5
        assert stats[kind][8] > 0.6  # average recall of up to 100 objects


def test_boxes_of_kangaroos_are_masks(tmp_path):
    annotated.kangaroos(tmp_path)
    (tmp_path / "annots" / "00000.xml").write_text(annotated.voc([(5, 10, 25, 40), (0, 0, 1, 2)], 60, 50))
    dataset = kangaroo.prepared(tmp_path, is_train=True)
    assert dataset.image_info[0]["id"] == "00000"
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (50, 60, 2) and masks.dtype == np.uint8 and class_ids.tolist() == [1, 1]
    assert masks.sum(axis=(0, 1)).tolist() == [20 * 30, 2] and masks[10:40, 5:25, 0].all()
    assert dataset.image_reference(0) == str(tmp_path / "images" / "00000.png")


@pytest.mark.slow
def test_kangaroos_are_found_in_images_that_were_molded(tmp_path, capsys, trained):
    annotated.kangaroos(tmp_path / "kangaroo")
    kangaroo.main("kangaroo")
    assert trained(".", "kangaroo_cfg") == ["mask_rcnn_kangaroo_cfg_0001.h5"]
    out = capsys.readouterr().out
    # A disc has 0.79 of the area of its box.
    assert "Train: 1, Test: 1" in out and "Train mAP: 1.000" in out and "Test mAP: 1.000" in out
    panels = plt.gcf().axes
    assert [len(panel.patches) for panel in panels] == [0, len(CENTRES[1])]
    assert Path("actual_vs_predicted.png").exists()


class Rgb(five_channels.NucleiConfig):
    IMAGE_CHANNEL_COUNT = 3
    MEAN_PIXEL = (127.0,) * 3


def kernel(network, layer):
    return network.get_layer(layer).get_weights()[0]


@pytest.mark.slow
def test_stacks_of_five_channels_begin_with_weights_for_three(tmp_path, printed):
    annotated.stacks(tmp_path / "stacks", five_channels.CHANNELS)
    rgb = modellib.MaskRCNN("inference", Rgb(), "logs", seed=1).keras_model
    rgb.save_weights("rgb.h5")
    five_channels.main("stacks", "rgb.h5")
    out = printed()
    assert "4 left as they were (conv1, mrcnn_bbox_fc, mrcnn_class_logits, mrcnn_mask)" in out
    assert out.count(" image shape: (128, 128, 5)") == 2
    # The first channel is 30 in a disc and 20 is subtracted; the last one is 10 on the ground, less 60.
    assert "molded shape: (128, 128, 5) min: -50.00000 max: 50.00000 float32" in out
    assert np.load("field0_found.npy").shape[:2] == (SIDE, SIDE)
    model = modellib.MaskRCNN("inference", five_channels.NucleiConfig(), "logs")
    before = kernel(model.keras_model, "conv1")
    model.load_weights(model.find_last())
    after = kernel(model.keras_model, "conv1")
    assert after.shape == (7, 7, 5, 8) and (after != before).any()
    # A layer of the backbone is neither excluded nor trained.
    assert (kernel(model.keras_model, "res2a_branch2a") == kernel(rgb, "res2a_branch2a")).all()


@pytest.mark.slow
def test_patches_without_labels_get_some_and_are_learnt(tmp_path, capsys, trained):
    annotated.patch_folders(tmp_path)
    pseudo_labelling.main(str(tmp_path), str(WEIGHTS))
    assert trained("logs", "nuclei") == [f"mask_rcnn_nuclei_000{epoch}.h5" for epoch in (1, 2)]
    written = sorted((tmp_path / "unlabelled" / "b" / "masks").iterdir())
    masks = np.dstack([skimage.io.imread(path) for path in written])
    assert np.unique(masks).tolist() == [0, 255]
    assert_found({"masks": masks > 0, "rois": utils.extract_bboxes(masks)}, CENTRES[1], (SIDE, SIDE))
    first, last = (line.split()[1] for line in capsys.readouterr().out.splitlines()[-2:])
    assert first.endswith("_0001.h5") and last.endswith("_0002.h5")
    assert Path(first).parent == Path(last).parent  # the second training goes on with the first
