"""Real worker processes with the start weights, which the stand-in for the network cannot reach."""

import os
import signal
import threading
import time

import geopandas
import psutil
import pytest

from mrcnn.segmentation import segment_slides
from mrcnn.selftraining.start import start_weights
from mrcnn.slides import worker
from nuclei.tissue.slide import TissueSlide


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.undo()  # no stand-in
    worker.load_predictor.cache_clear()
    path = TissueSlide(1100, 1000, field=256, fields=2).write(tmp_path / "s.tif")
    tables = []
    for name, scheduler in (("here", None), ("there", "local:2")):
        if scheduler:
            threading.Thread(target=kill_a_worker, args=(tmp_path / name,), daemon=True).start()
        jobs, troubles = segment_slides(
            [path], start_weights(), tmp_path / name, block=400, scheduler=scheduler
        )
        assert not troubles
        tables.append(geopandas.read_parquet(jobs[0].table))
    assert (tmp_path / "there" / "killed").exists()
    here, there = ({shape.normalize().wkb for shape in table.geometry} for table in tables)
    assert here == there and len(here) > 50


def kill_a_worker(out):
    """SIGKILL to a worker once the first block is done."""
    while not list(out.glob("slides/s/found_*/*.npz")):
        time.sleep(0.1)
    children = psutil.Process().children(recursive=True)
    (first, *_) = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
    os.kill(first.pid, signal.SIGKILL)
    (out / "killed").touch()
