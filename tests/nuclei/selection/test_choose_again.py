"""A choice of patches made again, with settings, patches or tables that changed in between."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, write_masks, write_patch
from nuclei.folders.selected import read_selection
from nuclei.io.files import write_json
from nuclei.io.images import write_image
from nuclei.selection import features as networks
from nuclei.selection import report
from nuclei.selection.choose import OVERVIEWS
from nuclei.slides.cropping import crop_images
from tests.kills import kill_after
from tests.pools import COUNT, SIZE, choose, tissue, write_patches


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Features are not to be computed."""
    monkeypatch.setattr(networks, "Extractor", None)


@pytest.fixture
def quick(monkeypatch) -> dict:
    """Settings of a choice that takes no time."""
    monkeypatch.setattr(report, "write_map", lambda path, *of_no_matter: write_json(path, "a map"))
    return {"method": "random"}


def results(folder: Path) -> dict[str, bytes]:
    """The contents of the results in a folder, without what was replaced and what is kept for later runs."""
    apart = {"replaced", "features", "overviews"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    names = {path.relative_to(folder): path for path in files}
    return {name.as_posix(): path.read_bytes() for name, path in names.items() if not apart & set(name.parts)}


def replaced(folder: Path) -> list[dict[str, bytes]]:
    """The contents of what was replaced, by date."""
    return [results(path) for path in sorted(folder.glob("replaced/*"))]


def layout(crops: Path) -> dict[str, list[str]]:
    return {path.name: list_patches(path) for path in crops.glob("[0-9]*")}


@pytest.mark.parametrize(
    "change",
    [
        {"k1": 3},
        {"k2": 3},
        {"budget": "40%"},
        {"method": "representative"},
        {"method": "random"},
        {"seed": 1},
        {"exact_up_to": 1},
    ],
)
def test_another_setting(kept, tmp_path, no_network, notes, change):
    choose(kept)
    table, pictures = (kept / "selected.csv").read_bytes(), results(tmp_path / "out")
    notes()
    again = choose(kept, **change)
    assert again.is_new and again.path == kept / "selected.csv" and "using the features" in notes()
    assert replaced(tmp_path / "out") == [pictures]
    new = (kept / "selected.csv").read_bytes()
    assert replaced(kept) == ([{"selected.csv": table}] if new != table else [])

    # The same as in a place where nobody chose before.
    write_patches(tmp_path / "fresh" / "data")
    shutil.copytree(tmp_path / "out" / "features", tmp_path / "fresh" / "out" / "features")
    choose(tmp_path / "fresh" / "data", **change)
    assert (tmp_path / "fresh" / "data" / "selected.csv").read_bytes() == new
    assert results(tmp_path / "fresh" / "out") == results(tmp_path / "out")
    assert results(tmp_path / "fresh" / "crops") == results(tmp_path / "crops")


def test_the_same_settings_have_nothing_to_do(kept, tmp_path, no_network):
    first = choose(kept)
    assert first.is_new
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if "features" not in path.parts}
    again = choose(kept)
    assert not again.is_new and again.names == first.names and again.path == first.path
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("lost", ["data/selected.csv", "out/contact_sheet.png", "crops", "crops/1"])
def test_what_was_deleted_is_made_again(kept, tmp_path, no_network, lost):
    first = choose(kept)
    tops = [kept, tmp_path / "out", tmp_path / "crops"]
    before = [results(top) for top in tops]
    path = tmp_path / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = choose(kept)
    assert again.is_new and again.names == first.names
    assert [results(top) for top in tops] == before and not any(replaced(top) for top in tops)


def test_another_patch_in_the_folder(kept, tmp_path):
    choose(kept)
    before = results(tmp_path / "out")
    write_patch(kept, "another", tissue(0, 99))
    assert choose(kept).is_new and replaced(tmp_path / "out") == [before]


def test_other_folders(kept, tmp_path, no_network):
    first = choose(kept)
    before = results(tmp_path / "out")
    shutil.copytree(tmp_path / "out" / "features", tmp_path / "other" / "features")
    assert choose(kept, out=tmp_path / "other", k1=3).path == kept / "selected.csv"
    assert results(tmp_path / "out") == before and layout(tmp_path / "crops").keys() == {"0", "1", "2"}

    # Back in the first one, the pictures are there; the table and the quarters are made again.
    assert choose(kept).names == first.names == read_selection(kept)
    assert results(tmp_path / "out") == before and layout(tmp_path / "crops").keys() == {"0", "1"}

    assert choose(kept, crops=tmp_path / "more").is_new
    assert layout(tmp_path / "more") == layout(tmp_path / "crops")
    shutil.copytree(kept, tmp_path / "data2", ignore=shutil.ignore_patterns("selected.*", "replaced"))
    assert choose(tmp_path / "data2", k1=3).path == tmp_path / "data2" / "selected.csv"
    assert read_selection(kept) == first.names
    assert choose(kept, k1=4).path == kept / "selected.csv"  # which nobody has edited


def test_an_edited_selection_stays(kept, tmp_path, no_network, notes):
    choose(kept)
    (kept / "selected.csv").write_text("patch,note\npatch7,of Jane\n")
    again = choose(kept, k1=3)
    assert again.path == tmp_path / "out" / "selected.csv" and "edited by hand" in notes()
    assert pd.read_csv(again.path)["patch"].tolist() == again.names and len(again.names) == 3
    assert read_selection(kept) == ["patch7"] and not replaced(kept)

    same = choose(kept, k1=3)
    assert not same.is_new and same.path == again.path and same.names == again.names
    taken = choose(kept, k1=3, replace=True)
    assert taken.is_new and taken.path == kept / "selected.csv" and read_selection(kept) == again.names
    assert replaced(kept) == [{"selected.csv": b"patch,note\npatch7,of Jane\n"}]
    assert not choose(kept, k1=3).is_new and not again.path.exists()


def test_a_second_round_adds_to_an_edited_first(kept, tmp_path, no_network):
    choose(kept)
    first, second = choose(kept).names
    (kept / "selected.csv").write_text(f"patch,round,note\n{first},1,keep\n")
    chosen = choose(kept, k1=1, number=2).names
    table = pd.read_csv(kept / "selected.csv")
    assert table["patch"].tolist() == [first, *chosen] and table["note"].tolist()[0] == "keep"
    assert not replaced(kept) and not choose(kept, k1=1, number=2).is_new

    more = choose(kept, k1=2, number=2).names
    assert read_selection(kept) == [first, *more] and len(replaced(kept)) == 1


def test_annotations_are_never_touched(kept, no_network):
    names = choose(kept).names
    for name in names:
        write_masks(kept / name, np.ones((SIZE, SIZE), np.int32))
    masks = {path: path.read_bytes() for path in kept.rglob("masks/*.png")}
    choose(kept, k1=3, seed=5)
    choose(kept, k1=2, number=2)
    assert len(masks) == 2 and masks == {path: path.read_bytes() for path in masks}


def test_a_setting_that_cannot_be_leaves_what_was_there(kept, tmp_path, no_network):
    choose(kept)
    before = results(tmp_path / "out")
    with pytest.raises(InputError, match="K2 = 41 exceeds"):
        choose(kept, k1=1, k2=41)
    assert results(tmp_path / "out") == before and not replaced(tmp_path / "out")
    assert not choose(kept).is_new


def test_results_never_go_among_files_of_somebody_else(kept, tmp_path):
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="out/ holds files that were not made here"):
        choose(kept)
    assert not (kept / "selected.csv").exists()


def test_an_annotated_patch_of_an_earlier_image_is_not_drawn_on_the_new_one(tmp_path):
    images, data = tmp_path / "images", tmp_path / "data"
    for seed in (0, 1):
        write_image(images / "a.png", tissue(0, seed, size=2 * SIZE))
        crop_images(images, data, SIZE, SIZE, overviews=tmp_path / "out" / OVERVIEWS)
        write_masks(data / "a_x0_y0", np.ones((SIZE, SIZE), np.int32))
    assert sorted(choose(data, k1=4, k2=1).names) == list_patches(data)
    assert [path.name for path in (tmp_path / "out" / "sources").iterdir()] == ["a.png"]


@pytest.mark.parametrize("then", [{}, {"k1": 4}])
def test_a_kill_at_any_moment_loses_nothing(kept, tmp_path, monkeypatch, no_network, quick, then):
    choose(kept, crops=None, **quick)
    first = (kept / "selected.csv").read_bytes()
    pictures = results(tmp_path / "out")
    settings = {"k1": 3, "crops": None} | quick
    for renames in range(100):
        root = tmp_path / str(renames)
        for name in ("data", "out"):
            shutil.copytree(tmp_path / name, root / name)
        data = root / "data"
        killed = kill_after(monkeypatch, renames, lambda data=data: choose(data, **settings))
        last = choose(data, **settings | then)
        assert last.path == data / "selected.csv" and read_selection(data) == last.names
        assert {"selected.csv": first} in replaced(data)
        assert pictures.items() <= {item for old in replaced(root / "out") for item in old.items()}
        assert results(root / "out").keys() == pictures.keys()
        if not killed:
            break
    assert renames > 5 and not killed


def test_a_kill_among_the_quarters(kept, tmp_path, monkeypatch, no_network, quick):
    choose(kept, **quick)
    for renames in range(4, 36, 4):
        kill_after(monkeypatch, renames, lambda: choose(kept, k1=3, **quick))
        choose(kept, k1=4, **quick)
        assert sum(map(len, layout(tmp_path / "crops").values())) == 4 * COUNT
        assert layout(tmp_path / "crops").keys() == {"0", "1", "2", "3"}
