from __future__ import annotations

import json
import os

import pytest

from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.folders.runs import Run


def run(folder, **depends_on) -> Run:
    return Run(folder / "train_0", "training", depends_on)


def pairs(folder, *items, seed=0) -> Run:
    return Run(folder, "pairs", {"seed": seed}, items, "a.json")


def finished(run: Run, content: str = "") -> Run:
    run.begin()
    for name in run.items or ("weights.h5",):
        (run.folder / name).write_text(content)
    run.finish()
    return run


def contents(folder) -> dict[str, str]:
    """The text of each file below a folder, without records; dates become "then"."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    names = [path.relative_to(folder).as_posix().replace(runs._date(), "then") for path in files]
    return {name: path.read_text() for name, path in zip(names, files, strict=True)}


def test_the_four_states(tmp_path) -> None:
    step = run(tmp_path, steps=100)
    assert step.state == "absent" and not step.changes
    step.begin()
    assert step.state == "begun"
    step.finish(aji=0.5)
    assert step.state == "finished" and step.is_finished and step.facts == {"aji": 0.5}
    other = run(tmp_path, steps=200)
    assert other.state == "stale" and other.changes == "steps 100 -> 200"
    assert other.facts == {"aji": 0.5}


def test_a_begun_run_goes_on(tmp_path) -> None:
    step = run(tmp_path, steps=100)
    step.begin()
    (step.folder / "checkpoint").write_text("half")
    assert run(tmp_path, steps=100).begin() is None
    assert contents(tmp_path) == {"train_0/checkpoint": "half"}


@pytest.mark.parametrize("complete", [True, False])
def test_stale_results_are_kept_under_a_dated_name(tmp_path, complete, caplog) -> None:
    before = finished(run(tmp_path, steps=100), "old")
    if not complete:
        before.begin()
    now = run(tmp_path, steps=200)
    with caplog.at_level("INFO"):
        aside = now.begin()
    assert now.state == "begun" and aside == tmp_path / "replaced" / runs._date() / "train_0"
    assert contents(tmp_path) == {"replaced/then/train_0/weights.h5": "old"}
    assert json.loads((aside / "settings.json").read_text())["depends_on"] == {"steps": 100}
    assert "steps 100 -> 200" in caplog.text and str(aside) in caplog.text


def test_a_second_replacement_takes_nothing_of_the_first(tmp_path) -> None:
    for steps in (1, 2, 3):
        finished(run(tmp_path, steps=steps), str(steps))
    assert contents(tmp_path) == {
        "replaced/then/train_0/weights.h5": "1",
        "replaced/then_2/train_0/weights.h5": "2",
        "train_0/weights.h5": "3",
    }


def test_a_new_version_of_the_code_is_a_change_like_any_other(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(runs.VERSIONS, "training", 1)
    finished(run(tmp_path, steps=100))
    monkeypatch.setitem(runs.VERSIONS, "training", 99)
    assert run(tmp_path, steps=100).changes == f"version {1} -> 99"


@pytest.mark.parametrize(
    ("now", "difference"),
    [
        ({"k1": 8, "k2": 3}, "k1 4 -> 8"),
        ({"k1": 4}, "k2 3 -> None"),
        ({"k1": 4, "k2": 3, "seed": 1}, "seed None -> 1"),
        ({"k1": 8, "k2": 5}, "k1 4 -> 8, k2 3 -> 5"),
    ],
)
def test_what_differs_is_named(tmp_path, now, difference) -> None:
    finished(run(tmp_path, k1=4, k2=3))
    assert run(tmp_path, **now).changes == difference


def test_nested_settings_name_what_differs_alone(tmp_path) -> None:
    finished(run(tmp_path, patches={"annotated": "3 (ab)", "synthetic": "48 (cd)"}))
    now = run(tmp_path, patches={"annotated": "3 (ab)", "synthetic": "64 (ef)"})
    assert now.changes == "patches.synthetic '48 (cd)' -> '64 (ef)'"


def test_paths_compare_as_text(tmp_path) -> None:
    finished(run(tmp_path, out=tmp_path, range=(0.8, 1.2)))
    assert run(tmp_path, out=str(tmp_path), range=[0.8, 1.2]).is_finished


def test_files_of_others_are_never_taken_for_ours(tmp_path) -> None:
    step = run(tmp_path, steps=100)
    step.folder.mkdir()
    (step.folder / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that were not made here"):
        step.begin()
    assert contents(tmp_path) == {"train_0/thesis.txt": "mine"}


def test_the_cache_stays(tmp_path) -> None:
    def selection(k1: int) -> Run:
        return Run(tmp_path / "selection", "selection", {"k1": k1}, cache=("features",))

    finished(selection(3), "old")
    (tmp_path / "selection" / "features").mkdir()
    (tmp_path / "selection" / "features" / "keys").write_text("costly")
    selection(4).begin()
    assert contents(tmp_path) == {
        "selection/features/keys": "costly",
        "selection/replaced/then/weights.h5": "old",
    }


def test_a_folder_behind_a_link_stays_behind_it(tmp_path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "train_0").symlink_to(tmp_path / "disk", target_is_directory=True)
    finished(run(tmp_path, steps=1), "1")
    finished(run(tmp_path, steps=2), "2")
    assert (tmp_path / "train_0").is_symlink()
    assert contents(tmp_path / "disk") == {"replaced/then/weights.h5": "1", "weights.h5": "2"}


def test_results_in_a_shared_folder(tmp_path) -> None:
    finished(pairs(tmp_path, "a_0", "a_1"), "old")
    (tmp_path / "b_0").write_text("another patch's")
    fewer = pairs(tmp_path, "a_0", seed=1)
    assert fewer.state == "stale" and fewer.written == ("a_0", "a_1")
    finished(fewer, "new")
    assert contents(tmp_path) == {
        "a_0": "new",
        "b_0": "another patch's",
        "replaced/then/a_0": "old",
        "replaced/then/a_1": "old",
    }
    assert fewer.written == ("a_0",)


def test_something_else_under_the_name_of_a_result(tmp_path) -> None:
    (tmp_path / "a_0").write_text("mine")
    with pytest.raises(InputError, match="a_0 was not written by this program"):
        pairs(tmp_path, "a_0").begin()


def test_a_kill_while_results_are_moved_loses_nothing(tmp_path, monkeypatch) -> None:
    finished(pairs(tmp_path, "a_0", "a_1"), "old")
    real, moved = os.replace, []

    def killed(source, target):
        if "replaced" in str(target) and len(moved) == 1:
            raise KeyboardInterrupt
        moved.extend(["one"] if "replaced" in str(target) else [])
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        pairs(tmp_path, "a_0", "a_1", seed=1).begin()
    monkeypatch.undo()
    # Back at the old settings, half of the results are not taken for all of them.
    assert pairs(tmp_path, "a_0", "a_1").state == "begun"
    finished(pairs(tmp_path, "a_0", "a_1", seed=1), "new")
    assert sorted(contents(tmp_path).values()) == ["new", "new", "old", "old"]


def test_what_lies_between_two_rounds_is_removed(tmp_path) -> None:
    step = finished(run(tmp_path, round=1))
    step.discard()
    assert step.state == "absent" and not contents(tmp_path)
    step.discard()


@pytest.mark.parametrize(
    "record",
    [
        [],
        {"kind": "pairs"},
        {"kind": "pairs", "version": 1, "finished": True, "depends_on": {}, "items": ["../x"]},
    ],
)
def test_a_broken_record_names_itself(tmp_path, record) -> None:
    (tmp_path / "a.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"a\.json is no record of a run"):
        pairs(tmp_path, "a_0").begin()
