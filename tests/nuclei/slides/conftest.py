"""What the tests of cropping start from."""

from __future__ import annotations

import pytest

from nuclei.slides.slide import Source


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def reads(monkeypatch):
    """The regions that were decoded."""
    seen, read = [], Source.read

    def watch(source, *box):
        seen.append(box)
        return read(source, *box)

    monkeypatch.setattr(Source, "read", watch)
    return seen
