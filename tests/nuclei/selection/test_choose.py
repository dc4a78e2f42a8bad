from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, read_patch, write_masks, write_patch
from nuclei.folders.selected import read_selection
from nuclei.io.images import write_image
from nuclei.selection import two_stage
from nuclei.selection.baselines import BASELINES
from nuclei.selection.choose import OVERVIEWS
from nuclei.slides.cropping import crop_images
from tests.pools import COUNT, SIZE, choose, tissue


def test_kept_features_serve_another_k1_until_the_patches_change(data, tmp_path, notes):
    choose(data, k1=3)
    assert "using the features" not in notes()
    choose(data, k1=2)
    assert "using the features" in notes()
    # The quarters of the third cluster went with it.
    assert sorted(path.name for path in (tmp_path / "crops").iterdir()) == [".quarters", "0", "1"]

    write_patch(data, "another", tissue(0, 99))
    choose(data, k1=2)
    assert "using the features" not in notes()


def test_selected_patches_need_not_be_crops(kept, tmp_path):
    write_image(tmp_path / "images" / "black.png", np.zeros((SIZE, SIZE, 3), np.uint8))
    crop_images(tmp_path / "images", kept, SIZE, SIZE, overviews=tmp_path / "out" / OVERVIEWS)
    choose(kept, k1=1)
    table = pd.read_csv(kept / "selected.csv")
    assert table["patch"][0].startswith("patch") and table[["source", "x", "y"]].isna().all(axis=None)
    assert not (tmp_path / "out" / "sources").exists()

    choose(kept, k1=COUNT, number=2)  # all that are left
    assert pd.read_csv(kept / "selected.csv")["source"].dropna().tolist() == ["black.png"]
    assert [path.name for path in (tmp_path / "out" / "sources").iterdir()] == ["black.png"]


def test_neither_names_nor_rounding_change_the_selection(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(two_stage, "STARTS", (1, 1))  # a single start finds whatever is near it
    choose(kept, k1=4)
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
    choose(tmp_path / "renamed", k1=4)
    assert set(read_selection(tmp_path / "renamed")) == {renamed[name] for name in before}


def test_a_single_patch_is_selected(tmp_path):
    data = tmp_path / "data"
    write_patch(data, "only", tissue(0, 0))
    choose(data, k1=1)
    assert read_selection(data) == ["only"]
    assert (tmp_path / "out" / "contact_sheet.png").exists()


def test_patches_of_several_sizes_are_an_error(data, tmp_path):
    write_patch(data, "wide", tissue(0, 0, size=80))
    with pytest.raises(InputError, match="wide is 80 x 80 px, not 64 x 64 px"):
        choose(data)
    assert not (data / "selected.csv").exists()


def test_a_k2_beyond_the_quarters_is_an_error(kept):
    with pytest.raises(InputError, match="K2 = 41 exceeds the 40 quarters"):
        choose(kept, k1=1, k2=41)
    assert not (kept / "selected.csv").exists()
    choose(kept, k1=1, k2=40)  # the features are free again


def test_quarters_never_go_among_the_patches(data):
    with pytest.raises(InputError, match="folder of their own"):
        choose(data, crops=data)


def test_folders_of_somebody_else_are_not_taken_for_quarters(data, tmp_path):
    photo = tmp_path / "photos" / "2019" / "holiday.png"
    write_image(photo, tissue(0, 0))
    with pytest.raises(InputError, match="photos/ holds folders that were not made here"):
        choose(data, crops=tmp_path / "photos")
    assert photo.exists() and not (data / "selected.csv").exists()


def test_a_budget_takes_the_place_of_k1(kept):
    choose(kept, budget="30%")
    assert len(read_selection(kept)) == 3
    choose(kept, budget="4")
    assert len(read_selection(kept)) == 4
    with pytest.raises(InputError, match="--budget 9% is less than one patch, which is 10% of the pixels"):
        choose(kept, budget="9%")


def test_a_second_round_selects_what_the_first_does_not_cover(kept):
    choose(kept, k1=1)
    (first,) = read_selection(kept)
    # Its kind of tissue is covered now, although nobody has annotated it yet.
    chosen = choose(kept, k1=1, number=2)
    again, second = read_selection(kept)
    assert again == first and int(first[-1]) % 2 != int(second[-1]) % 2
    assert chosen.names == [second]  # only what is new

    # What was annotated without having been selected counts as well.
    other = next(name for name in list_patches(kept) if name not in (first, second))
    write_masks(kept / other, np.zeros((SIZE, SIZE), np.int32))
    choose(kept, k1=2, number=3)
    table = pd.read_csv(kept / "selected.csv")
    assert table["round"].tolist() == [1, 2, 3, 3]
    assert not {first, second, other} & set(table["patch"][2:])


def test_a_second_round_needs_a_first(data):
    with pytest.raises(InputError, match="selected.csv does not exist"):
        choose(data, number=2)


def test_a_second_round_goes_on_from_annotations_alone(kept):
    (kept / "selected.csv").write_text("patch,round,cluster,score\n")  # all rows taken out by hand
    write_masks(kept / "patch0", np.zeros((SIZE, SIZE), np.int32))
    choose(kept, k1=1, number=2)
    table = pd.read_csv(kept / "selected.csv")
    assert table["round"].tolist() == [2] and table["patch"][0] != "patch0"


def test_rounds_that_are_no_numbers_are_an_error(data):
    (data / "selected.csv").write_text("patch,round\npatch0,first\n")
    with pytest.raises(InputError, match="selected.csv has rounds that are not numbers"):
        choose(data, number=2)


def test_the_first_round_says_that_annotated_patches_are_there(kept, notes):
    write_masks(kept / "patch0", np.zeros((SIZE, SIZE), np.int32))
    choose(kept)
    assert "1 patches are annotated already; --round 2" in notes()


def test_the_criterion_of_the_paper_adds_its_third_term(kept):
    choose(kept, method="consistency")
    table = pd.read_csv(kept / "selected.csv")
    assert table.columns.tolist() == ["patch", "round", "cluster", "score", "coarse", "fine", "spread"]
    np.testing.assert_allclose(table["score"], table[["coarse", "fine", "spread"]].sum(axis=1), atol=1e-3)


@pytest.mark.parametrize("method", BASELINES)
def test_every_baseline_selects_and_draws(kept, tmp_path, method):
    choose(kept, method=method, k1=3)
    assert len(set(read_selection(kept))) == 3
    assert pd.read_csv(kept / "selected.csv").columns.tolist() == ["patch", "round", "cluster", "score"]
    assert (tmp_path / "out" / "contact_sheet.png").exists()
    assert sum(len(list_patches(tmp_path / "crops" / str(cluster))) for cluster in range(3)) == 4 * COUNT


def test_quarters_can_be_left_out(kept, tmp_path):
    choose(kept, crops=None)
    assert not (tmp_path / "crops").exists()


def test_a_killed_run_goes_on_and_gives_the_same_selection(kept, tmp_path):
    choose(kept)
    names = read_selection(kept)
    (kept / "selected.csv").unlink()

    # As after a kill: half of the features, the last one not finished, and no stamps.
    features = tmp_path / "out" / "features"
    (features / f"stamps_{SIZE}.csv").unlink()
    for path in features.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2 + 3])
    choose(kept)
    assert read_selection(kept) == names


def test_a_folder_that_cannot_be_written_is_an_error(data, tmp_path):
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot write"):
        choose(data)
    assert not (data / "selected.csv").exists()
