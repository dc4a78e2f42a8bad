"""Damage in JPEGs, as files and inside TIFFs. A JPEG has no checksum: what its decoder notices counts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import tifffile

from nuclei.io.stderr import held_back

IN_TIFF = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG_LOSSY)
# What libjpeg says of damage, before it fills the gap with grey.
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Invalid JPEG", "Unsupported marker")
_START, _END = b"\xff\xd8", b"\xff\xd9"
_ZEROS, _HEADER = bytes(64), 2**16  # bytes; such runs may be in the header, not in the pixels
_BLANK = 128  # px in a row; where an image is blank, zeros may be right


def decode(content: bytes) -> np.ndarray | None:
    """The content of a PNG, JPEG, BMP or WebP file as OpenCV gives it: (H, W), or (H, W, 3 or 4), blue first.

    None where it is none of these, or damaged. (On Windows `cv2.imread` opens no file with a Chinese name.)
    """
    pixels, said = _decode(content)
    if pixels is None or _tell_damage(said):
        return None
    is_jpeg = content.startswith(_START)
    # libjpeg takes a short run of zeros, as a bad disk leaves them, in silence.
    if is_jpeg and _ZEROS in content[_HEADER:].rstrip(b"\0") and not _has_blank(pixels):
        return None
    return pixels


def check_piece(page: tifffile.TiffPage, piece: bytes) -> None:
    """ValueError where the decoder notices damage in a tile or strip of a TIFF that is a JPEG."""
    if page.compression not in IN_TIFF or not piece.startswith(_START):
        return
    tables = page.jpegtables
    whole = piece if tables is None else tables.removesuffix(_END) + piece.removeprefix(_START)
    if _tell_damage(_decode(whole)[1]):
        raise ValueError("a JPEG in it is damaged")


def _decode(content: bytes) -> tuple[np.ndarray | None, Sequence[str]]:
    """The pixels, or None, and what the decoder wrote about them."""
    if not content:
        return None, []
    with held_back() as said:
        try:
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:  # a header that tells of more pixels than there can be
            pixels = None
    return pixels, said


def _tell_damage(said: Sequence[str]) -> bool:
    return any(line.startswith(_DAMAGE) for line in said)


def _has_blank(pixels: np.ndarray) -> bool:
    """Whether _BLANK px side by side, or a whole row, have one colour."""
    rows = np.atleast_3d(pixels)
    same = (rows[:, 1:] == rows[:, :-1]).all(axis=2).astype(np.uint8)
    stretch = np.ones((1, max(1, min(_BLANK, same.shape[1]))), np.uint8)
    return bool(cv2.erode(same, stretch, borderType=cv2.BORDER_CONSTANT, borderValue=0).any())
