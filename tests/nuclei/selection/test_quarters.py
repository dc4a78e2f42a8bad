import os

import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, read_patch
from nuclei.selection.quarters import (
    KEPT,
    check_crops,
    has_quarters,
    place_quarters,
    quarters,
    write_quarters,
)

IMAGE = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
OTHER = IMAGE[::-1].copy()


def test_quarters_row_by_row():
    image = np.arange(4 * 4).reshape(4, 4, 1)
    assert quarters(image)[..., 0].tolist() == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [12, 13]],
        [[10, 11], [14, 15]],
    ]
    with pytest.raises(InputError, match="even size"):
        quarters(image[:3])


@pytest.fixture
def crops(tmp_path):
    """Quarters of two patches, "aa" and "bb", at hand."""
    for key, image in {"aa": IMAGE, "bb": OTHER}.items():
        write_quarters(tmp_path / "crops", key, image)
        assert has_quarters(tmp_path / "crops", key)
    assert not has_quarters(tmp_path / "crops", "cc")
    return tmp_path / "crops"


def test_quarters_are_placed_as_patches_by_cluster(crops, caplog):
    place_quarters(crops, [["bb"], ["aa"]], {"aa", "bb"})
    assert list_patches(crops / "1") == ["0", "1", "2", "3"]
    assert (read_patch(crops / "0" / "1") == OTHER[:4, 4:]).all()
    assert (read_patch(crops / "1" / "1") == IMAGE[:4, 4:]).all()

    # Another clustering: one cluster less, of the same quarters.
    place_quarters(crops, [["aa", "bb"]], {"aa", "bb"})
    assert not (crops / "1").exists()
    assert (read_patch(crops / "0" / "5") == OTHER[:4, 4:]).all()
    assert not caplog.messages


def test_quarters_outside_of_the_clusters_stay_as_long_as_their_patch_does(crops):
    place_quarters(crops, [["aa"]], {"aa", "bb"})
    assert has_quarters(crops, "bb")
    place_quarters(crops, [["aa"]], {"aa"})
    assert not has_quarters(crops, "bb") and has_quarters(crops, "aa")


@pytest.mark.parametrize("missing", range(4))
def test_a_patch_that_lacks_one_quarter_gets_it_again(crops, missing):
    (crops / KEPT / "aa" / f"aa_{missing}.png").unlink()  # as a kill among the removals leaves it
    assert not has_quarters(crops, "aa")
    write_quarters(crops, "aa", IMAGE)
    assert has_quarters(crops, "aa")


def test_folders_of_somebody_else_are_refused(crops, tmp_path):
    check_crops(crops)
    check_crops(tmp_path / "new")
    shipped = tmp_path / "data_30000_cut"
    shipped.mkdir()
    for name in ("README.md", ".gitignore"):
        (shipped / name).touch()
    check_crops(shipped)

    (tmp_path / "photos" / "2019").mkdir(parents=True)
    with pytest.raises(InputError, match="photos/ holds folders that were not made here"):
        check_crops(tmp_path / "photos")


def test_without_hard_links_quarters_are_copied_and_that_is_told(crops, monkeypatch, caplog):
    def no_links(*paths):
        raise OSError("not on this file system")

    monkeypatch.setattr(os, "link", no_links)
    place_quarters(crops, [["aa"]], {"aa", "bb"})
    assert (read_patch(crops / "0" / "3") == IMAGE[4:, 4:]).all()
    (line,) = caplog.messages
    assert line.startswith("the file system of") and "4 quarters were copied" in line
