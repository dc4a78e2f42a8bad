"""A TIFF whose headers lie is refused at once."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nuclei.errors import InputError
from nuclei.io.images import read_image
from nuclei.io.tiff import largest
from nuclei.slides.readers import open_levels


def damaged(path: Path, tag: str, value: int) -> Path:
    """The file with another 32-bit value of a tag of its first page."""
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.first.tags[tag].valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 4] = struct.pack("<I", value)
    path.write_bytes(content)
    return path


def test_pages_that_lead_back_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack("<I", content[4:8])
    (tags,) = struct.unpack("<H", content[first : first + 2])
    next_page = first + 2 + 12 * tags
    content[next_page : next_page + 4] = struct.pack("<I", first)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif cannot be read as an image: damaged"):
        read_image(path)


def test_the_largest_image_counts(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for side in (4, 16, 8):
            writer.write(np.zeros((side, side, 3), np.uint8), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert largest(tiff).shape == (16, 16, 3)


def test_a_slide_that_claims_more_than_its_tiles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8), photometric="rgb", tile=(16, 16), subifds=1)
        writer.write(np.zeros((32, 32, 3), np.uint8), photometric="rgb", tile=(16, 16), subfiletype=1)
    open_levels(path).close()
    with pytest.raises(InputError, match=r"s\.tif cannot be read as a TIFF: damaged"):
        open_levels(damaged(path, "ImageLength", 2**31 - 1))
