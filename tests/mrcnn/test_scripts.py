"""A script written for Matterport's Mask R-CNN runs as it is."""

import csv

import cv2
import h5py
import numpy as np
import pytest

from mrcnn.modeling.network import Network
from nuclei import tissue
from nuclei.folders import patches
from tests.matterport.nucleus import NucleusConfig, mask_to_rle
from tests.programs import call

pytestmark = pytest.mark.slow

KINDS = ("lymphoid", "glandular")


class Coco(NucleusConfig):
    NUM_CLASSES = 1 + 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder in which the script ran, and what it printed."""
    folder = tmp_path_factory.mktemp("script")
    for kind in KINDS:
        patches.write_patch(folder / "stage1_train", kind, *tissue.generate(kind, 128, 3))
    Network(Coco()).save_weights(folder / "mask_rcnn_coco.h5")
    finished = call(
        folder, "tests/matterport/nucleus.py", "--dataset", "stage1_train", "--weights", "mask_rcnn_coco.h5",
        "--logs", "logs", "--results", "results",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return folder, finished.stdout


def test_it_says_its_configuration_and_what_of_the_weights_it_took(run):
    lines = run[1].splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines[2 : lines.index("", 2)])
    assert shown["NAME"] == "nucleus" and shown["IMAGE_MIN_SCALE"] == "2.0"
    assert shown["BATCH_SIZE"] == "2" and shown["IMAGE_META_SIZE"] == "14"
    heads = "mrcnn_bbox_fc, mrcnn_class_logits, mrcnn_mask"
    (report,) = (line for line in lines if line.startswith("mask_rcnn_coco.h5: loaded "))
    assert f"3 of the file not used ({heads}); 3 left as they were ({heads})" in report


def test_it_trains_heads_then_all_in_one_folder_of_logs(run):
    (logs,) = (run[0] / "logs").iterdir()
    assert logs.name.startswith("nucleus2")
    assert {path.name for path in logs.glob("*_0*.h5")} == {
        "mask_rcnn_nucleus_0001.h5",
        "mask_rcnn_nucleus_0002.h5",
    }
    with (logs / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(row["val_loss"])) for row in rows)
    assert f"Loading weights  logs/{logs.name}/mask_rcnn_nucleus_0002.h5" in run[1]


def test_the_heads_alone_change_in_the_first_epoch(run):
    (logs,) = (run[0] / "logs").iterdir()
    kernels = []
    for path in (run[0] / "mask_rcnn_coco.h5", *sorted(logs.glob("*_0*.h5"))):
        with h5py.File(path) as file:
            kernels.append({
                name: file[name][f"{name}/kernel:0"][()] for name in ("c2_block1_expand", "fpn_c5p5")
            })  # fmt: skip
    before, heads, whole = kernels
    assert (before["c2_block1_expand"] == heads["c2_block1_expand"]).all()
    assert (before["fpn_c5p5"] != heads["fpn_c5p5"]).any()
    assert (heads["c2_block1_expand"] != whole["c2_block1_expand"]).any()


def test_it_writes_a_submission_and_a_picture(run):
    (results,) = (run[0] / "results").glob("submit_*")
    header, *lines = (results / "submit.csv").read_text().splitlines()
    assert header == "ImageId,EncodedPixels"
    assert 1 <= len(lines) <= NucleusConfig.DETECTION_MAX_INSTANCES
    for line in lines:
        name, runs = line.split(",")
        first, lengths = np.array(runs.split(), int).reshape(-1, 2).T
        assert name == "glandular" and (lengths > 0).all()
        assert first[0] >= 1 and (first + lengths - 1).max() <= 128 * 128
        assert (first[1:] > first[:-1] + lengths[:-1]).all()
    assert cv2.imread(str(results / "glandular.png")).std() > 10


def test_it_scores_its_detections(run):
    nuclei = tissue.generate("glandular", 128, 3)[1].max()
    # 128 px enlarged twice, and of 12 numbers and one a class.
    assert f"image (256, 256, 3) meta (14,) masks (256, 256, {nuclei})" in run[1]
    assert f"predictions, {nuclei} instances" in run[1]
    assert "AP @0.50:" in run[1] and "AP @0.95:" in run[1] and "AP @0.50-0.95:" in run[1]


def test_older_habits_of_the_keras_model_work(run):
    assert "restored True layer fpn_c5p5 (1, 1, 320, 64)" in run[1]
    assert "Total params" in run[1]
    with h5py.File(run[0] / "results" / "x.h5") as file:
        assert b"rpn_model" in file.attrs["layer_names"]


def test_runs_go_down_the_columns_and_overlaps_to_the_better_mask():
    masks = np.zeros((3, 4, 2), bool)
    masks[:2, 1:3, 0] = True
    masks[1:, 2:, 1] = True
    assert mask_to_rle("a", masks, np.array([0.6, 0.9])) == "a, 4 2 7 1\na, 8 2 11 2"
    assert mask_to_rle("a", masks[..., :0], np.zeros(0)) == "a,"
