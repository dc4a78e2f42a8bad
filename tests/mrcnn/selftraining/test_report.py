import numpy as np

from mrcnn.selftraining import report
from nuclei.folders import patches
from nuclei.io.images import read_image
from nuclei.pictures import CAPTION_HEIGHT, YELLOW


def test_validation_patches_of_several_sizes_share_a_picture(tmp_path):
    pairs, found = {}, []
    for name, side in (("a", 40), ("b", 64)):
        labels = np.zeros((side, side), np.int32)
        labels[8:20, 8:20] = 1
        pairs[name] = np.full((side, side, 3), 120, np.uint8), labels
        found.append(np.zeros_like(labels))
    report.draw_validation(tmp_path, pairs, found, [0.2, 0.3], steps=25)
    picture = read_image(tmp_path / "validation_patches.png")
    height, width = 64 + CAPTION_HEIGHT, 64
    assert picture.shape == (2 * height + 3 * 8, 2 * width + 3 * 8, 3)
    outlined = (picture == YELLOW).all(axis=2)
    assert outlined[: height + 8].sum() == 2 * 44  # the border of a square of 12 px, in both patches
    assert not outlined[height + 8 :].any()


def test_labels_are_drawn_over_patches_of_several_sizes(tmp_path):
    for name, side in (("a", 40), ("b", 64)):
        labels = np.zeros((side, side), np.int32)
        labels[8:20, 8:20] = 1
        unsure = np.zeros_like(labels)
        unsure[25:35, 25:35] = 1
        image = np.full((side, side, 3), 120, np.uint8)
        patches.write_patch(tmp_path / "pseudo", name, image, labels, [0.9], undecided=unsure)
    report.draw_labels(tmp_path / "out", tmp_path / "pseudo", ["a", "b"], 0.4)
    picture = read_image(tmp_path / "out" / "pseudo_labels.png")
    assert (picture == YELLOW).all(axis=2).sum() == 2 * 44
    assert (picture == report.UNDECIDED).all(axis=2).sum() == 2 * 36
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"pseudo_labels", "confidence", "nuclei"}
