from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from csingan.inputs import (
    RANDOM_MASKS,
    Task,
    check,
    read_folder,
    read_instances,
    read_patches,
    read_random_masks,
    read_training_pair,
)
from nuclei.errors import InputError
from nuclei.folders.patches import write_patch
from nuclei.folders.selected import write_selection
from nuclei.io.images import write_image, write_labels


def pair(nuclei: int = 3) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    labels = np.zeros((64, 80), np.int32)
    for number in range(nuclei):
        labels[4:12, 4 + 12 * number : 12 + 12 * number] = number + 1
    return image, labels


@pytest.fixture
def data(tmp_path) -> Path:
    for name, nuclei in (("a", 3), ("b", 2), ("c", 4)):
        write_patch(tmp_path / "data", name, *pair(nuclei))
    write_patch(tmp_path / "data", "d", pair()[0])
    write_selection(tmp_path / "data", pd.DataFrame([{"patch": "b"}, {"patch": "a"}]))
    return tmp_path / "data"


def test_the_selected_patches_come_in_their_order(data):
    tasks = read_patches(data)
    assert [task.name for task in tasks] == ["b", "a"]
    assert [task.labels.max() for task in tasks] == [2, 3]
    assert tasks[0].source == data / "b" / "images" / "b.png"
    assert not tasks[0].more and not tasks[0].masks


def test_one_patch_need_not_be_selected(data):
    assert [task.name for task in read_patches(data, "c")] == ["c"]


def test_the_nuclei_of_all_annotated_patches_join(data):
    (task,) = read_patches(data, "a", all_shapes=True)
    assert sorted(labels.max() for labels in task.more) == [2, 4]


def test_a_prepared_folder_is_one_task(tmp_path):
    image, labels = pair()
    folder = tmp_path / "mine"
    write_image(folder / "train.png", image)
    write_image(folder / "train_mask.png", np.uint8(labels))
    write_image(folder / "random_masks" / "m.png", np.uint8(labels > 0))
    task = read_folder(folder)
    assert task.name == "mine" and list(task.masks) == ["m"]
    assert np.array_equal(task.labels, labels)


def test_masks_of_the_size_of_the_patch_can_be_trained_on():
    wide, own = np.ones((64, 90), np.int32), np.ones((64, 80), np.int32)
    (found,) = spoilt(masks={"wide": wide, "own": own}).masks_of_its_size
    assert found is own
    assert spoilt().masks_of_its_size == []


def test_what_is_not_annotated_or_not_there_is_named(data):
    with pytest.raises(InputError, match="not annotated yet.*: d;"):
        read_patches(data, "d")
    with pytest.raises(InputError, match="no patch e; .*--patch"):
        read_patches(data, "e")


def spoilt(**changes) -> Task:
    image, labels = pair()
    return replace(Task("a", Path("a.png"), image, labels), **changes)


def frame() -> np.ndarray:
    """A nucleus and an outline around nearly all of the patch."""
    labels = np.full_like(pair()[1], 2)
    labels[:8] = 0
    labels[2:6, 2:6] = 1
    return labels


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (spoilt(labels=pair()[1][:, :70]), "80 x 64 px but its mask is 70 x 64 px"),
        (spoilt(image=pair()[0][:60], labels=pair()[1][:60]), "80 x 60 px; a patch has at least 64 px"),
        (spoilt(image=np.repeat(pair()[0][..., :1], 3, axis=2)), "is grey"),
        (spoilt(labels=pair(0)[1]), "no nucleus in its mask"),
        (spoilt(labels=pair(1)[1]), "one nucleus alone"),
        (spoilt(labels=pair()[1] + 1), "no background"),
        (spoilt(labels=frame()), r"one nucleus covers 8.% of it, .*\(mask 2 of 2\)"),
    ],
)
def test_a_patch_that_teaches_nothing_is_refused(task, words):
    with pytest.raises(InputError, match=f"^a.png.*{words}"):
        check(task)


def test_a_good_patch_passes():
    check(spoilt())


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


def test_masks_whose_ids_are_no_nuclei_are_refused(tmp_path):
    write_image(tmp_path / "inverted.png", np.uint8(squares() == 0))
    with pytest.raises(InputError, match=r"inverted\.png: id 1 reaches around nearly the whole image"):
        read_instances(tmp_path / "inverted.png")
    soft = cv2.GaussianBlur(np.kron(squares(), np.ones((4, 4), np.uint8)), (5, 5), 0)
    write_image(tmp_path / "soft.png", soft)
    with pytest.raises(InputError, match=r"soft\.png has .* ids .*, or a mask with soft edges"):
        read_instances(tmp_path / "soft.png")
