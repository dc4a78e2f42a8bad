from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pools import choose, write_patches


@pytest.fixture
def data(tmp_path) -> Path:
    write_patches(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def features(tmp_path_factory) -> Path:
    """A store with the features of the patches of `data`, which take seconds."""
    root = tmp_path_factory.mktemp("kept")
    write_patches(root / "data")
    choose(root / "data")
    return root / "out" / "features"


@pytest.fixture
def kept(data, features) -> Path:
    """As `data`, with the features at hand."""
    shutil.copytree(features, data.parent / "out" / "features")
    return data


@pytest.fixture
def notes(caplog) -> Callable[[], str]:
    """What was logged since the last call."""
    caplog.set_level("INFO")

    def read() -> str:
        text = caplog.text
        caplog.clear()
        return text

    return read
