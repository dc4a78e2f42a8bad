"""The script as a program; tests/nuclei/selection/test_choose_again.py tests the same more quickly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

import consis_based
from consis_based import Settings
from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, read_patch, write_masks
from nuclei.folders.selected import read_selection
from nuclei.io.images import write_image
from nuclei.selection.baselines import BASELINES
from nuclei.selection.criteria import CRITERIA
from tests.pools import COUNT, SIZE, choose, tissue, write_patches
from tests.programs import call
from tests.slide_files import write_slide

SCRIPT = "consis_based.py"
USED = "using the features of these patches"
SET_ASIDE = "not cut any more"


@pytest.fixture
def data(tmp_path) -> Path:
    write_patches(tmp_path / "data")
    return tmp_path / "data"


def flags(**settings) -> list[str]:
    words = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


class Runs:
    """Runs of the script, one after the other, each with more constants changed; nothing may be lost."""

    def __init__(self, root: Path, **settings):
        self.root, self.notes = root, ""
        self.settings = {"patch": SIZE, "k1": 2, "k2": 2, "device": "cpu"} | settings

    def change(self, **settings) -> list[str]:
        """Run with changed constants; returns the patches that were chosen."""
        before = self._results()
        self.settings |= settings
        done = call(self.root, SCRIPT, *flags(**self.settings))
        assert done.returncode == 0, done.stderr
        self.notes = done.stderr
        *names, closing = done.stdout.splitlines()
        assert "Next: " in closing
        assert before <= self._results(), "something was lost"
        return names

    def _results(self) -> set[tuple[str, bytes]]:
        """Names and contents of pictures, tables, patches and masks, be they replaced or not."""
        tops = [path for path in self.root.iterdir() if not path.name.startswith("data_")]
        files = [path for top in tops for kind in ("*.png", "selected.csv") for path in top.rglob(kind)]
        return {(path.name, path.read_bytes()) for path in files if "overviews" not in path.parts}

    def replaced(self, name: str) -> int:
        """How often results of that name were replaced."""
        return len(list(self.root.rglob(f"replaced/*/{name}")))


@pytest.mark.slow
def test_the_program_selects_and_writes_the_folders(data, tmp_path):
    done = call(tmp_path, SCRIPT, *flags(patch=SIZE, k1=2, k2=2, device="cpu"))
    assert done.returncode == 0, done.stderr

    *names, closing = done.stdout.splitlines()
    assert names == read_selection(data) and len(names) == 2
    assert "python main_train.py" in closing

    table = pd.read_csv(data / "selected.csv")
    assert table.columns.tolist() == ["patch", "round", "cluster", "score", "coarse", "fine"]
    assert table["cluster"].tolist() == [0, 1] and table["round"].tolist() == [1, 1]
    np.testing.assert_allclose(table["score"], table[["coarse", "fine"]].sum(axis=1), atol=1e-3)

    crops = tmp_path / "data_30000_cut"
    assert sum(len(list_patches(crops / str(cluster))) for cluster in range(2)) == 4 * COUNT
    assert read_patch(crops / "0" / "0").shape == (SIZE // 2, SIZE // 2, 3)
    expected = {"contact_sheet.png", "features", "map.csv", "map.png", "settings.json"}
    assert {path.name for path in (tmp_path / "runs" / "selection").iterdir()} == expected

    # The same in another process state: features anew, same selection.
    assert choose(data).names == names == read_selection(data)


def test_larger_images_are_cropped_first(tmp_path):
    for seed in range(2):
        write_image(tmp_path / "images" / f"slide{seed}.png", tissue(seed, seed, size=2 * SIZE))
    folders = {name: tmp_path / name for name in ("data", "crops", "images", "out")}
    consis_based.main(Settings(**folders, patch=SIZE, stride=SIZE, k1=2, k2=2, device="cpu"))
    assert len(list_patches(tmp_path / "data")) == 8
    table = pd.read_csv(tmp_path / "data" / "selected.csv")
    assert set(table["source"]) <= {"slide0.png", "slide1.png"}
    assert set(table["x"]) <= {0, SIZE}
    pictures = {path.name for path in (tmp_path / "out" / "sources").iterdir()}
    assert pictures == {name for name in table["source"]}


@pytest.mark.slow
def test_constants_of_the_choice(data, tmp_path):
    runs = Runs(tmp_path)
    first = runs.change()
    changes = (
        {"k1": 3},
        {"k2": 3},
        {"method": "consistency"},
        {"seed": 1},
        {"exact_up_to": 1},
        {"budget": "40%"},
    )
    for number, change in enumerate(changes, 1):
        names = runs.change(**change)
        assert names == read_selection(data) and len(names) == (4 if "budget" in change else 3)
        assert USED in runs.notes and "the old results are now in" in runs.notes
        assert runs.replaced("contact_sheet.png") == runs.replaced("settings.json") == number
    assert runs.change() == names and "old results" not in runs.notes

    del runs.settings["budget"]
    assert runs.change(k1=2, k2=2, method="representative", seed=0, exact_up_to=50_000) == first


@pytest.mark.slow
def test_constants_that_name_folders_and_the_round(data, tmp_path):
    runs = Runs(tmp_path)
    first = runs.change()
    table = (data / "selected.csv").read_bytes()
    assert runs.change(crops="data_more_cut") == first and USED in runs.notes
    assert sum(len(list_patches(tmp_path / "data_more_cut" / name)) for name in "01") == 4 * COUNT
    assert (data / "selected.csv").read_bytes() == table and not runs.replaced("*")

    assert runs.change(out="runs/other", k1=3) != first
    assert runs.replaced("selected.csv") == 1 and not runs.replaced("contact_sheet.png")
    assert runs.change(out="runs/selection", k1=2) == first and USED in runs.notes

    write_patches(tmp_path / "more" / "data")
    assert runs.change(data="more/data") == first and USED in runs.notes
    assert (data / "selected.csv").read_bytes() == table

    write_masks(data / first[0], np.ones((SIZE, SIZE), np.int32))
    new = runs.change(data="data", round=2, k1=1)
    assert read_selection(data) == [*first, *new] and not set(first) & set(new)
    assert runs.change(k1=2) != new and runs.replaced("selected.csv") == 3
    assert runs.change(round=1) == first == read_selection(data)


@pytest.mark.slow
def test_an_edited_selection_stays_until_told_otherwise(data, tmp_path):
    runs = Runs(tmp_path)
    runs.change()
    (data / "selected.csv").write_text("patch,note\npatch7,of Jane\n")
    names = runs.change(k1=3)
    assert read_selection(data) == ["patch7"] and "edited by hand" in runs.notes and "--replace" in runs.notes
    assert pd.read_csv(tmp_path / "runs" / "selection" / "selected.csv")["patch"].tolist() == names
    assert runs.change(replace=True) == names == read_selection(data)
    assert runs.replaced("selected.csv") == 1


@pytest.mark.slow
def test_constants_of_the_images(tmp_path):
    for seed in range(2):
        write_image(tmp_path / "images" / f"field{seed}.png", tissue(seed, seed, size=2 * SIZE))
    write_slide(tmp_path / "images" / "slide.svs", tissue(1, 2, size=4 * SIZE), mpp=0.25)
    data = tmp_path / "data"
    runs = Runs(tmp_path, images="images", stride=SIZE)
    first = runs.change()
    patches = list_patches(data)
    assert len(patches) == 4 + 4 + 16
    runs.change()
    assert "are all there" in runs.notes and USED in runs.notes and SET_ASIDE not in runs.notes

    runs.change(stride=2 * SIZE)  # which has places of the former one alone
    assert set(list_patches(data)) < set(patches) and USED in runs.notes and SET_ASIDE in runs.notes
    assert runs.change(stride=SIZE) == first and list_patches(data) == patches and USED in runs.notes

    runs.change(mpp=0.5)
    assert len(list_patches(data)) == 4 + 4 + 4 and "16 cut with another --stride" in runs.notes
    runs.change(source_mpp=0.25)
    assert len(list_patches(data)) == 1 + 1 + 4
    del runs.settings["source_mpp"]
    runs.change(patch=2 * SIZE)
    assert len(list_patches(data)) == 1 + 1 + 1 and read_patch(data / "field0_x0_y0").shape[0] == 2 * SIZE

    write_image(tmp_path / "more" / "other.png", tissue(0, 5, size=2 * SIZE))
    runs.change(images="more")
    assert len(list_patches(data)) == 4 and SET_ASIDE not in runs.notes
    assert set(pd.read_csv(data / "sources.csv")["patch"]) == set(list_patches(data))

    write_masks(data / "other_x0_y0", np.ones((2 * SIZE, 2 * SIZE), np.int32))
    refused = call(tmp_path, SCRIPT, *flags(**runs.settings | {"patch": SIZE, "images": "more"}))
    assert refused.returncode == 1 and "--data" in refused.stderr.splitlines()[-1]


def test_help_names_every_constant(tmp_path):
    done = call(tmp_path, SCRIPT, "--help")
    assert done.returncode == 0
    assert all(f"--{name.replace('_', '-')}" in done.stdout for name in Settings.__dataclass_fields__)


def test_every_criterion_and_baseline_can_be_named():
    assert get_args(consis_based.METHODS) == (*CRITERIA, *BASELINES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 63}, "even"),
        ({"patch": 32}, "at least 64"),
        ({"stride": 0}, "--stride 0"),
        ({"k1": 0}, "--k1 0 must be at least 1"),
        ({"k1": -3}, "--k1 -3 must be at least 1"),
        ({"k2": 0}, "--k2 0 must be at least 1"),
        ({"exact_up_to": -1}, "--exact-up-to -1 must be at least 0"),
        ({"mpp": math.nan}, "--mpp"),
        ({"source_mpp": math.nan}, "--source-mpp"),
        ({"budget": "many"}, "--budget 'many' is neither a share such as 5% nor a number"),
    ],
)
def test_impossible_numbers_are_an_error_before_anything_is_cropped(tmp_path, changes, message):
    write_image(tmp_path / "images" / "a.png", tissue(0, 0, size=2 * SIZE))
    folders = {name: tmp_path / name for name in ("data", "crops", "images", "out")}
    with pytest.raises(InputError, match=message):
        consis_based.main(Settings(**{"patch": SIZE, "k1": 2, "k2": 2} | folders | changes))
    assert not (tmp_path / "data").exists()


def no_data(data: Path) -> list:
    return ["--data", "nowhere"]


def broken_image(data: Path) -> list:
    (data / "patch3" / "images" / "patch3.png").write_bytes(b"not a PNG")
    return ["--k1", 2]


def too_few_patches(data: Path) -> list:
    return ["--k1", COUNT + 1]


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (no_data, ["nowhere/ does not exist"]),
        (broken_image, ["patch3.png"]),
        (too_few_patches, [f"{COUNT} patches", f"K1 = {COUNT + 1}", "--k1 2"]),
    ],
)
def test_bad_input_ends_the_program_with_one_line(data, tmp_path, spoil, parts):
    words = spoil(data)
    done = call(tmp_path, SCRIPT, "--patch", SIZE, *words)
    assert done.returncode == 1
    *progress, message = filter(None, done.stderr.splitlines())
    assert all("features" in line for line in progress)
    assert message.startswith("error: ") and all(part in message for part in parts)
    assert not (data / "selected.csv").exists()
