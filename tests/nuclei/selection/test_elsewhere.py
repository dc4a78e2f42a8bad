import shutil

import numpy as np
import pytest

from nuclei import tissue
from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, write_patch
from nuclei.selection import elsewhere
from nuclei.selection.feature_store import FeatureStore
from nuclei.selection.pool import read_features

SIZE, MODEL = 64, "efficientnet_lite0"


@pytest.fixture
def data(tmp_path):
    for seed in range(6):
        write_patch(tmp_path / "data", f"p{seed}", tissue.generate("hepatic", SIZE, seed)[0])
    shutil.copytree(tmp_path / "data" / "p1", tmp_path / "data" / "again")
    (tmp_path / "data" / "again" / "images" / "p1.png").rename(
        tmp_path / "data" / "again" / "images" / "again.png"
    )
    return tmp_path / "data"


def features(data, folder, scheduler, names=None, crops=None):
    """The store's contents and keys; the network is not needed any more where a cluster took them."""
    from nuclei.selection.features import Extractor

    names = names or list_patches(data)
    with FeatureStore(folder, MODEL) as store:
        if scheduler is not None:
            elsewhere.take_features(data, names, SIZE, store, "cpu", crops, scheduler)
        loader = pytest.fail if scheduler else lambda: Extractor(MODEL, "cpu")
        keys = read_features(data, names, SIZE, store, loader, crops)
        return np.array(store.patches), np.array(store.quarters), keys


def test_workers_take_the_features_that_one_process_takes(data, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "TOGETHER", 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here = features(data, tmp_path / "here", None, crops=tmp_path / "crops")
    there = features(data, tmp_path / "there", "local:2", crops=tmp_path / "others")
    assert here[2] == there[2]
    assert here[0].shape == there[0].shape == (6, 1280)  # the copy has no row of its own
    # The copy makes a batch smaller, so the last digits differ.
    for ours, theirs in zip(here[:2], there[:2], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-3)
    crops = [
        sorted(p.relative_to(tmp_path / f) for p in (tmp_path / f).rglob("*.png"))
        for f in ("crops", "others")
    ]
    assert crops[0] == crops[1] and crops[0]
    assert not (tmp_path / "there" / "parts").exists()
    monkeypatch.setattr(elsewhere.cluster, "workers", None)  # nothing is left to do
    features(data, tmp_path / "there", "local:2")


def test_a_broken_patch_is_named(data, tmp_path):
    (data / "p2" / "images" / "p2.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="p2.png cannot be read as an image"):
        features(data, tmp_path / "there", "local:1")
