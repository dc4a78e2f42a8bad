"""The transplants of a run: what they depend on, what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csingan.config import LayoutOptions
from csingan.inputs import read_patches
from csingan.transplant_job import Transplants
from nuclei.errors import InputError
from nuclei.folders.pairs import check_folder
from nuclei.folders.patches import list_patches, read_masks, read_patch, write_patch
from nuclei.folders.selected import write_selection

SIDE = 96


def tissue(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A pink image (SIDE, SIDE, 3) uint8 with nine dark squares, and their labels."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number in range(9):
        y, x = 6 + 30 * (number // 3), 6 + 30 * (number % 3)
        labels[y : y + 12, x : x + 9 + seed % 3] = number + 1
    noise = np.random.default_rng(seed).normal(0, 6, (SIDE, SIDE, 3))
    image = np.where(labels[..., None] > 0, (90, 60, 140), (230, 170 + 10 * seed, 200)) + noise
    return np.uint8(image.clip(0, 255)), labels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """data/ with the annotated and selected patches a and b, and c and d without masks."""
    for seed, name in enumerate("abcd"):
        image, labels = tissue(seed)
        write_patch(tmp_path / "data", name, image, labels if name in "ab" else None)
    write_selection(tmp_path / "data", pd.DataFrame([{"patch": "a"}, {"patch": "b"}]))
    return tmp_path


class Finder:
    """Finds all dark squares, surely, and counts how often it was loaded."""

    def __init__(self, score: float = 0.9) -> None:
        self.loaded, self.score = 0, score

    def load(self):
        self.loaded += 1
        return self.find

    def find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = int(np.argmin([np.abs(image.astype(int) - tissue(seed)[0]).sum() for seed in range(4)]))
        labels = tissue(number)[1]
        return labels, np.full(labels.max(), self.score)


def transplants(root: Path, count=5, seed=0, network="n", options=None) -> Transplants:
    tasks, options = read_patches(root / "data"), options or LayoutOptions()
    return Transplants(
        root / "data", tasks, root / "synthetic", root / "out", count, options, seed, lambda: network
    )


def images(root: Path) -> dict[str, bytes]:
    return {
        name: read_patch(root / "synthetic" / name).tobytes() for name in list_patches(root / "synthetic")
    }


def test_pairs_and_their_picture_are_written_once(root: Path, caplog) -> None:
    finder = Finder()
    transplants(root).make(finder.load)
    made = images(root)
    assert sorted(made) == [f"transplant_{n}" for n in range(5)]
    assert len(set(made.values())) == 5
    assert read_masks(root / "synthetic" / "transplant_0").max() >= 3
    assert (root / "out" / "transplant" / "samples.png").exists()
    check_folder(root / "synthetic", root / "data", ["a", "b"])
    transplants(root).make(finder.load)
    assert finder.loaded == 1
    assert images(root) == made


@pytest.mark.parametrize("change", [{"count": 4}, {"seed": 1}, {"network": "other"}])
def test_what_changed_is_made_anew(root: Path, change: dict) -> None:
    transplants(root).make(Finder().load)
    made = images(root)
    transplants(root, **change).make(Finder().load)
    assert len(list((root / "synthetic" / "replaced").glob("*/transplant_0"))) == 1
    assert len(images(root)) == change.get("count", 5)
    assert (images(root)["transplant_0"] == made["transplant_0"]) == ("seed" not in change)


def test_none_are_wanted_any_more(root: Path) -> None:
    transplants(root).make(Finder().load)
    transplants(root, count=0).make(Finder().load)
    assert not [name for name in (root / "synthetic").iterdir() if name.name != "replaced"]


def test_a_donor_that_was_annotated_anew_is_told(root: Path) -> None:
    transplants(root).make(Finder().load)
    write_patch(root / "data", "b", *tissue(1 + 3))
    with pytest.raises(InputError, match=r"data/b/ has changed since the synthetic pairs of transplant in"):
        check_folder(root / "synthetic", root / "data", ["a", "b"])


def test_without_backgrounds_nothing_is_begun(root: Path) -> None:
    for seed, name in ((2, "c"), (3, "d")):
        write_patch(root / "data", name, *tissue(seed))
    with pytest.raises(InputError, match="every patch in .*data/ is annotated, so there is no background"):
        transplants(root).check()


def test_a_patch_of_that_name_is_refused(root: Path) -> None:
    write_patch(root / "data", "transplant", tissue(3)[0])
    with pytest.raises(InputError, match="data/transplant/ has the name of the transplants; rename it"):
        transplants(root).check()


def test_backgrounds_without_sure_nuclei_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match="no patch in .*data/ shows 6 nuclei or more"):
        transplants(root).make(Finder(score=0.3).load)


def test_nuclei_that_do_not_fit_are_told(root: Path) -> None:
    crowded = LayoutOptions(density=(20, 20), touching=0, gap=SIDE)
    with pytest.raises(InputError, match=r"^[ab], transplanted: .*density"):
        transplants(root, options=crowded).make(Finder().load)
    transplants(root).make(Finder().load)  # nothing is in the way
