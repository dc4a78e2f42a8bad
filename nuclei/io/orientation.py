"""Images whose file asks viewers to turn or mirror them, as phones and cameras write them."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import tifffile

TAG = 0x0112  # in EXIF and TIFF
_HEADER = 2**16  # bytes, in which a JPEG's EXIF block begins
_EXIF = b"Exif\0\0"
_ORDERS = {b"II": "<", b"MM": ">"}  # of the bytes of a number

log = logging.getLogger(__name__)


def warn_if_turned(path: Path, orientation: int) -> None:
    """Say where viewers show an image otherwise than its pixels lie in the file.

    `orientation` is that of EXIF and TIFF: 1 is upright, 2 to 8 turned or mirrored.
    """
    if 1 < orientation <= 8:
        log.warning(
            "%s asks viewers to turn or mirror it (orientation %d), but is read as it is stored, so what is "
            "drawn in such a viewer will not fit; save it upright, for example with magick -auto-orient",
            path,
            orientation,
        )


def of_tiff(page: tifffile.TiffPage) -> int:
    """The orientation of a page; 1 where it states none."""
    tag = page.tags.get(TAG)
    return int(tag.value) if tag else 1


def of_exif(content: bytes) -> int:
    """The orientation in the EXIF block of an image file's content; 1 where it has none, or a damaged one.

    The block is a small TIFF file behind the word Exif. Source: CIPA DC-008, "Exif".
    """
    start = content.find(_EXIF, 0, _HEADER)
    block = content[start + len(_EXIF) : start + _HEADER]
    order = _ORDERS.get(block[:2])
    if start < 0 or order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, first)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", block, first + 2 + 12 * entry)
            if tag == TAG:
                return value
    except struct.error:  # it points outside itself
        pass
    return 1
