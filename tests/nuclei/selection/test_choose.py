from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pandas as pd
import pytest

import consis_based
from consis_based import Settings
from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, read_patch, write_masks, write_patch
from nuclei.folders.tables import read_selection
from nuclei.io.images import write_image
from nuclei.selection import two_stage
from nuclei.selection.baselines import BASELINES
from nuclei.selection.criteria import CRITERIA

SCRIPT = Path(consis_based.__file__)
SIZE = 64  # px
COUNT = 10


def tissue(kind: int, seed: int, size: int = SIZE) -> np.ndarray:
    """(size, size, 3) uint8: pink ground with dark discs, few and large (kind 0) or many and small (1)."""
    rng = np.random.default_rng(seed)
    image = np.uint8(rng.normal((225, 180, 205), 6, (size, size, 3)).clip(0, 255))
    number, radius = ((3, size // 8), (25, size // 24))[kind]
    for centre in rng.integers(0, size, (number, 2)).tolist():
        cv2.circle(image, centre, radius, (90, 50, 130), thickness=-1)
    return image


def write_patches(folder: Path) -> None:
    for number in range(COUNT):
        write_patch(folder, f"patch{number}", tissue(number % 2, number))


@pytest.fixture
def data(tmp_path) -> Path:
    write_patches(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """A store with the features of the patches of `data`, which take seconds."""
    root = tmp_path_factory.mktemp("kept")
    write_patches(root / "data")
    consis_based.main(settings(root / "data"))
    return root / "out" / "features"


@pytest.fixture
def kept(data, features) -> Path:
    """As `data`, with the features at hand."""
    shutil.copytree(features, data.parent / "out" / "features")
    return data


def settings(data: Path, **changes) -> Settings:
    root = data.parent
    defaults = {
        "crops": root / "crops",
        "out": root / "out",
        "patch": SIZE,
        "k1": 2,
        "k2": 2,
        "device": "cpu",
    }
    return Settings(data=data, **(defaults | changes))


def program(*flags: object, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, flags)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_program_selects_and_writes_the_folders(data, tmp_path):
    done = program("--patch", SIZE, "--k1", 2, "--k2", 2, "--device", "cpu", cwd=tmp_path)
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
    expected = {"contact_sheet.png", "features", "map.png", "settings.json"}
    assert {path.name for path in (tmp_path / "runs" / "selection").iterdir()} == expected

    # The same in another process state: features anew, same selection.
    consis_based.main(settings(data))
    assert read_selection(data) == names


def test_kept_features_serve_another_k1_until_the_patches_change(data, tmp_path, capsys):
    consis_based.main(settings(data, k1=3))
    assert "using the features" not in capsys.readouterr().err
    consis_based.main(settings(data, k1=2))
    assert "using the features" in capsys.readouterr().err
    # The quarters of the third cluster went with it.
    assert sorted(path.name for path in (tmp_path / "crops").iterdir()) == [".quarters", "0", "1"]

    write_patch(data, "another", tissue(0, 99))
    consis_based.main(settings(data, k1=2))
    assert "using the features" not in capsys.readouterr().err


def test_larger_images_are_cropped_first(tmp_path):
    for seed in range(2):
        write_image(tmp_path / "images" / f"slide{seed}.png", tissue(seed, seed, size=2 * SIZE))
    data = tmp_path / "data"
    consis_based.main(settings(data, images=tmp_path / "images", stride=SIZE))
    assert len(list_patches(data)) == 8
    table = pd.read_csv(data / "selected.csv")
    assert set(table["source"]) <= {"slide0.png", "slide1.png"}
    assert set(table["x"]) <= {0, SIZE}
    pictures = {path.name for path in (tmp_path / "out" / "sources").iterdir()}
    assert pictures == {name for name in table["source"]}


def test_selected_patches_need_not_be_crops(kept, tmp_path):
    write_image(tmp_path / "images" / "black.png", np.zeros((SIZE, SIZE, 3), np.uint8))
    consis_based.main(settings(kept, images=tmp_path / "images", k1=1))
    table = pd.read_csv(kept / "selected.csv")
    assert table["patch"][0].startswith("patch") and table[["source", "x", "y"]].isna().all(axis=None)
    assert not (tmp_path / "out" / "sources").exists()

    consis_based.main(settings(kept, k1=COUNT, round=2))  # all that are left
    assert pd.read_csv(kept / "selected.csv")["source"].dropna().tolist() == ["black.png"]
    assert [path.name for path in (tmp_path / "out" / "sources").iterdir()] == ["black.png"]


def test_neither_names_nor_rounding_change_the_selection(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(two_stage, "STARTS", (1, 1))  # a single start finds whatever is near it
    consis_based.main(settings(kept, k1=4))
    before = read_selection(kept)

    rng = np.random.default_rng(0)
    for part in ("patches", "quarters"):
        path = tmp_path / "out" / "features" / f"efficientnet_lite0.{part}"
        values = np.fromfile(path, np.float32)
        (values * np.float32(1 + 1e-6 * rng.normal(size=values.shape))).tofile(path)
    renamed = {}
    for number in range(COUNT):
        renamed[f"patch{number}"] = f"other{COUNT - number}"
        write_patch(tmp_path / "renamed", f"other{COUNT - number}", read_patch(kept / f"patch{number}"))
    consis_based.main(settings(tmp_path / "renamed", k1=4))
    assert set(read_selection(tmp_path / "renamed")) == {renamed[name] for name in before}


def test_a_single_patch_is_selected(tmp_path):
    data = tmp_path / "data"
    write_patch(data, "only", tissue(0, 0))
    consis_based.main(settings(data, k1=1))
    assert read_selection(data) == ["only"]
    assert (tmp_path / "out" / "contact_sheet.png").exists()


def test_patches_of_several_sizes_are_an_error(data, tmp_path):
    write_patch(data, "wide", tissue(0, 0, size=80))
    with pytest.raises(InputError, match="wide is 80 x 80 px, not 64 x 64 px"):
        consis_based.main(settings(data))
    assert not (data / "selected.csv").exists()


def test_a_k2_beyond_the_quarters_is_an_error(kept):
    with pytest.raises(InputError, match="K2 = 41 exceeds the 40 quarters"):
        consis_based.main(settings(kept, k1=1, k2=41))
    assert not (kept / "selected.csv").exists()
    consis_based.main(settings(kept, k1=1, k2=40))  # the features are free again


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
    ],
)
def test_impossible_numbers_are_an_error_before_anything_is_cropped(tmp_path, changes, message):
    write_image(tmp_path / "images" / "a.png", tissue(0, 0, size=2 * SIZE))
    with pytest.raises(InputError, match=message):
        consis_based.main(settings(tmp_path / "data", images=tmp_path / "images", **changes))
    assert not (tmp_path / "data").exists()


def test_quarters_never_go_among_the_patches(data):
    with pytest.raises(InputError, match="folder of their own"):
        consis_based.main(settings(data, crops=data))


def test_folders_of_somebody_else_are_not_taken_for_quarters(data, tmp_path):
    photo = tmp_path / "photos" / "2019" / "holiday.png"
    write_image(photo, tissue(0, 0))
    with pytest.raises(InputError, match="photos/ holds folders that were not made here"):
        consis_based.main(settings(data, crops=tmp_path / "photos"))
    assert photo.exists() and not (data / "selected.csv").exists()


def test_a_budget_takes_the_place_of_k1(kept, capsys):
    consis_based.main(settings(kept, budget="30%"))
    assert len(read_selection(kept)) == 3
    consis_based.main(settings(kept, budget="4"))
    assert len(read_selection(kept)) == 4
    with pytest.raises(InputError, match="--budget 9% is less than one patch, which is 10% of the pixels"):
        consis_based.main(settings(kept, budget="9%"))


def test_a_budget_that_is_none_shows_before_anything_is_cropped(tmp_path):
    with pytest.raises(InputError, match="--budget 'many' is neither a share such as 5% nor a number"):
        consis_based.main(settings(tmp_path / "data", budget="many", images=tmp_path / "images"))


def test_a_second_round_selects_what_the_first_does_not_cover(kept, capsys):
    consis_based.main(settings(kept, k1=1))
    (first,) = read_selection(kept)
    # Its kind of tissue is covered now, although nobody has annotated it yet.
    consis_based.main(settings(kept, k1=1, round=2))
    again, second = read_selection(kept)
    assert again == first and int(first[-1]) % 2 != int(second[-1]) % 2
    assert capsys.readouterr().out.splitlines()[-2] == second  # only what is new

    # What was annotated without having been selected counts as well.
    other = next(name for name in list_patches(kept) if name not in (first, second))
    write_masks(kept / other, np.zeros((SIZE, SIZE), np.int32))
    consis_based.main(settings(kept, k1=2, round=3))
    table = pd.read_csv(kept / "selected.csv")
    assert table["round"].tolist() == [1, 2, 3, 3]
    assert not {first, second, other} & set(table["patch"][2:])


def test_a_second_round_needs_a_first(data):
    with pytest.raises(InputError, match="selected.csv does not exist"):
        consis_based.main(settings(data, round=2))


def test_a_second_round_goes_on_from_annotations_alone(kept):
    (kept / "selected.csv").write_text("patch,round,cluster,score\n")  # all rows taken out by hand
    write_masks(kept / "patch0", np.zeros((SIZE, SIZE), np.int32))
    consis_based.main(settings(kept, k1=1, round=2))
    table = pd.read_csv(kept / "selected.csv")
    assert table["round"].tolist() == [2] and table["patch"][0] != "patch0"


def test_rounds_that_are_no_numbers_are_an_error(data):
    (data / "selected.csv").write_text("patch,round\npatch0,first\n")
    with pytest.raises(InputError, match="selected.csv has rounds that are not numbers"):
        consis_based.main(settings(data, round=2))


def test_the_first_round_says_that_annotated_patches_are_there(kept, capsys):
    write_masks(kept / "patch0", np.zeros((SIZE, SIZE), np.int32))
    consis_based.main(settings(kept))
    assert "1 patches are annotated already; --round 2" in capsys.readouterr().err


def test_the_rule_of_the_paper_adds_its_third_term(kept):
    consis_based.main(settings(kept, method="consistency"))
    table = pd.read_csv(kept / "selected.csv")
    assert table.columns.tolist() == ["patch", "round", "cluster", "score", "coarse", "fine", "spread"]
    np.testing.assert_allclose(table["score"], table[["coarse", "fine", "spread"]].sum(axis=1), atol=1e-3)


@pytest.mark.parametrize("method", BASELINES)
def test_every_rival_selects_and_draws(kept, tmp_path, method):
    consis_based.main(settings(kept, method=method, k1=3))
    assert len(set(read_selection(kept))) == 3
    assert pd.read_csv(kept / "selected.csv").columns.tolist() == ["patch", "round", "cluster", "score"]
    assert (tmp_path / "out" / "contact_sheet.png").exists()
    assert sum(len(list_patches(tmp_path / "crops" / str(cluster))) for cluster in range(3)) == 4 * COUNT


def test_every_rule_and_rival_can_be_named():
    assert get_args(consis_based.METHODS) == (*CRITERIA, *BASELINES)


def test_quarters_can_be_left_out(kept, tmp_path):
    consis_based.main(settings(kept, crops=None))
    assert not (tmp_path / "crops").exists()


def test_a_killed_run_goes_on_and_gives_the_same_selection(kept, tmp_path):
    whole = settings(kept)
    consis_based.main(whole)
    names = read_selection(kept)
    (kept / "selected.csv").unlink()

    # As after a kill: half of the features, the last one not finished, and no stamps.
    features = tmp_path / "out" / "features"
    (features / f"stamps_{SIZE}.csv").unlink()
    for path in features.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2 + 3])
    consis_based.main(whole)
    assert read_selection(kept) == names


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
    flags = spoil(data)
    done = program("--patch", SIZE, *flags, cwd=tmp_path)
    assert done.returncode == 1
    *progress, message = filter(None, done.stderr.splitlines())
    assert all("features" in line for line in progress)
    assert message.startswith("error: ") and all(part in message for part in parts)
    assert not (data / "selected.csv").exists()


def test_a_folder_that_cannot_be_written_is_an_error(data, tmp_path):
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot write"):
        consis_based.main(settings(data))
    assert not (data / "selected.csv").exists()


def test_help_names_every_constant(tmp_path):
    done = program("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(f"--{name.replace('_', '-')}" in done.stdout for name in Settings.__dataclass_fields__)
