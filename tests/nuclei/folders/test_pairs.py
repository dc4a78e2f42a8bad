from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.folders.pairs import ANNOTATION, Pairs, check_folder
from nuclei.folders.patches import fingerprint, list_patches, write_patch


def pair(value: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A plain image (8, 8, 3) uint8 and a layout with one nucleus."""
    layout = np.zeros((8, 8), np.int32)
    layout[2:5, 2:5] = 1
    return np.full((8, 8, 3), value, np.uint8), layout


def of_a(folder: Path, count: int = 2, **made_with) -> Pairs:
    return Pairs(folder / "synthetic", "a", [f"a_{n}" for n in range(count)], {"seed": 0} | made_with)


def written(pairs: Pairs, value: int = 0) -> Pairs:
    pairs.write([pair(value)] * len(pairs.names))
    pairs.finish()
    return pairs


def test_pairs_are_complete_once_they_are_finished(tmp_path):
    pairs = of_a(tmp_path)
    assert not pairs.are_complete()
    pairs.write([pair(), pair()])
    assert not pairs.are_complete()
    pairs.finish()
    assert pairs.are_complete()
    assert list_patches(pairs.folder) == ["a_0", "a_1"]


@pytest.mark.parametrize("other", [{"count": 1}, {"count": 3}, {"seed": 1}, {"size": 8}])
def test_pairs_of_other_names_or_settings_are_not_those_wanted(tmp_path, other):
    written(of_a(tmp_path))
    assert not of_a(tmp_path, **other).are_complete()


def test_a_pair_that_was_changed_or_deleted_is_missed(tmp_path):
    pairs = written(of_a(tmp_path))
    write_patch(pairs.folder, "a_1", *pair(value=1))
    assert not pairs.are_complete()
    write_patch(pairs.folder, "a_1", *pair())
    assert pairs.are_complete()
    (pairs.folder / "a_1" / "images" / "a_1.png").unlink()
    assert not pairs.are_complete()


def test_the_pairs_of_an_earlier_run_are_removed_and_nothing_else(tmp_path):
    first = written(of_a(tmp_path, count=3))
    for name in ("a_17", "b_0"):
        write_patch(first.folder, name, *pair())
    written(of_a(tmp_path, count=1))
    assert list_patches(first.folder) == ["a_0", "a_17", "b_0"]


def test_a_run_that_was_killed_knows_its_pairs(tmp_path):
    first, second = written(of_a(tmp_path, count=4)), of_a(tmp_path, count=2, size=8)
    with pytest.raises(ValueError):  # a pair is missing: as good as a kill
        second.write([pair()])
    assert not first.are_complete() and not second.are_complete()
    assert second.check() == ""
    written(second)
    assert second.are_complete()
    assert list_patches(second.folder) == ["a_0", "a_1"]


def test_what_differs_in_the_pairs_to_be_replaced_is_told(tmp_path):
    assert of_a(tmp_path).check() == ""
    written(of_a(tmp_path))
    assert of_a(tmp_path, count=5).check() == ""
    assert of_a(tmp_path, seed=1).check() == "seed 0 -> 1"


def test_what_is_not_recorded_is_not_replaced(tmp_path):
    pairs = written(of_a(tmp_path))
    write_patch(pairs.folder, "a_2", *pair())
    (pairs.folder / "a_3").mkdir()  # not even a patch
    with pytest.raises(InputError, match="holds a_2, a_3 already.*a.json.*delete them.*--synthetic"):
        of_a(tmp_path, count=4).check()
    with pytest.raises(InputError, match="holds a_0, a_1 already, not written as pairs of b"):
        replace(pairs, patch="b").check()


@pytest.mark.parametrize("content", ["[]", "{}"])
def test_a_file_that_is_no_record_is_left_alone(tmp_path, content):
    pairs = of_a(tmp_path)
    pairs.folder.mkdir()
    (pairs.folder / "a.json").write_text(content)
    with pytest.raises(InputError, match="a.json is no record.*--synthetic"):
        pairs.check()


@pytest.mark.parametrize(
    "content",
    [
        '{"made_with": 5, "names": 7}',
        '{"made_with": {}, "names": ["a_0", null]}',
        '{"made_with": {}, "names": ["../data/a"]}',
    ],
)
def test_a_broken_record_is_named(tmp_path, content):
    pairs = written(of_a(tmp_path))
    (pairs.folder / "a.json").write_text(content)
    for look in (pairs.check, pairs.are_complete, lambda: check_folder(pairs.folder, tmp_path, [])):
        with pytest.raises(InputError, match="a.json is a broken record.*delete it and the pairs of a"):
            look()


def test_pairs_of_a_killed_run_are_not_for_learning(tmp_path):
    pairs = written(of_a(tmp_path))
    (pairs.folder / "mine.json").write_text("[]")
    check_folder(pairs.folder, tmp_path, [])
    of_a(tmp_path, seed=1).write([pair(1), pair(1)])
    with pytest.raises(InputError, match="pairs of a in .* are not complete"):
        check_folder(pairs.folder, tmp_path, [])


def test_pairs_of_an_earlier_annotation_are_not_for_learning(tmp_path):
    data = tmp_path / "data"
    write_patch(data, "a", *pair())
    pairs = written(of_a(tmp_path, **{ANNOTATION: fingerprint(data, ["a"])}))
    check_folder(pairs.folder, data, ["a"])
    image, layout = pair()
    write_patch(data, "a", image, layout.T[::-1])
    with pytest.raises(
        InputError, match="data/a/ has changed since the synthetic pairs of a in .*main_train"
    ):
        check_folder(pairs.folder, data, ["a"])
    check_folder(pairs.folder, data, [])  # the pairs do without their patch
