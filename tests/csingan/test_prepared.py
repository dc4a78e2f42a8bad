from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from csingan.prepared import RANDOM_MASKS, read_instances, read_random_masks, read_training_pair
from nuclei.errors import InputError
from nuclei.io.images import write_image, write_labels


def squares(value: int = 255) -> np.ndarray:
    """Three squares, the first two touching at a corner."""
    mask = np.zeros((12, 16), np.uint8)
    mask[1:4, 1:4] = mask[4:7, 4:7] = mask[8:11, 10:14] = value
    return mask


@pytest.mark.parametrize("value", [1, 255])
def test_the_parts_of_a_binary_mask_are_its_nuclei(tmp_path, value):
    write_image(tmp_path / "a.png", squares(value))
    labels = read_instances(tmp_path / "a.png")
    assert labels.dtype == np.int32 and labels.max() == 3
    assert np.array_equal(labels > 0, squares() > 0)


def test_instances_are_kept_as_they_are(tmp_path):
    labels = np.zeros((12, 16), np.int32)
    labels[1:4, 1:4], labels[4:6, 1:4] = 7, 300
    labels[8:10, 8:10] = 7  # one nucleus in two parts
    write_labels(tmp_path / "a.tif", labels)
    found = read_instances(tmp_path / "a.tif")
    assert np.array_equal(found, np.select([labels == 7, labels == 300], [1, 2]))


def test_a_mask_without_background_has_no_zero(tmp_path):
    labels = np.full((4, 4), 5, np.int32)
    labels[:2] = 9
    write_labels(tmp_path / "a.tif", labels)
    assert set(np.unique(read_instances(tmp_path / "a.tif"))) == {1, 2}


def test_an_empty_mask_is_an_empty_layout(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    assert not read_instances(tmp_path / "a.png").any()


def test_the_training_pair(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    write_image(tmp_path / "train.png", image)
    write_image(tmp_path / "train_mask.png", squares())
    found, labels = read_training_pair(tmp_path)
    assert np.array_equal(found, image) and labels.max() == 3


@pytest.mark.parametrize("missing", ["train.png", "train_mask.png", ""])
def test_what_is_missing_is_named(tmp_path, missing):
    for name in {"train.png", "train_mask.png"} - {missing}:
        write_image(tmp_path / name, squares())
    with pytest.raises(InputError, match=missing or "nowhere"):
        read_training_pair(tmp_path if missing else tmp_path / "nowhere")


@pytest.mark.parametrize("name", RANDOM_MASKS)
def test_random_masks_come_by_their_names(tmp_path, name):
    write_image(tmp_path / name / "m1.png", squares())
    write_labels(tmp_path / name / "m2.tif", np.eye(8, dtype=np.int32))
    layouts = read_random_masks(tmp_path)
    assert list(layouts) == ["m1", "m2"]
    assert layouts["m2"].shape == (8, 8)


def no_folder(folder: Path) -> None:
    pass


def two_folders(folder: Path) -> None:
    for name in RANDOM_MASKS[:2]:
        write_image(folder / name / "m1.png", squares())


def empty_folder(folder: Path) -> None:
    (folder / "random_masks").mkdir()


def one_name_twice(folder: Path) -> None:
    write_image(folder / "random_masks" / "m1.png", squares())
    write_labels(folder / "random_masks" / "m1.tif", np.eye(8, dtype=np.int32))


def broken(folder: Path) -> None:
    (folder / "random_masks").mkdir()
    (folder / "random_masks" / "m1.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_folder, "no folder of random masks.*random_masks"),
        (two_folders, "both random_masks and random mask"),
        (empty_folder, "holds no image"),
        (one_name_twice, "m1.tif has the name of another"),
        (broken, "m1.png cannot be read"),
    ],
)
def test_random_masks_that_cannot_be_used_are_named(tmp_path, spoil, words):
    spoil(tmp_path)
    with pytest.raises(InputError, match=words):
        read_random_masks(tmp_path)
