import errno
from pathlib import Path

import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.selection.feature_store import LENGTHS, FeatureStore, content_key

MODEL = "efficientnet_lite0"
D = LENGTHS[MODEL]


def features(*values: float) -> tuple[np.ndarray, np.ndarray]:
    """Patches (B, D) that hold these values, and quarters (B, 4, D) a tenth above, two tenths, ..."""
    patches = np.repeat(np.float32(values)[:, None], D, axis=1)
    return patches, patches[:, None] + np.float32([0.1, 0.2, 0.3, 0.4])[:, None]


def keys(*names: str) -> list[bytes]:
    return [content_key(name.encode(), 256) for name in names]


def test_features_come_back_by_their_keys(tmp_path):
    with FeatureStore(tmp_path, MODEL) as store:
        assert len(store) == 0 and store.patches.shape == (0, D)
        store.append(keys("a", "b"), *features(1, 2))
        store.append(keys("c"), *features(3))

    with FeatureStore(tmp_path, MODEL) as again:
        assert len(again) == 3
        rows = again.rows(keys("c", "a"))
        assert again.patches[rows][:, 0].tolist() == [3, 1]
        np.testing.assert_allclose(again.quarters[rows][0, :, 7], [3.1, 3.2, 3.3, 3.4])
        assert keys("b")[0] in again and keys("d")[0] not in again
        with pytest.raises(KeyError):
            again.rows(keys("d"))


def test_two_runs_at_once_are_refused(tmp_path):
    with FeatureStore(tmp_path, MODEL) as store:
        store.append(keys("a"), *features(1))
        with pytest.raises(InputError, match="another run uses the features in .*; wait for it or name"):
            FeatureStore(tmp_path, MODEL)
        with FeatureStore(tmp_path, "resnet50") as other:  # in files of its own
            assert len(other) == 0
        store.append(keys("b"), *features(2))
    with FeatureStore(tmp_path, MODEL) as store:
        assert store.patches[store.rows(keys("a", "b"))][:, 0].tolist() == [1, 2]


def test_the_same_content_at_another_size_is_another_patch():
    assert content_key(b"pixels", 256) != content_key(b"pixels", 128)


@pytest.mark.parametrize("part", ["keys", "patches", "quarters"])
def test_what_a_kill_left_half_written_is_cut_off(tmp_path, part):
    with FeatureStore(tmp_path, MODEL) as store:
        store.append(keys("a", "b"), *features(1, 2))
    path = tmp_path / f"{MODEL}.{part}"
    path.write_bytes(path.read_bytes()[:-5])

    with FeatureStore(tmp_path, MODEL) as store:
        assert len(store) == 1
        store.append(keys("b"), *features(5))
    with FeatureStore(tmp_path, MODEL) as store:
        assert store.patches[store.rows(keys("a", "b"))][:, 0].tolist() == [1, 5]


def test_a_patch_has_one_row(tmp_path):
    store = FeatureStore(tmp_path, MODEL)
    store.append(keys("a"), *features(1))
    for twice in (keys("a"), keys("b", "b")):
        with pytest.raises(ValueError, match="one row"):
            store.append(twice, *features(*range(len(twice))))


def test_features_of_another_model_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="do not fit"):
        FeatureStore(tmp_path, "resnet50").append(keys("a"), *features(1))


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path, monkeypatch):
    before = Path.open

    def full(path, mode="r", *args, **kwargs):
        if path.suffix == ".quarters" and "a" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return before(path, mode, *args, **kwargs)

    with FeatureStore(tmp_path, MODEL) as store:
        store.append(keys("a"), *features(1))
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(InputError, match="efficientnet_lite0.quarters: No space left on device"):
            store.append(keys("b"), *features(2))
        monkeypatch.undo()
    with FeatureStore(tmp_path, MODEL) as store:
        assert len(store) == 1
