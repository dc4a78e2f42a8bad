"""What the tests of `csingan.synthesis` start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import csingan.report
from csingan.config import PRESETS
from nuclei.io.images import write_image, write_labels
from tests.csingan.synthesis_runs import TINY, Training, tissue, write_data


@pytest.fixture
def data(tmp_path) -> Path:
    return write_data(tmp_path)


@pytest.fixture
def folder(tmp_path) -> Path:
    image, labels = tissue()
    write_image(tmp_path / "mine" / "train.png", image)
    write_image(tmp_path / "mine" / "train_mask.png", np.uint8(labels > 0) * 255)
    write_image(tmp_path / "mine" / "random mask" / "m1.png", np.uint8(labels > 0)[::-1] * 255)
    large = np.zeros((80, 96), np.int32)
    large[10:20, 10:20], large[10:20, 20:30] = 1, 2
    write_labels(tmp_path / "mine" / "random mask" / "m2.tif", large)
    return tmp_path / "mine"


@pytest.fixture
def tiny_and_quick(monkeypatch, caplog):
    monkeypatch.setitem(PRESETS, "fast", TINY)
    # matplotlib would take most of the time.
    monkeypatch.setattr(csingan.report, "curves", lambda path, *_: path.write_text("curves"))
    caplog.set_level("INFO")


@pytest.fixture
def training(monkeypatch) -> Training:
    return Training(monkeypatch)
