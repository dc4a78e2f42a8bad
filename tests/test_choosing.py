"""What is compared and how; the runs themselves are scripts, which have their own tests."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks import choosing
from benchmarks.choosing import Run, Settings, deal, read_runs, summarise
from nuclei.errors import InputError
from nuclei.files import write_json


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


def test_the_gain_over_random_patches_is_paired_by_image():
    def rows(method, draw, **aji):
        others = dict.fromkeys(choosing.SCORES, 0.5)
        return [{**others, "method": method, "draw": draw, "image": key, "aji": aji[key]} for key in aji]

    table = pd.DataFrame(
        rows("random", 0, a=0.2, b=0.6) + rows("random", 1, a=0.4, b=0.6) + rows("kmeans", 0, a=0.4, b=0.7)
    )
    figures = summarise(table)
    assert figures["random"]["aji_draws"] == [0.4, 0.5]
    assert figures["kmeans"]["aji"] == 0.55
    assert figures["kmeans"]["gain"] == [0.1, 0.0, 0.2]  # 0.4 - 0.3 and 0.7 - 0.6; image a alone, draws
    # of 0.4 and of 0.2 alone, are each one in sixteen of the bootstrap
    assert "gain" not in figures["random"]
    assert "gain" not in summarise(table[table["method"] == "kmeans"])["kmeans"]


@pytest.mark.parametrize("folds", [1, 3])
def test_folds_that_cannot_be_made_are_refused(tmp_path, folds):
    write_json(tmp_path / "splits.json", {"train": ["a", "b"], "test": ["c"]})
    with pytest.raises(InputError, match=f"--folds is {folds}; it must be 2 to 2"):
        choosing.main(Settings(tmp_path, folds=folds, out=tmp_path / "out"))


def test_unknown_methods_are_named(tmp_path):
    with pytest.raises(InputError, match="--methods has best; known are consistency without_spread random"):
        choosing.main(Settings(tmp_path, methods=("random", "best"), out=tmp_path / "out"))
