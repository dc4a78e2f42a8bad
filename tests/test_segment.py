import numpy as np

from mrcnn import model
from mrcnn.config import NucleusConfig
from nuclei.formats import read_labels, write_image
from tests.programs import assert_refused, call

PIXELS = np.full((300, 280, 3), 230, np.uint8)


def save_model(folder):
    model.MaskRCNN("inference", NucleusConfig(), folder).save(folder / "runs" / "mrcnn" / "model")


def test_no_model_yet(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    assert_refused(call(tmp_path, "segment.py", "a.png"), "holds no trained model", "pseudo_label.py")


def test_bad_images_are_named(tmp_path):
    save_model(tmp_path)
    assert_refused(call(tmp_path, "segment.py", "b.png"), "b.png does not exist")
    (tmp_path / "c.png").write_text("not an image")
    assert_refused(call(tmp_path, "segment.py", "c.png"), "c.png")
    for folder in ("x", "y"):
        write_image(tmp_path / folder / "a.png", PIXELS)
    assert_refused(call(tmp_path, "segment.py", "x", "y"), "would share the result a.tif")
    assert not (tmp_path / "segmented" / "c.tif").exists()


def test_images_of_any_size_get_labels_of_their_size_once(tmp_path):
    save_model(tmp_path)
    write_image(tmp_path / "images" / "a.png", PIXELS)
    write_image(tmp_path / "images" / "b.png", PIXELS[:40, :50])
    first = call(tmp_path, "segment.py", "images")
    assert first.returncode == 0, first.stderr
    assert read_labels(tmp_path / "segmented" / "a.tif").shape == (300, 280)
    assert read_labels(tmp_path / "segmented" / "b.tif").shape == (40, 50)
    assert (tmp_path / "segmented" / "overlays" / "a.png").exists()
    again = call(tmp_path, "segment.py", "images")
    assert "2 images were finished already" in again.stdout
    assert_refused(call(tmp_path, "segment.py", "images", "--confidence", "0.9"), "confidence 0.5 -> 0.9")
