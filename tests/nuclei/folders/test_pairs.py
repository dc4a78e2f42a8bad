from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.folders.pairs import ANNOTATION, are_complete, check_folder, pairs_of, write_pairs
from nuclei.folders.patches import fingerprint, list_patches, read_patch, write_patch
from nuclei.folders.runs import Run


def pair(value: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A plain image (8, 8, 3) uint8 and a layout with one nucleus."""
    layout = np.zeros((8, 8), np.int32)
    layout[2:5, 2:5] = 1
    return np.full((8, 8, 3), value, np.uint8), layout


def of_a(folder: Path, count: int = 2, **depends_on) -> Run:
    names = [f"a_{n}" for n in range(count)]
    return pairs_of(folder / "synthetic", "a", names, {"seed": 0, "samples": count} | depends_on)


def written(pairs: Run, value: int = 0) -> Run:
    write_pairs(pairs, [pair(value)] * len(pairs.items))
    return pairs


def replaced(pairs: Run) -> dict[str, int]:
    """The grey value of each pair that was set aside."""
    folder = pairs.folder / "replaced" / runs._date()
    return {name: int(read_patch(folder / name)[0, 0, 0]) for name in list_patches(folder)}


def killed(pairs: Run, value: int = 0) -> Run:
    """Write one pair, and then no other."""
    with pytest.raises(ValueError):
        write_pairs(pairs, [pair(value)])
    return pairs


def test_pairs_are_complete_once_all_are_written(tmp_path):
    pairs = of_a(tmp_path)
    assert not are_complete(pairs)
    killed(pairs)
    assert not are_complete(pairs)
    written(pairs)
    assert are_complete(pairs)
    assert list_patches(pairs.folder) == ["a_0", "a_1"]


@pytest.mark.parametrize("other", [{"count": 1}, {"count": 3}, {"seed": 1}, {"size": 8}])
def test_pairs_of_other_names_or_settings_are_not_those_wanted(tmp_path, other):
    written(of_a(tmp_path))
    assert not are_complete(of_a(tmp_path, **other))


def test_a_pair_that_was_changed_or_deleted_is_missed(tmp_path):
    pairs = written(of_a(tmp_path))
    write_patch(pairs.folder, "a_1", *pair(value=1))
    assert not are_complete(pairs)
    write_patch(pairs.folder, "a_1", *pair())
    assert are_complete(pairs)
    (pairs.folder / "a_1" / "images" / "a_1.png").unlink()
    assert not are_complete(pairs)


def test_a_pair_that_was_changed_by_hand_is_kept_aside(tmp_path):
    pairs = written(of_a(tmp_path))
    write_patch(pairs.folder, "a_1", *pair(value=7))
    assert are_complete(written(pairs))
    assert replaced(pairs) == {"a_0": 0, "a_1": 7}


def test_the_pairs_of_other_settings_are_kept_aside_and_nothing_else_is_touched(tmp_path):
    first = written(of_a(tmp_path, count=3), 3)
    for name in ("a_17", "b_0"):
        write_patch(first.folder, name, *pair())
    written(of_a(tmp_path, count=1), 1)
    assert list_patches(first.folder) == ["a_0", "a_17", "b_0"]
    assert replaced(first) == {"a_0": 3, "a_1": 3, "a_2": 3}


def test_a_run_that_was_killed_knows_its_pairs(tmp_path):
    first = written(of_a(tmp_path, count=4), 4)
    second = killed(of_a(tmp_path, count=2, size=8), 2)
    assert not are_complete(first) and not are_complete(second)
    assert second.changes == ""
    written(second)
    assert are_complete(second)
    assert list_patches(second.folder) == ["a_0", "a_1"]
    assert replaced(first) == {"a_0": 4, "a_1": 4, "a_2": 4, "a_3": 4}


def test_what_a_killed_run_has_written_is_kept_aside_by_other_settings(tmp_path):
    killed(of_a(tmp_path), 1)
    pairs = written(of_a(tmp_path, seed=1), 2)
    assert replaced(pairs) == {"a_0": 1}


def test_what_differs_in_the_pairs_to_be_replaced_is_told(tmp_path):
    assert of_a(tmp_path).changes == ""
    written(of_a(tmp_path))
    assert of_a(tmp_path, count=5).changes == "samples 2 -> 5"
    assert of_a(tmp_path, seed=1).changes == "seed 0 -> 1"


def test_what_is_not_recorded_is_not_replaced(tmp_path):
    pairs = written(of_a(tmp_path))
    write_patch(pairs.folder, "a_2", *pair())
    (pairs.folder / "a_3").mkdir()  # not even a patch
    with pytest.raises(InputError, match="a_2, a_3 were not written by this program; move.*another folder"):
        written(of_a(tmp_path, count=4))
    with pytest.raises(InputError, match="a_0, a_1 were not written by this program"):
        written(pairs_of(pairs.folder, "b", ["a_0", "a_1"], {}))
    assert are_complete(pairs)


@pytest.mark.parametrize("content", ["[]", "{}"])
def test_a_file_that_is_no_record_is_left_alone(tmp_path, content):
    pairs = of_a(tmp_path)
    pairs.folder.mkdir()
    (pairs.folder / "a.json").write_text(content)
    with pytest.raises(InputError, match="a.json is no record.*another folder"):
        pairs.check()
    assert (pairs.folder / "a.json").read_text() == content


RECORD = {"kind": "pairs", "version": 1, "finished": True, "depends_on": {}, "items": ["a_0"], "facts": {}}


@pytest.mark.parametrize(
    "broken",
    [{"depends_on": 5, "items": 7}, {"items": ["a_0", None]}, {"items": ["../data/a"]}],
)
def test_a_broken_record_is_named(tmp_path, broken):
    pairs = written(of_a(tmp_path))
    (pairs.folder / "a.json").write_text(json.dumps(RECORD | broken))
    for look in (pairs.check, lambda: are_complete(pairs)):
        with pytest.raises(InputError, match="a.json is no record of a run; move it away"):
            look()
    with pytest.raises(InputError, match="a.json is a broken record.*delete it and the pairs of a"):
        check_folder(pairs.folder, tmp_path, [])


def test_pairs_of_a_killed_run_are_not_for_learning(tmp_path):
    pairs = written(of_a(tmp_path))
    (pairs.folder / "mine.json").write_text("[]")
    check_folder(pairs.folder, tmp_path, [])
    killed(of_a(tmp_path, seed=1), 1)
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
