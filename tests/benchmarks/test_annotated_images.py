from pathlib import Path

import numpy as np
import pytest

from benchmarks import annotated_images
from benchmarks.annotated_images import find_files, read_splits, read_training, sort_images
from nuclei.errors import InputError
from nuclei.io.files import write_json
from nuclei.io.images import write_image, write_labels

SPLITS = {"my_train": ["c", "a"], "test_near": ["b"], "test_far": ["d"], "source": "where they come from"}


@pytest.fixture
def folder(tmp_path):
    for value, stem in enumerate("abcd"):
        write_image(tmp_path / "in" / "images" / f"{stem}.png", np.full((8, 8, 3), value, np.uint8))
        write_labels(tmp_path / "in" / "labels" / f"{stem}.tif", np.full((8, 8), value + 1))
    write_json(tmp_path / "in" / "splits.json", SPLITS)
    return tmp_path / "in"


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_splits_are_read_by_their_names(folder):
    assert read_splits(folder) == (["a", "c"], {"test_near": ["b"], "test_far": ["d"]})


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"train": ["a"]}, "needs lists of file stems"),
        ({"test": ["a"]}, "needs lists of file stems"),
        ({"train": ["a"], "test": "b"}, "needs lists of file stems"),
        ({"train": ["a"], "train_test": ["b"]}, "needs lists of file stems"),  # of both kinds
        ({"train": ["a"], "test": [1]}, "needs lists of file stems"),
        (["a"], "needs lists of file stems"),
        ({"train": ["a", "b"], "test": ["c", "b"]}, "has b for training and for testing"),
    ],
)
def test_a_test_image_is_never_learnt(folder, splits, words):
    write_json(folder / "splits.json", splits)
    with pytest.raises(InputError, match=words):
        read_splits(folder)


def test_images_and_labels_are_sorted_by_split(folder, tmp_path):
    where = sort_images(folder, tmp_path / "out")
    assert names(where.train_images) == ["a.png", "c.png"]
    assert names(where.train_labels) == ["a.tif", "c.tif"]
    assert names(where.test_images) == ["b.png", "d.png"]
    assert names(where.test_labels) == ["b.tif", "d.tif"]
    assert sort_images(folder, tmp_path / "out") == where


@pytest.mark.parametrize("changed", ["split", "image", "labels"])
def test_other_images_need_another_folder(folder, tmp_path, changed):
    sort_images(folder, tmp_path / "out")
    if changed == "split":
        write_json(folder / "splits.json", {"train": ["c", "b"], "test": ["a", "d"]})
    elif changed == "image":
        write_image(folder / "images" / "d.png", np.full((8, 8, 3), 99, np.uint8))
    else:
        write_labels(folder / "labels" / "a.tif", np.eye(8, dtype=int))
    with pytest.raises(InputError, match="holds other images than .* choose another --out"):
        sort_images(folder, tmp_path / "out")


def test_a_stem_without_image_or_labels_is_named(folder, tmp_path):
    (folder / "labels" / "c.tif").unlink()
    for read in (lambda: sort_images(folder, tmp_path / "out"), lambda: read_training(folder, 2)):
        with pytest.raises(InputError, match=r"splits\.json names c, which has no image or no"):
            read()
    assert not (tmp_path / "out").exists()


def test_training_images_alone_may_be_looked_at(folder):
    assert list(read_training(folder, 9)) == ["a", "c"]
    assert list(read_training(folder, 1)) == ["a"]
    ((image, labels),) = read_training(folder, 1, ["c"]).values()
    assert image[0, 0].tolist() == [2, 2, 2]
    assert labels[0, 0] == 3
    with pytest.raises(InputError, match="b is no training image"):
        read_training(folder, 1, ["b"])


def test_a_sorting_that_was_killed_never_mixes_two_splits(folder, tmp_path, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(annotated_images.shutil, "copyfile", killed)
        sort_images(folder, tmp_path / "out")
    write_json(folder / "splits.json", {**SPLITS, "my_train": ["b"], "test_near": ["a"]})
    with pytest.raises(InputError, match="split otherwise"):
        sort_images(folder, tmp_path / "out")
    write_json(folder / "splits.json", SPLITS)
    assert names(sort_images(folder, tmp_path / "out").train_images) == ["a.png", "c.png"]


def test_two_images_of_one_stem_are_refused(folder):
    write_image(folder / "images" / "a.tif", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="have the same name"):
        find_files(folder, ["a"])
