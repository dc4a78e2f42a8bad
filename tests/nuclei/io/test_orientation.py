"""Files that ask viewers to turn or mirror the image: read as stored, and said."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nuclei.io import images, orientation

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def jpeg(turned: int | None, order: str = "II") -> bytes:
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F] = "a camera"  # a tag before it
    if turned is not None:
        exif[orientation.TAG] = turned
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("order", ["II", "MM"])
def test_a_turned_jpeg_is_read_as_stored_and_named(tmp_path: Path, caplog, order: str) -> None:
    (tmp_path / "phone.jpg").write_bytes(jpeg(6, order))
    assert images.read_image(tmp_path / "phone.jpg").shape == PIXELS.shape
    assert "phone.jpg asks viewers to turn or mirror it (orientation 6)" in caplog.text


@pytest.mark.parametrize("turned", [None, 1, 0, 9])
def test_an_upright_jpeg_is_read_without_a_word(tmp_path: Path, caplog, turned: int | None) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(turned))
    images.read_image(tmp_path / "a.jpg")
    assert not caplog.text


def test_a_turned_tiff_is_named_be_it_an_image_or_labels(tmp_path: Path, caplog) -> None:
    for name, pixels in (("image.tif", PIXELS), ("labels.tif", PIXELS[..., 0])):
        tifffile.imwrite(
            tmp_path / name, pixels, extratags=[(orientation.TAG, "H", 1, 4, True)], metadata=None
        )
    np.testing.assert_array_equal(images.read_image(tmp_path / "image.tif"), PIXELS)
    np.testing.assert_array_equal(images.read_labels(tmp_path / "labels.tif"), PIXELS[..., 0])
    assert caplog.text.count("(orientation 4)") == 2


def test_a_damaged_block_says_nothing() -> None:
    content = jpeg(6)
    start = content.find(b"Exif\0\0") + 6
    assert orientation.of_exif(content) == 6
    assert orientation.of_exif(content[: start + 4] + b"\xff\xff\xff\x7f" + content[start + 8 :]) == 1
    assert orientation.of_exif(content[: start + 9]) == 1
    assert orientation.of_exif(b"") == 1
