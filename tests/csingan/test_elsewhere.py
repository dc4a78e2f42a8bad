import numpy as np
import pandas as pd
import pytest

from csingan.inputs import read_patches
from csingan.synthesis import synthesise
from nuclei.folders.patches import read_masks, read_patch, write_patch
from nuclei.folders.selected import write_selection
from tests.csingan.synthesis_runs import tissue


@pytest.mark.slow
def test_workers_make_the_pairs_that_one_process_makes(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for seed, name in enumerate("ab"):
        write_patch(tmp_path / "data", name, *tissue(seed))
    write_selection(tmp_path / "data", pd.DataFrame([{"patch": "a"}, {"patch": "b"}]))
    tasks = read_patches(tmp_path / "data", None, False)
    for where, scheduler in (("here", None), ("there", "local:2")):
        places = tmp_path / where / "gan", tmp_path / where / "pairs"
        synthesise(tasks, *places, samples=2, effort=0.002, device="cpu", scheduler=scheduler)
    for name in ("a_0", "a_1", "b_0", "b_1"):
        here, there = tmp_path / "here" / "pairs" / name, tmp_path / "there" / "pairs" / name
        np.testing.assert_array_equal(read_masks(here), read_masks(there))
        # Threads add up in another order, which the training widens a little.
        assert np.abs(read_patch(here).astype(int) - read_patch(there)).mean() < 2
    assert (tmp_path / "there" / "gan" / "b" / "samples.png").exists()
