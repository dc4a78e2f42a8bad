"""What the tests of `csingan.synthesis` start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import csingan.report
from csingan.config import PRESETS
from nuclei.folders.patches import write_patch
from nuclei.folders.tables import write_selection
from nuclei.io.images import write_image, write_labels
from tests.csingan.synthesis_runs import TINY, Training, tissue


@pytest.fixture
def data(tmp_path) -> Path:
    for seed, name in enumerate(("a", "b", "c")):
        write_patch(tmp_path / "data", name, *tissue(seed))
    write_selection(tmp_path / "data", pd.DataFrame([{"patch": "a"}, {"patch": "b"}]))
    return tmp_path / "data"


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
