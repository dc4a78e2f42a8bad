import numpy as np
import pytest

from mrcnn import model
from mrcnn.config import NucleusConfig
from nuclei.formats import read_labels, write_image
from tests.programs import assert_refused, call

PIXELS = np.full((300, 280, 3), 230, np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    model.MaskRCNN("inference", NucleusConfig(), folder).save(folder)
    return folder


def test_no_model_yet(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    assert_refused(call(tmp_path, "segment.py", "a.png"), "holds no trained model", "pseudo_label.py")


def test_bad_images_are_named_and_nothing_is_written(saved, tmp_path):
    (tmp_path / "c.png").write_text("not an image")
    for folder in ("x", "y"):
        write_image(tmp_path / folder / "a.png", PIXELS)
    for arguments, words in (
        (["b.png"], ["b.png does not exist"]),
        (["c.png"], ["c.png"]),
        (["x", "y"], ["would share the result a.tif"]),
        (["x", "--overlap", "256"], ["--overlap is 256"]),
    ):
        assert_refused(call(tmp_path, "segment.py", *arguments, "--model", saved), *words)
    assert not (tmp_path / "segmented").exists()


def test_images_of_any_size_get_labels_of_their_size_once(saved, tmp_path):
    write_image(tmp_path / "images" / "a.png", PIXELS)
    write_image(tmp_path / "images" / "b.png", PIXELS[:40, :50])
    first = call(tmp_path, "segment.py", "images", "--model", saved)
    assert first.returncode == 0, first.stderr
    assert read_labels(tmp_path / "segmented" / "a.tif").shape == (300, 280)
    assert read_labels(tmp_path / "segmented" / "b.tif").shape == (40, 50)
    assert (tmp_path / "segmented" / "overlays" / "a.png").exists()
    again = call(tmp_path, "segment.py", "images", "--model", saved)
    assert "2 images were finished already" in again.stdout
    refused = call(tmp_path, "segment.py", "images", "--model", saved, "--confidence", "0.9")
    assert_refused(refused, "confidence 0.5 -> 0.9")
