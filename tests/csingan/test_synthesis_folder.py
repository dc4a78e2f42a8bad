"""Samples from one prepared folder."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.folders.patches import list_patches, read_masks, read_patch, write_patch
from nuclei.io.images import write_image, write_labels
from tests.csingan.synthesis_runs import SIZE, files, images, make, tissue

pytestmark = pytest.mark.usefixtures("tiny_and_quick")


def test_a_prepared_folder_gets_a_sample_for_each_mask(folder, tmp_path):
    before = files(folder)
    make(tmp_path, folder=folder)
    assert list_patches(tmp_path / "synthetic") == ["m1", "m2"]
    assert np.array_equal(read_masks(tmp_path / "synthetic" / "m1") > 0, tissue()[1][::-1] > 0)
    assert read_patch(tmp_path / "synthetic" / "m2").shape == (80, 96, 3)
    assert read_masks(tmp_path / "synthetic" / "m2").max() == 2
    assert (tmp_path / "out" / "mine" / "samples.png").exists()
    assert files(folder) == before


def test_samples_of_a_folder_do_not_replace_other_patches(folder, tmp_path):
    write_patch(tmp_path / "synthetic", "m2", *tissue())
    write_image(tmp_path / "synthetic" / "m1" / "notes.png", tissue()[0])  # no patch
    before = images(tmp_path)
    with pytest.raises(InputError, match="m1, m2 were not written.*another folder"):
        make(tmp_path, folder=folder)
    assert images(tmp_path) == before


@pytest.mark.slow
def test_a_folder_is_made_anew_with_another_seed(folder, tmp_path, caplog):
    make(tmp_path, folder=folder)
    before = images(tmp_path)
    make(tmp_path, folder=folder, seed=1)
    assert "mine: the model is trained anew (seed 0 -> 1)" in caplog.text
    after = images(tmp_path)
    assert after.keys() == before.keys() and after != before
    assert images(tmp_path / "synthetic" / "replaced", runs._date()) == before


@pytest.mark.slow
def test_masks_that_are_not_trained_on_need_no_new_training(folder, tmp_path, training, caplog):
    make(tmp_path, folder=folder)
    assert training.happened()
    masks = folder / "random mask"
    small = tissue()[1][:, :60]
    write_labels(masks / "m3.tif", small)
    make(tmp_path, folder=folder)
    assert list(images(tmp_path)) == ["m1", "m2", "m3"]
    assert read_masks(tmp_path / "synthetic" / "m3").max() == 4
    write_labels(masks / "m3.tif", np.where(small == 1, 0, small))
    make(tmp_path, folder=folder)
    assert read_masks(tmp_path / "synthetic" / "m3").max() == 3
    assert not training.happened()
    write_labels(masks / "m4.tif", tissue()[1])
    make(tmp_path, folder=folder)
    assert training.happened() and "trained anew (random_masks changed" in caplog.text


def test_random_layouts_matter_to_a_folder_only_where_they_are_used(folder, tmp_path, training):
    make(tmp_path, folder=folder)
    assert training.happened()
    make(tmp_path, folder=folder, layout={"density": (9, 9)})
    assert list(images(tmp_path)) == ["m1", "m2"] and not training.happened()
    (folder / "random mask" / "m1.png").unlink()  # the one that has the size of the patch
    with pytest.raises(InputError, match="mine: nuclei were to cover"):
        make(tmp_path, folder=folder, layout={"density": (9, 9)})


def test_without_a_nucleus_in_the_samples_no_figure_is_told(folder, tmp_path, caplog):
    for path in (folder / "random mask").iterdir():
        path.unlink()
    write_image(folder / "random mask" / "m1.png", np.zeros((SIZE, SIZE), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(tmp_path, folder=folder)
    assert "AUC" not in caplog.text and "look at" in caplog.text


def test_transparency_is_said_in_one_line(folder, tmp_path, caplog):
    import cv2

    image = np.dstack([tissue()[0][..., ::-1], np.full((SIZE, SIZE), 200, np.uint8)])
    cv2.imwrite(str(folder / "train.png"), image)
    make(tmp_path, folder=folder)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "train.png has transparent pixels" in record.getMessage()
