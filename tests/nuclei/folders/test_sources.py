"""sources.csv: where patches were cropped from."""

import pandas as pd
import pytest

from nuclei.errors import InputError
from nuclei.folders.sources import read_sources, resolution, write_sources


def test_rows_without_a_patch_are_passed_over(tmp_path):
    write_sources(tmp_path, pd.DataFrame({"patch": ["a", "b"], "source": "i.png", "x": 0, "y": 0}))
    (tmp_path / "b" / "images").mkdir(parents=True)
    assert read_sources(tmp_path)["patch"].tolist() == ["b"]


def test_a_resolution_with_a_comma_is_named(tmp_path):
    (tmp_path / "a" / "images").mkdir(parents=True)
    write_sources(tmp_path, pd.DataFrame({"patch": ["a"], "source": "i.png", "x": 0, "y": 0, "mpp": "0,25"}))
    with pytest.raises(InputError, match=r"sources\.csv has '0,25' as mpp.*0\.25"):
        resolution(tmp_path)
