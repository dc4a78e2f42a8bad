"""What is compared and how; the runs themselves are scripts, which have their own tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.stage1 import choosing
from benchmarks.stage1.choosing import Run, Settings, deal, read_groups, read_runs, summarise
from nuclei.errors import InputError
from nuclei.io.files import write_json
from nuclei.io.images import write_image, write_labels


def test_every_image_is_in_one_fold_whatever_the_order_of_the_list():
    folds = deal(list("gfedcba"), 3)
    assert sorted(len(fold) for fold in folds) == [2, 2, 3]
    assert sorted(stem for fold in folds for stem in fold) == list("abcdefg")
    assert deal(list("abcdefg"), 3) == folds


def test_precision_and_recall_follow_from_dq_and_the_counts(tmp_path):
    folder = tmp_path / "random_0_1" / "scores"
    folder.mkdir(parents=True)
    # 6 of 8 predicted and of 12 true nuclei match: DQ = 2 * 6 / (8 + 12); an empty image of an empty truth.
    table = pd.DataFrame({"image": ["a", "b"], "nuclei": [12, 0], "predicted": [8, 0], "dq": [0.6, 1.0]})
    table.to_csv(folder / "scores.csv", index=False)
    found = read_runs(tmp_path, [Run("random", 0, 1)])
    assert found["precision"].tolist() == pytest.approx([0.75, 0])
    assert found["recall"].tolist() == pytest.approx([0.5, 0])
    assert found[["method", "fold", "draw"]].values.tolist() == [["random", 0, 1]] * 2


def test_the_gain_over_random_patches_is_paired_by_run():
    def run(method, fold, draw, *aji):
        others = {**dict.fromkeys(choosing.SCORES, 0.5), "method": method, "fold": fold, "draw": draw}
        return [{**others, "image": f"{fold}{number}", "aji": value} for number, value in enumerate(aji)]

    table = pd.DataFrame(
        run("random", 0, 0, 0.2, 0.6) + run("random", 1, 0, 0.3, 0.5) + run("random", 0, 1, 0.9, 0.9)
        + run("kmeans", 0, 0, 0.4, 0.8) + run("kmeans", 1, 0, 0.2, 0.6)
    )  # fmt: skip
    figures = summarise(table)
    assert figures["random"]["aji_draws"] == [0.4, 0.9]
    assert figures["kmeans"]["aji"] == 0.5
    # +0.2 in fold 0 and 0 in fold 1: each of them twice is one in four of the bootstrap.
    assert figures["kmeans"]["gain"] == [0.1, 0.0, 0.2]
    assert "gain" not in figures["random"]
    assert "gain" not in summarise(table[table["method"] == "kmeans"])["kmeans"]


def test_groups_take_the_place_of_folds(tmp_path):
    write_json(tmp_path / "organs.json", {"liver": ["c", "a"], "kidney": ["b"]})
    assert read_groups(tmp_path / "organs.json", ["a", "b", "c"]) == [["a", "c"], ["b"]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"], "needs two lists"),
        ({"all": ["a", "b"]}, "needs two lists"),
        ({"one": ["a", "b"], "none": []}, "needs two lists"),
        ({"one": ["a"], "two": ["b", "a"]}, "every training image once"),
        ({"one": ["a"], "two": ["c"]}, "every training image once"),
    ],
)
def test_groups_that_are_none_are_refused(tmp_path, groups, message):
    write_json(tmp_path / "organs.json", groups)
    with pytest.raises(InputError, match=message):
        read_groups(tmp_path / "organs.json", ["a", "b"])


@pytest.mark.parametrize("folds", [1, 3])
def test_folds_that_cannot_be_made_are_refused(tmp_path, folds):
    write_json(tmp_path / "splits.json", {"train": ["a", "b"], "test": ["c"]})
    with pytest.raises(InputError, match=f"--folds is {folds}; it must be 2 to 2"):
        choosing.main(Settings(tmp_path, folds=folds, out=tmp_path / "out"))


def test_unknown_methods_are_named(tmp_path):
    with pytest.raises(InputError, match="--methods has best; known are representative consistency random"):
        choosing.main(Settings(tmp_path, methods=("random", "best"), out=tmp_path / "out"))


def test_runs_on_images_that_have_changed_are_refused(tmp_path):
    for value, stem in enumerate("abc"):
        write_image(tmp_path / "in" / "images" / f"{stem}.png", np.full((8, 8, 3), value, np.uint8))
        write_labels(tmp_path / "in" / "labels" / f"{stem}.tif", np.full((8, 8), value + 1))
    write_json(tmp_path / "in" / "splits.json", {"train": ["a", "b"], "test": ["c"]})
    settings = Settings(tmp_path / "in", folds=2, draws=0, out=tmp_path / "out")
    for fold in range(2):
        choosing._tissue(settings, deal("ab", 2), fold)
    write_labels(tmp_path / "in" / "labels" / "b.tif", np.full((8, 8), 7))
    with pytest.raises(InputError, match="tissue_0/ holds other images"):
        choosing.main(settings)
