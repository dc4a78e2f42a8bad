"""The start weights that come along, and what else training may begin with."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mrcnn import model
from mrcnn.config import WEIGHTS
from mrcnn.selftraining import make_start, start
from nuclei.errors import InputError


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The start weights where a test may break them."""
    folder = tmp_path / "start_weights"
    shutil.copytree(start.FOLDER, folder)
    monkeypatch.setattr(start, "FOLDER", folder)
    monkeypatch.setattr(start, "FINGERPRINT", folder / start.FINGERPRINT.name)
    return folder


def test_those_that_come_along_are_whole_small_and_have_a_card():
    assert start.start_weights() == start.FOLDER
    assert (start.FOLDER / WEIGHTS).stat().st_size < 15e6
    assert (start.FOLDER / "README.md").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("change", ["a byte", "another file"])
def test_others_in_their_place_are_refused(copied, change):
    if change == "a byte":
        with (copied / WEIGHTS).open("r+b") as file:
            file.seek(100_000)
            file.write(b"x")
    else:
        (copied / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(
        InputError, match="missing or not the file that belongs to this version.*make weights"
    ):
        start.start_weights()


def test_missing_ones_are_named(copied):
    (copied / WEIGHTS).unlink()
    with pytest.raises(InputError, match="is missing or not the file that belongs"):
        start.find("generated")


def test_what_training_begins_with(copied, tmp_path):
    assert start.find("imagenet") is None and start.describe("imagenet") == "imagenet"
    assert start.find("generated") == copied
    assert start.find(str(copied)) == copied
    # The same weights by another name make the same model.
    assert start.describe("generated") == start.describe(copied)
    with pytest.raises(InputError, match="elsewhere; give generated, imagenet, or the folder of a model"):
        start.find(tmp_path / "elsewhere")


def test_they_stand_in_for_a_model_only_where_none_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start.trained_or_start(start.MODEL) == start.FOLDER
    assert start.trained_or_start(tmp_path / "mine") == tmp_path / "mine"
    start.MODEL.mkdir(parents=True)
    assert start.trained_or_start(start.MODEL) == start.MODEL


def test_their_use_is_told(tmp_path, caplog):
    start.warn_of_start(tmp_path / "mine")
    assert not caplog.text
    start.warn_of_start(start.FOLDER)
    assert f"no model trained yet ({start.MODEL}/): outlines by the start weights" in caplog.text


def test_half_precision_is_written_and_read(copied, tmp_path):
    make_start.publish(copied, tmp_path / "new")
    first, second = (model.load(folder).keras_model.get_weights() for folder in (copied, tmp_path / "new"))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    written = (tmp_path / "new" / start.FINGERPRINT.name).read_text().strip()
    assert written == start.describe(tmp_path / "new")


@pytest.mark.parametrize(
    ("begin", "outlines", "peak"),
    [
        (start.GENERATED, True, 2.5e-4),
        ("my/model", True, 2.5e-4),
        (start.IMAGENET, True, 1e-3),
        (start.GENERATED, False, 1e-3),
    ],
)
def test_few_outlines_are_learnt_gently_from_weights_that_know_nuclei(begin, outlines, peak):
    assert start.peak_rate(begin, outlines) == peak
