"""What the tests of all clients share: no compilation, no window, a folder of their own."""

from __future__ import annotations

import random
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.matterport.small import WEIGHTS
from tests.tiny_network import eagerly


@pytest.fixture(scope="module", autouse=True)
def without_compiling_or_windows():
    plt.switch_backend("Agg")
    with eagerly():
        yield


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch, tmp_path):
    """In it lie the weights that clients call COCO's; what is random comes out the same each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    shutil.copy(WEIGHTS, "mask_rcnn_coco.h5")
    random.seed(0)
    np.random.seed(0)
    yield
    plt.close("all")


@pytest.fixture
def printed(capsys):
    """A function: what was printed, with one blank between words."""
    return lambda: " ".join(capsys.readouterr().out.split())


@pytest.fixture
def trained(tmp_path):
    """A function: the names of the weights of each epoch in the one folder of logs of a configuration."""

    def names(logs, name):
        (folder,) = (tmp_path / logs).glob(f"{name}2*")
        return sorted(path.name for path in folder.glob(f"mask_rcnn_{name}_0*.h5"))

    return names
