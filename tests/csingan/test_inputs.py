from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csingan.inputs import Task, check, read_folder, read_patches
from nuclei.errors import InputError
from nuclei.folders.patches import write_patch
from nuclei.folders.tables import write_selection
from nuclei.io.images import write_image


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


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (spoilt(labels=pair()[1][:, :70]), "80 x 64 px but its mask is 70 x 64 px"),
        (spoilt(image=pair()[0][:60], labels=pair()[1][:60]), "80 x 60 px; a patch has at least 64 px"),
        (spoilt(image=np.repeat(pair()[0][..., :1], 3, axis=2)), "is grey"),
        (spoilt(labels=pair(0)[1]), "no nucleus in its mask"),
        (spoilt(labels=pair(1)[1]), "one nucleus alone"),
        (spoilt(labels=pair()[1] + 1), "no background"),
    ],
)
def test_a_patch_that_teaches_nothing_is_refused(task, words):
    with pytest.raises(InputError, match=f"^a.png.*{words}"):
        check(task)


def test_a_good_patch_passes():
    check(spoilt())
