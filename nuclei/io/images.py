"""Image and label files: PNG, JPEG, TIFF, BMP and WebP in, PNG (images) and TIFF (labels) out."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from nuclei.errors import InputError, unreadable
from nuclei.io import orientation
from nuclei.io.files import as_read, atomic_file, check_names, is_hidden
from nuclei.io.jpeg import decode
from nuclei.io.tiff import TIFF_SUFFIXES, decode_tiff

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".webp", *TIFF_SUFFIXES)
LABEL_SUFFIXES = (".png", *TIFF_SUFFIXES)  # JPEG would change the ids
_NOT_READ = ".jp2 .j2k .jpf .jpx .jxl .gif .heic .heif .avif .psd .tga .ppm .pgm .pnm .npy .mat .h5 .pdf"
_MICROSCOPES = ".czi .lif .lsm .nd2 .vsi .dcm .btf .zvi .oib .oif .ims .isyntax .qptiff .tf8"
OTHER_SUFFIXES = (*_NOT_READ.split(), *_MICROSCOPES.split())
_TWELVE_BITS = 4095


def read_image(path: Path, content: bytes | None = None) -> np.ndarray:
    """Read a colour image; `content`: its bytes, where read before and no TIFF.

    Grey becomes RGB, transparency is laid over white (the colour of an empty slide), and 16 bit is
    divided by 257, which takes the full range 0..65535 to 0..255; a 12-bit camera's values, which do
    not use that range, must be stretched beforehand.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: the file is missing, broken, or no image of 8 or 16 bits.
    """
    pixels = _decode(path, labels=False, content=content)
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] > 4:
        pixels = np.moveaxis(pixels, 0, -1)  # TIFF with one plane per colour
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > 4:
        raise InputError(f"{path} has the shape {pixels.shape}; save one RGB or grey image by itself")
    return _over_white(_to_uint8(pixels, path))


def has_transparency(path: Path) -> bool:
    """Whether an image file has pixels that `read_image` lays over white; InputError as there."""
    pixels = _decode(path, labels=False)
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return pixels.ndim == 3 and pixels.shape[2] in (2, 4) and bool((pixels[..., -1] < opaque).any())


def read_labels(path: Path) -> np.ndarray:
    """Read an instance label image (0 = background, any other value = one nucleus) from TIFF or PNG.

    A file with three equal channels, as some programs write a mask, is read as one, with an opaque fourth
    too; of a PNG with a palette the indices count, not their colours; numbers of another type are taken where
    they are whole.

    Returns:
        (H, W) int32.

    Raises:
        InputError: the file is missing, broken, in colour, not of integers, or has ids outside int32.
    """
    labels = _decode(path, labels=True)
    if labels.ndim == 3 and 1 in (labels.shape[0], labels.shape[2]):
        labels = labels.squeeze(axis=0 if labels.shape[0] == 1 else 2)
    if labels.ndim == 3 and labels.shape[2] == 4 and (labels[..., 3] == labels[..., 3].max()).all():
        labels = labels[..., :3]
    if labels.ndim == 3 and labels.shape[2] == 3 and (labels == labels[..., :1]).all():
        labels = labels[..., 0]
    if labels.ndim != 2:
        is_colour = labels.ndim == 3 and labels.shape[2] in (3, 4)
        found = "in colour" if is_colour else f"a stack of the shape {labels.shape}"
        raise InputError(f"{path} is {found}; save the ids alone, as one grey image of 16 bits")
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)  # Fiji's 32-bit images
    if labels.dtype.kind not in "bui":
        raise InputError(
            f"{path} holds {labels.dtype} values that are not whole; a label image holds integers: convert "
            "it to 16 bit"
        )
    if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        raise InputError(f"{path} has ids from {labels.min()} to {labels.max()}; expected 0 to 2^31 - 1")
    return labels.astype(np.int32)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) RGB or (H, W) grey uint8 as PNG, atomically; InputError where that fails."""
    content = encode_png(image)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def encode_png(image: np.ndarray) -> bytes:
    """(H, W, 3) RGB or (H, W) grey uint8 as the content of a PNG file."""
    if image.dtype != np.uint8:
        raise ValueError(f"an image to write is uint8, not {image.dtype}")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image)[1].tobytes()


def is_grey(image: np.ndarray) -> bool:
    """Whether (H, W, 3) uint8 shows something, but in shades of grey; a blank image shows nothing."""
    red, green, blue = np.moveaxis(image, -1, 0)
    return bool((red == green).all() and (green == blue).all() and np.ptp(red))


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Write an (H, W) label image as zlib-compressed TIFF, atomically; InputError where that fails.

    uint16, or uint32 where an id is above 65,535.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "bui" or labels.min() < 0:
        raise ValueError(f"labels are (H, W) integers >= 0, not {labels.shape} {labels.dtype}")
    dtype = np.uint16 if labels.max() <= np.iinfo(np.uint16).max else np.uint32
    with atomic_file(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(dtype), compression="zlib", photometric="minisblack")


def list_images(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """The image files of a folder (not of its subfolders), by name.

    Raises:
        InputError: there are none, or the name of one is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = (
            "is a file, not a folder; name the folder that it is in" if folder.exists() else "does not exist"
        )
        raise InputError(f"{folder} {what}")
    left_out = sorted(
        path.name for path in folder.iterdir() if path.suffix.lower() in {*OTHER_SUFFIXES} - {*suffixes}
    )
    if left_out:
        log.warning("%s: left out %s; save them as PNG or TIFF to use them", folder, ", ".join(left_out))
    paths = [path for path in folder.iterdir() if path.suffix.lower() in suffixes]
    paths = sorted(path for path in paths if path.is_file() and not is_hidden(path))
    if not paths:
        raise InputError(f"{folder} holds no image ({', '.join(suffixes)})")
    check_names(paths)
    return paths


def pair_by_stem(
    folder: Path, other: Path, suffixes: tuple[str, ...] = LABEL_SUFFIXES
) -> list[tuple[Path, Path]]:
    """Each label image of `folder` with the file of the same name, whatever its suffix, in `other`.

    Files of `other` alone are passed over. InputError where one of `folder` has no partner in `other`,
    or two files of one folder have the same name; `suffixes` are those to look for in `other`.
    """
    ours, theirs = by_stem(list_images(folder, LABEL_SUFFIXES)), by_stem(list_images(other, suffixes))
    missing = [path.name for stem, path in ours.items() if stem not in theirs]
    if missing:
        raise InputError(f"{other} has no partner for {len(missing)} files of {folder}: {', '.join(missing)}")
    return [(path, theirs[stem]) for stem, path in ours.items()]


def by_stem(paths: list[Path]) -> dict[str, Path]:
    """Files by their names without suffix, as a person reads them; InputError where two share one."""
    found = {as_read(path.stem): path for path in paths}
    for path in paths:
        if found[as_read(path.stem)] != path:
            raise InputError(
                f"{path} and {found[as_read(path.stem)].name} have the same name; remove one of them"
            )
    return found


def _decode(path: Path, labels: bool, content: bytes | None = None) -> np.ndarray:
    """The pixels as they are in the file, colours in RGB(A) order; InputError where that fails."""
    path = Path(path)
    suffixes = LABEL_SUFFIXES if labels else IMAGE_SUFFIXES
    if content is None and not path.is_file():
        raise InputError(f"{path} does not exist")
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path} is not one of {', '.join(suffixes)}")
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            pixels = decode_tiff(path, labels)
        else:
            content = path.read_bytes() if content is None else content
            with_ids = labels and _has_palette(content)
            pixels = _palette_indices(content) if with_ids else _decode_cv2(path, content)
    except InputError:
        raise
    except Exception as error:  # the decoders raise types of their own, down to bare Exception
        raise unreadable(path, "an image", error) from error
    if pixels.size == 0:
        raise InputError(f"{path} holds no pixels")
    return pixels


def _has_palette(content: bytes) -> bool:
    """Whether this is a PNG whose pixels are indices of colours, as LabelMe, CVAT and PIL write labels."""
    return content[:8] == b"\x89PNG\r\n\x1a\n" and content[25:26] == b"\x03"


def _palette_indices(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def _decode_cv2(path: Path, content: bytes) -> np.ndarray:
    pixels = decode(content)
    if pixels is None:
        raise unreadable(path, "an image")
    orientation.warn_if_turned(path, orientation.of_exif(content))
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return pixels


def _to_uint8(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        if 0 < pixels.max() <= _TWELVE_BITS:
            log.warning(
                "%s has 16 bits but no value above %d, as cameras of 12 bits write, and will look black; "
                "stretch its values to 0..65535",
                path,
                pixels.max(),
            )
        return np.rint(pixels / np.float32(257)).astype(np.uint8)
    raise InputError(f"{path} holds {pixels.dtype} values, not 8 or 16 bits, unsigned; convert it to 8 bits")


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 to 4) uint8 grey or RGB, with or without transparency -> (H, W, 3) uint8."""
    channels = pixels.shape[2]
    if channels in (2, 4):
        opacity = pixels[..., -1:] / np.float32(255)
        pixels = np.rint(pixels[..., :-1] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
