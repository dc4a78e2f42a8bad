from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stage3 import folds
from mrcnn.config import NucleusConfig
from nuclei import tissue
from nuclei.errors import InputError
from nuclei.io.files import write_json
from nuclei.io.images import write_image, write_labels
from tests.programs import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five training images of 2 x 1 patches and a strip, and one test image."""
    stems = ["a", "b", "c", "d", "e", "t"]
    for number, stem in enumerate(stems):
        image, labels = tissue.generate("lymphoid", 64, number)
        image, labels = (np.pad(each, [(0, 448), (0, 200), (0, 0)][: each.ndim]) for each in (image, labels))
        write_image(tmp_path / "images" / f"{stem}.png", image)
        (tmp_path / "labels").mkdir(exist_ok=True)
        write_labels(tmp_path / "labels" / f"{stem}.tif", labels)
    write_json(tmp_path / "splits.json", {"train": stems[:5], "test": stems[5:]})
    return tmp_path


def test_images_are_held_out_evenly(folder):
    learnt, held = folds.split(folder, 1)
    assert list(held) == ["c"] and list(learnt) == ["a", "b", "d", "e"]
    _, held = folds.split(folder, 3)
    assert list(held) == ["b", "c", "d"]
    for wrong in (0, 5):
        with pytest.raises(InputError, match=f"--held-out is {wrong}; of 5 training images"):
            folds.split(folder, wrong)


def test_patches_come_from_one_image_after_the_other(folder):
    learnt, _ = folds.split(folder, 1)
    assert list(folds.cut("a", learnt["a"])) == ["a_0_0", "a_256_0"]  # 264 px: no second one beside it
    names = [name for name, _ in folds.choose(learnt, 6, seed=0)]
    assert [name[0] for name in names] == ["a", "b", "d", "e", "a", "b"] and len(set(names)) == 6
    assert [name for name, _ in folds.choose(learnt, 6, seed=0)] == names
    assert len(list(folds.choose(learnt, None, seed=0))) == 8
    assert not list(folds.choose(learnt, 0, seed=0))
    name, (image, labels) = next(folds.choose(learnt, 1, seed=1))
    assert image.shape == (256, 256, 3) and labels.shape == (256, 256)


def test_only_likely_nuclei_are_scored():
    labels = np.array([[0, 1, 2], [3, 3, 2]])
    found = folds.at_threshold(labels, np.array([0.9, 0.4, 0.3], np.float32), 0.4)
    assert found.tolist() == [[0, 1, 2], [0, 0, 2]]


def test_the_network_is_configured(monkeypatch):
    monkeypatch.setattr(NucleusConfig, "TRAIN_ROIS_PER_IMAGE", 64)
    folds.configure(("TRAIN_ROIS_PER_IMAGE=128",))
    assert NucleusConfig.TRAIN_ROIS_PER_IMAGE == 128
    with pytest.raises(InputError, match="--network ROIS=1: the configuration has no ROIS"):
        folds.configure(("ROIS=1",))
    with pytest.raises(InputError, match="give a number"):
        folds.configure(("TRAIN_ROIS_PER_IMAGE=many",))


@pytest.mark.slow
def test_the_program_trains_scores_and_is_not_repeated(folder, tmp_path):
    command = [sys.executable, "-m", "benchmarks.stage3.folds", str(folder), "--held-out", "1"]
    command += ["--patches", "1", "--steps", "1", "--views", "1", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) == {"held_out", "learnt"}
    scores = figures["held_out"]["1 views"]["0.4"]
    assert set(scores) == {"aji", "dq", "sq", "pq"} and 0 <= scores["aji"] <= 1
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout.splitlines()[-1]) == figures and "labels" not in again.stderr
