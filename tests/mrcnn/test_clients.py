"""Scripts and notebooks as users of Matterport's implementation have written them run as they are.

Those in tests/matterport/ are our own, one for each client whose habits they keep; test_scripts.py runs
nucleus.py. Their network knows some discs by heart, so what it finds is known too.
"""

from __future__ import annotations

import inspect
import random
import shutil
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
    inspect_data,
    inspect_model,
    kangaroo,
    pseudo_labelling,
    shapes,
)
from tests.matterport.small import WEIGHTS
from tests.tiny_network import CENTRES, RADIUS, SIDE, assert_found, discs, eagerly


@pytest.fixture(scope="module", autouse=True)
def without_compiling_or_windows():
    plt.switch_backend("Agg")
    plt.rcParams["figure.max_open_warning"] = 0
    with eagerly():
        yield


@pytest.fixture(autouse=True)
def reproducible(monkeypatch, tmp_path):
    """A folder of its own, where the weights lie that clients call COCO's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    shutil.copy(WEIGHTS, "mask_rcnn_coco.h5")
    random.seed(0)
    np.random.seed(0)
    yield
    plt.close("all")


def printed(capsys):
    """What was printed, with one blank between words."""
    return " ".join(capsys.readouterr().out.split())


def weights_files(logs, name):
    """The names of the weights of each epoch in the one folder of logs."""
    (folder,) = Path(logs).glob(f"{name}2*")
    return sorted(path.name for path in folder.glob(f"mask_rcnn_{name}_0*.h5"))


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
def test_balloons_are_learnt_and_keep_their_colour(tmp_path):
    annotated.balloons(tmp_path / "balloons")
    balloon.main(["train", "--dataset", "balloons", "--weights", "mask_rcnn_coco.h5"])
    assert weights_files("logs", "balloon") == ["mask_rcnn_balloon_0001.h5"]
    image, labels = discs(CENTRES[0])
    balloon.main(["splash", "--weights", "last", "--image", "balloons/val/0.png"])
    splash = skimage.io.imread("splash.png")
    # At most the rim of a disc is told otherwise; light ground is grey, with all three channels alike.
    coloured = (splash.max(axis=2).astype(int) - splash.min(axis=2)) > 2
    assert (coloured != (labels > 0)).sum() < 0.2 * (labels > 0).sum()
    assert (splash[coloured] == image[coloured]).all()


@pytest.mark.slow
def test_a_film_keeps_the_colour_of_balloons_too(tmp_path):
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
def test_shapes_are_learnt_heads_first_and_then_all(capsys):
    model, found = shapes.main()
    names = ["mask_rcnn_shapes_0001.h5", "mask_rcnn_shapes_0002.h5"]
    assert weights_files("logs", "shapes") == names
    out = printed(capsys)
    assert model.find_last().endswith(names[1]) and f"Loading weights from {model.find_last()}" in out
    assert found["masks"].shape[:2] == (128, 128) and found["rois"].shape == (len(found["scores"]), 4)
    assert "original_image shape: (128, 128, 3)" in out
    assert "image_meta shape: (16,)" in out  # 12 numbers and one a class
    assert 0 <= float(out.partition("mAP: ")[2].split()[0]) <= 1
    assert len(plt.get_fignums()) == 4  # two of top masks, the truth, and what was found
    assert Path("logs/mask_rcnn_shapes.h5").exists()
    report = model.load_weights("mask_rcnn_coco.h5", by_name=True, exclude=shapes.HEADS)
    assert set(report.left) == set(shapes.HEADS) - {"mrcnn_bbox"}


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
def test_coco_is_learnt_and_scored_by_its_own_program(tmp_path):
    annotated.coco_dataset(tmp_path / "coco")
    coco.main(["train", "--dataset", "coco", "--model", "coco"])
    assert weights_files("logs", "coco") == [f"mask_rcnn_coco_000{epoch}.h5" for epoch in (1, 2, 3)]
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
def test_kangaroos_are_found_in_images_that_were_molded(tmp_path, capsys):
    annotated.kangaroos(tmp_path / "kangaroo")
    kangaroo.main("kangaroo")
    assert weights_files(".", "kangaroo_cfg") == ["mask_rcnn_kangaroo_cfg_0001.h5"]
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
def test_stacks_of_five_channels_begin_with_weights_for_three(tmp_path, capsys):
    annotated.stacks(tmp_path / "stacks", five_channels.CHANNELS)
    rgb = modellib.MaskRCNN("inference", Rgb(), "logs", seed=1).keras_model
    rgb.save_weights("rgb.h5")
    five_channels.main("stacks", "rgb.h5")
    out = printed(capsys)
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


@pytest.fixture
def training_balloons(tmp_path):
    annotated.balloons(tmp_path / "balloons")
    return inspect_data.load("balloons")


def test_a_dataset_is_looked_at(training_balloons, capsys):
    image, mask, bbox = inspect_data.bounding_boxes(training_balloons, 0)
    around = [[y - RADIUS, x - RADIUS, y + RADIUS, x + RADIUS] for y, x in CENTRES[0]]
    assert np.abs(bbox - around).max() <= 1
    out = printed(capsys)
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


@pytest.mark.slow
def test_patches_without_labels_get_some_and_are_learnt(tmp_path, capsys):
    annotated.patch_folders(tmp_path)
    pseudo_labelling.main(str(tmp_path), str(WEIGHTS))
    assert weights_files("logs", "nuclei") == [f"mask_rcnn_nuclei_000{epoch}.h5" for epoch in (1, 2)]
    written = sorted((tmp_path / "unlabelled" / "b" / "masks").iterdir())
    masks = np.dstack([skimage.io.imread(path) for path in written])
    assert np.unique(masks).tolist() == [0, 255]
    assert_found({"masks": masks > 0, "rois": utils.extract_bboxes(masks)}, CENTRES[1], (SIDE, SIDE))
    first, last = (line.split()[1] for line in capsys.readouterr().out.splitlines()[-2:])
    assert first.endswith("_0001.h5") and last.endswith("_0002.h5")
    assert Path(first).parent == Path(last).parent  # the second training goes on with the first
