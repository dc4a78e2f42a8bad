from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.folders.patches import image_path, list_patches, write_patch
from nuclei.selection import pool
from nuclei.selection.feature_store import LENGTHS, FeatureStore
from nuclei.selection.quarters import has_quarters

SIZE = 8  # px
MODEL = "efficientnet_lite0"


class Brightness:
    """An extractor whose features are all the mean of the image; it counts what it is shown."""

    batch = 2

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return np.repeat(images.mean((1, 2, 3), dtype=np.float32)[:, None], LENGTHS[MODEL], axis=1)


@pytest.fixture
def data(tmp_path) -> Path:
    for level in range(5):
        image = np.full((SIZE, SIZE, 3), 10 * level, np.uint8)
        image += np.arange(3, dtype=np.uint8)  # not grey
        image[SIZE // 2 :, SIZE // 2 :] += 4  # the last quarter is brighter
        write_patch(tmp_path / "data", f"p{level}", image)
    return tmp_path / "data"


def read(data, **changes):
    """(store, keys, number of images that the network saw)"""
    network = Brightness()
    arguments = {"names": list_patches(data), "size": SIZE, **changes}
    with FeatureStore(data.parent / "features", MODEL) as store:
        keys = pool.read_features(data, store=store, load_extractor=lambda: network, **arguments)
    return store, keys, network.seen


def test_features_of_patches_and_quarters(data):
    store, keys, _ = read(data)
    rows = store.rows(keys)
    assert store.patches[rows][:, 0].tolist() == [2, 12, 22, 32, 42]
    assert store.quarters[rows][2, :, 0].tolist() == [21, 21, 21, 25]


def test_a_second_run_computes_nothing_and_reads_no_image(data, monkeypatch):
    _, keys, seen = read(data)
    assert seen == 5 * 5  # a patch and its quarters each
    monkeypatch.setattr(pool, "read_image", None)
    monkeypatch.setattr(pool, "content_key", None)
    _, again, seen = read(data)
    assert again == keys and seen == 0


def test_a_renamed_or_copied_patch_keeps_its_features_and_a_changed_one_does_not(data):
    _, keys, _ = read(data)
    content = image_path(data / "p1").read_bytes()
    (data / "copy" / "images").mkdir(parents=True)
    (data / "copy" / "images" / "copy.png").write_bytes(content)
    write_patch(data, "p2", np.full((SIZE, SIZE, 3), 99, np.uint8))
    store, again, seen = read(data)
    assert again == [keys[1], keys[0], keys[1], again[3], keys[3], keys[4]]
    assert seen == 5 and store.patches[store.rows(again)][3, 0] == 99


def test_copies_of_a_patch_are_computed_once(tmp_path):
    for name in "abc":
        write_patch(tmp_path / "data", name, np.full((SIZE, SIZE, 3), 7, np.uint8))
    _, keys, seen = read(tmp_path / "data")
    assert seen == 5 and len(set(keys)) == 1


def test_quarters_are_written_by_the_way_and_made_up_for(data, monkeypatch):
    crops = data.parent / "crops"
    read(data)
    _, keys, seen = read(data, crops=crops)
    assert seen == 0 and all(has_quarters(crops, key.hex()) for key in keys)
    monkeypatch.setattr(pool, "write_quarters", None)
    read(data, crops=crops)


def test_what_is_finished_stays_after_an_error(data):
    image_path(data / "p4").write_bytes(b"not a PNG")
    with pytest.raises(InputError, match="p4.png"):
        read(data)
    image_path(data / "p4").write_bytes(image_path(data / "p3").read_bytes())
    _, keys, seen = read(data)
    assert seen == 0 and keys[3] == keys[4]


def test_patches_of_another_size_are_refused_even_where_their_features_are_known(data):
    read(data)
    with pytest.raises(InputError, match="is 8 x 8 px, not 16 x 16 px"):
        read(data, size=16)


def test_a_patch_without_its_image_is_named(data):
    image_path(data / "p3").unlink()
    with pytest.raises(InputError, match="p3.png does not exist"):
        read(data)


def test_an_image_that_may_not_be_read_is_named(data, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with FeatureStore(data.parent / "features", MODEL) as store:
        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(InputError, match="p0.png cannot be read: Permission denied; check its perm"):
            pool.read_features(data, list_patches(data), SIZE, store, Brightness)


def test_grey_patches_become_colour(tmp_path):
    path = image_path(tmp_path / "data" / "grey")
    path.parent.mkdir(parents=True)
    assert cv2.imwrite(str(path), np.full((SIZE, SIZE), 50, np.uint8))
    store, keys, _ = read(tmp_path / "data")
    assert store.patches[store.rows(keys)][0, 0] == 50


def test_a_broken_table_of_stamps_only_costs_reading(data):
    read(data)
    (data.parent / "features" / f"stamps_{SIZE}.csv").write_text("p0,not a number\n")
    _, keys, seen = read(data)
    assert seen == 0 and len(keys) == 5


def test_a_grey_patch_is_refused_before_somebody_annotates_it(data):
    grey = np.zeros((SIZE, SIZE, 3), np.uint8)
    grey[:4] = 200
    write_patch(data, "p2", grey)
    with pytest.raises(InputError, match=r"p2\.png is grey; give the image in the colours of its stain"):
        read(data)
    write_patch(data, "p2", np.full_like(grey, 255))  # nothing but glass
    read(data)


def test_a_blank_patch_is_told(data, caplog):
    glass = np.full((SIZE, SIZE, 3), (240, 241, 242), np.uint8)  # not grey
    glass[0, 0] -= 8  # sd 8 * sqrt(1 / 64 * 63 / 64) = 1
    tissue = glass.copy()
    tissue[0, :6] = 200  # sd 40 * sqrt(6 / 64 * 58 / 64) = 11.7
    write_patch(data, "glass", glass)
    write_patch(data, "tissue", tissue)
    read(data, names=["glass", "tissue"])
    assert "glass.png shows nothing" in caplog.text and "tissue.png shows" not in caplog.text
