"""What the tests of `csingan.synthesis` start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import csingan.report
from csingan.config import PRESETS
from nuclei.io.images import write_labels
from tests.csingan.synthesis_runs import TINY, Training, write_data, write_folder


@pytest.fixture
def data(tmp_path) -> Path:
    return write_data(tmp_path)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = write_folder(tmp_path, "random mask")
    large = np.zeros((80, 96), np.int32)
    large[10:20, 10:20], large[10:20, 20:30] = 1, 2
    write_labels(folder / "random mask" / "m2.tif", large)
    return folder


@pytest.fixture
def tiny_and_quick(monkeypatch, caplog):
    monkeypatch.setitem(PRESETS, "fast", TINY)
    # matplotlib would take most of the time.
    monkeypatch.setattr(csingan.report, "curves", lambda path, *_: path.write_text("curves"))
    caplog.set_level("INFO")


@pytest.fixture
def training(monkeypatch) -> Training:
    return Training(monkeypatch)
