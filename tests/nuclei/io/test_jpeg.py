"""A damaged JPEG is refused by name, as a file and inside a TIFF; one that is blank is no damage."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nuclei.errors import InputError
from nuclei.io import jpeg
from nuclei.io.images import read_image
from nuclei.slides.levels import UnreadableRegion
from nuclei.slides.readers import open_levels

DAMAGE = {"zeros": bytes(512), "ones": bytes([255]) * 512, "noise": np.random.default_rng(1).bytes(512)}


def smooth(side: int) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3)).astype(np.uint8)
    return cv2.GaussianBlur(pixels, (0, 0), 3)


def overwrite(path: Path, place: int, damage: bytes) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[:place] + damage + content[place + len(damage) :])
    return path


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_jpeg_that_is_damaged_in_its_middle_is_refused(tmp_path: Path, capfd, damage: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(cv2.imencode(".jpg", smooth(256))[1].tobytes())
    read_image(path)
    overwrite(path, path.stat().st_size // 2, damage)
    with pytest.raises(InputError, match="bad.jpg cannot be read as an image: damaged"):
        read_image(path)
    assert capfd.readouterr().err == ""


def encoded(pixels: np.ndarray) -> bytes:
    """With codes made for this image, as GIMP and Photoshop write."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", optimize=True)
    return file.getvalue()


def test_zeros_are_no_damage_where_an_image_is_blank() -> None:
    pixels = np.full((4000, 4000, 3), 255, np.uint8)
    pixels[:100] = np.random.default_rng(0).normal(150, 20, (100, 4000, 3)).clip(0, 255)
    content = encoded(pixels)
    assert bytes(64) in content[2**16 :]
    decoded = jpeg.decode(content)
    assert decoded is not None
    assert (decoded[200:] == 255).all()


def test_zeros_are_damage_where_no_part_is_blank() -> None:
    """Of 64 bytes libjpeg says nothing here."""
    content = encoded(smooth(2000))
    place = 2**16 + (len(content) - 2**16) // 2
    assert jpeg.decode(content) is not None
    assert jpeg.decode(content[:place] + bytes(64) + content[place + 64 :]) is None


@pytest.mark.parametrize("stored", [{"rowsperstrip": 64}, {"tile": (64, 64)}], ids=["strips", "tiles"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_jpeg_that_is_damaged_inside_a_tiff_is_refused(
    tmp_path: Path, capfd, stored: dict, damage: bytes
) -> None:
    path = tmp_path / "bad.tif"
    tifffile.imwrite(path, smooth(256), photometric="rgb", compression="jpeg", **stored)
    read_image(path)
    overwrite(path, middle_of_piece(path, 1), damage)
    with pytest.raises(InputError, match="bad.tif cannot be read as an image: damaged"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_the_other_tiles_of_a_slide_are_read(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        how = {"photometric": "rgb", "compression": "jpeg", "tile": (64, 64)}
        writer.write(smooth(256), subifds=1, **how)
        writer.write(smooth(128), subfiletype=1, **how)
    overwrite(path, middle_of_piece(path, 1), DAMAGE["noise"])
    levels = open_levels(path)
    assert levels.region(0, 0, 0, 64, 64).size == (64, 64)
    with pytest.raises(UnreadableRegion, match="s.tif is damaged near x 64, y 0 of level 0"):
        levels.region(0, 64, 0, 64, 64)
    levels.close()


def test_tables_that_pieces_share_are_used() -> None:
    """As many scanners write: without its tables no piece could be decoded."""
    page = WithTables()
    with_tables = cv2.imencode(".jpg", smooth(64))[1].tobytes()
    start = with_tables.index(b"\xff\xda")  # the scan
    frame = with_tables.index(b"\xff\xc0")
    length = 2 + int.from_bytes(with_tables[frame + 2 : frame + 4], "big")
    header = with_tables[frame : frame + length]
    page.jpegtables = with_tables[:frame] + with_tables[frame + length : start] + b"\xff\xd9"
    piece = b"\xff\xd8" + header + with_tables[start:]
    jpeg.check_piece(page, piece)  # type: ignore[arg-type]
    middle = len(piece) // 2
    with pytest.raises(ValueError, match="damaged"):
        jpeg.check_piece(page, piece[:middle] + DAMAGE["noise"] + piece[middle + 512 :])  # type: ignore[arg-type]


class WithTables:
    compression = tifffile.COMPRESSION.JPEG
    jpegtables = b""


def middle_of_piece(path: Path, index: int) -> int:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        return page.dataoffsets[index] + page.databytecounts[index] // 2
