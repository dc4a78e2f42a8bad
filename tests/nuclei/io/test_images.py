"""Image and label files: what comes back, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nuclei.errors import InputError
from nuclei.io import images


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_png_keeps_every_pixel_and_the_order_of_colours(tmp_path: Path, image: np.ndarray) -> None:
    images.write_image(tmp_path / "new" / "a.png", image)
    assert np.array_equal(images.read_image(tmp_path / "new" / "a.png"), image)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_is_divided_by_257(tmp_path: Path, image: np.ndarray, name: str) -> None:
    wide = image.astype(np.uint16) * 257
    if name.endswith("png"):
        cv2.imwrite(str(tmp_path / name), wide[..., ::-1])
    else:
        tifffile.imwrite(tmp_path / name, wide, photometric="rgb")
    read = images.read_image(tmp_path / name)
    assert read.dtype == np.uint8
    assert np.array_equal(read, image)


def test_tiff_with_one_plane_per_colour(tmp_path: Path, image: np.ndarray) -> None:
    planes = np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(images.read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_jpeg_compression_keeps_the_colour(tmp_path: Path, suffix: str) -> None:
    pink = np.full((32, 32, 3), (220, 120, 180), np.uint8)
    path = tmp_path / f"a{suffix}"
    if suffix == ".jpg":
        cv2.imwrite(str(path), pink[..., ::-1])
    else:
        tifffile.imwrite(path, pink, photometric="rgb", compression="jpeg")
    assert np.abs(images.read_image(path).astype(int) - pink).max() <= 3


def test_a_further_sample_without_a_meaning_is_no_transparency(tmp_path: Path, image: np.ndarray) -> None:
    four = np.dstack([image, np.zeros_like(image[..., 0])])
    tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(images.read_image(tmp_path / "a.tif"), image)
    tifffile.imwrite(tmp_path / "b.tif", four, photometric="rgb", extrasamples=["unassalpha"])
    assert (images.read_image(tmp_path / "b.tif") == 255).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_multiplied_by_their_opacity_are_not_darkened_twice(tmp_path: Path, planar: str) -> None:
    four = np.zeros((20, 30, 4), np.uint8)
    four[...] = 50, 100, 20, 128  # half of (100, 200, 40)
    tifffile.imwrite(
        tmp_path / "a.tif",
        four if planar == "contig" else np.moveaxis(four, -1, 0),
        photometric="rgb",
        planarconfig=planar,
        extrasamples=["assocalpha"],
    )
    # Over white half of it and half of 255: 50 + 127, 100 + 127, 20 + 127
    np.testing.assert_array_equal(images.read_image(tmp_path / "a.tif")[0, 0], [177, 227, 147])


def test_ycbcr_without_jpeg_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="ycbcr", compression="zlib")
    with pytest.raises(InputError, match="a.tif is a YCbCr TIFF without JPEG compression"):
        images.read_image(tmp_path / "a.tif")


def test_twelve_bits_in_sixteen_are_told(tmp_path: Path, image: np.ndarray, caplog) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image.astype(np.uint16) * 16, photometric="rgb")
    images.read_image(tmp_path / "a.tif")
    assert "has 16 bits but no value above" in caplog.text


def test_grey_becomes_rgb(tmp_path: Path, image: np.ndarray) -> None:
    images.write_image(tmp_path / "a.png", image[..., 0])
    assert np.array_equal(images.read_image(tmp_path / "a.png"), np.repeat(image[..., :1], 3, axis=2))


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    bgra = np.zeros((2, 3, 4), np.uint8)
    bgra[0] = (10, 20, 30, 255)
    cv2.imwrite(str(tmp_path / "a.png"), bgra)
    read = images.read_image(tmp_path / "a.png")
    assert (read[0] == (30, 20, 10)).all()
    assert (read[1] == 255).all()


@pytest.mark.parametrize("suffix", images.IMAGE_SUFFIXES)
def test_cut_off_file(tmp_path: Path, image: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, image)
    else:
        path.write_bytes(cv2.imencode(".jpg" if suffix in (".jfif", ".jpe") else suffix, image)[1].tobytes())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=path.name):
        images.read_image(path)


def test_the_largest_image_of_a_tiff_counts(tmp_path: Path, image: np.ndarray) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(image[::2, ::2], photometric="rgb")  # its thumbnail
        tiff.write(image, photometric="rgb")
    np.testing.assert_array_equal(images.read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize("content", [b"", b"this is no image"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_not_an_image(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        images.read_image(tmp_path / name)


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        images.read_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="is not one of"):
        images.read_image(tmp_path / "a.txt")


@pytest.mark.parametrize("shape", [(5, 20, 30), (20, 30, 5)])
def test_stack_is_no_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="save one RGB or grey image by itself"):
        images.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("planes", [3, 4])
def test_pages_are_not_taken_for_colours(tmp_path: Path, planes: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((planes, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=f"a.tif is a stack of {planes} images"):
        images.read_image(tmp_path / "a.tif")


def test_float_image_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="float32"):
        images.read_image(tmp_path / "a.tif")


def test_palette_tiff_is_refused(tmp_path: Path) -> None:
    colormap = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8), photometric="palette", colormap=colormap)
    with pytest.raises(InputError, match="palette"):
        images.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("photometric", "shape"), [("separated", (4, 4, 4)), ("miniswhite", (4, 4))])
def test_tiff_of_inks_or_inverted_values_is_refused(tmp_path: Path, photometric: str, shape: tuple) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric=photometric)
    with pytest.raises(InputError, match=f"is a {photometric} TIFF; convert it to RGB"):
        images.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("largest", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_labels_survive_in_the_smallest_type(tmp_path: Path, largest: int, dtype: type) -> None:
    labels = np.array([[0, 1], [7, largest]])
    images.write_labels(tmp_path / "a.tif", labels)
    read = images.read_labels(tmp_path / "a.tif")
    assert read.dtype == np.int32
    assert np.array_equal(read, labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages[0].dtype == dtype
        assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_from_png(tmp_path: Path, dtype: type) -> None:
    labels = np.array([[0, 1], [7, 255]], dtype)
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    assert np.array_equal(images.read_labels(tmp_path / "a.png"), labels)


def test_of_a_palette_the_indices_are_the_labels(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2], [2, 9, 0]], np.uint8)
    with_colours = Image.fromarray(labels)
    with_colours.putpalette(list(range(250, 0, -1)) * 3)
    with_colours.save(tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).ndim == 3
    assert np.array_equal(images.read_labels(tmp_path / "a.png"), labels)


def test_whole_numbers_of_another_type_are_labels(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [300, 2]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", labels)
    assert np.array_equal(images.read_labels(tmp_path / "a.tif"), labels)
    tifffile.imwrite(tmp_path / "b.tif", labels + 0.5)
    with pytest.raises(InputError, match="float32 values that are not whole.*convert it to 16 bit"):
        images.read_labels(tmp_path / "b.tif")


def test_labels_refused(tmp_path: Path, image: np.ndarray) -> None:
    images.write_image(tmp_path / "rgb.png", image)
    cv2.imwrite(str(tmp_path / "lossy.jpg"), image)
    tifffile.imwrite(tmp_path / "float.tif", np.full((4, 4), 0.5, np.float32))
    tifffile.imwrite(tmp_path / "negative.tif", np.full((4, 4), -1, np.int16))
    for name in ("rgb.png", "lossy.jpg", "float.tif", "negative.tif", "missing.tif"):
        with pytest.raises(InputError, match=name):
            images.read_labels(tmp_path / name)


def test_values_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float64"):
        images.write_labels(tmp_path / "a.tif", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="float64"):
        images.write_image(tmp_path / "a.png", np.zeros((2, 2, 3)))
    assert not list(tmp_path.iterdir())


def test_list_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.PNG", "a.tif", "notes.txt", ".unfinished-0-c.png", "._a.tif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in images.list_images(tmp_path)] == ["a.tif", "b.PNG"]
    assert not caplog.text
    (tmp_path / "scan.jp2").touch()
    images.list_images(tmp_path)
    assert "left out scan.jp2; save them as PNG or TIFF" in caplog.text
    with pytest.raises(InputError, match="holds no image"):
        images.list_images(tmp_path / "folder.png")
    for name, words in (("missing", "does not exist"), ("b.PNG", "is a file, not a folder; name the folder")):
        with pytest.raises(InputError, match=f"{name} {words}"):
            images.list_images(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(InputError, match="caf.*[.]png has a name that is not UTF-8; rename it"):
        images.list_images(tmp_path)


def test_pair_by_stem(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours / "a.tif", ours / "b.png", theirs / "a.png", theirs / "b.png", theirs / "c.png"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    pairs = images.pair_by_stem(ours, theirs)
    assert [(a.name, b.name) for a, b in pairs] == [("a.tif", "a.png"), ("b.png", "b.png")]
    with pytest.raises(InputError, match="no partner for 1 files of .*: c.png"):
        images.pair_by_stem(theirs, ours)
    (ours / "a\u0308.png").touch()  # of macOS
    (theirs / "\u00e4.png").touch()
    assert len(images.pair_by_stem(ours, theirs)) == 3
    (ours / "a.png").touch()
    with pytest.raises(InputError, match="same name"):
        images.pair_by_stem(ours, theirs)


def test_a_mask_in_three_equal_channels_is_a_label_image(tmp_path: Path) -> None:
    mask = np.zeros((4, 5), np.uint8)
    mask[1, 2] = 255
    images.write_image(tmp_path / "a.png", np.repeat(mask[..., None], 3, axis=2))
    assert np.array_equal(images.read_labels(tmp_path / "a.png"), mask)
    cv2.imwrite(str(tmp_path / "b.png"), np.dstack([mask, mask, mask, np.full_like(mask, 255)]))
    assert np.array_equal(images.read_labels(tmp_path / "b.png"), mask)


def test_labels_in_colour_and_stacks_of_labels_say_what_to_do(tmp_path: Path) -> None:
    labels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    images.write_image(tmp_path / "a.png", np.dstack([labels, labels * 2, labels]))
    tifffile.imwrite(tmp_path / "b.tif", np.stack([labels] * 6))
    for name, words in (("a.png", "in colour"), ("b.tif", "a stack of the shape")):
        with pytest.raises(InputError, match=f"{name} is {words}.*; save the ids alone, as one grey image"):
            images.read_labels(tmp_path / name)


@pytest.mark.parametrize(("alpha", "expected"), [(255, False), (254, True)])
def test_transparency_is_told_from_an_opaque_channel(tmp_path: Path, alpha: int, expected: bool) -> None:
    pixels = np.full((4, 5, 4), 255, np.uint8)
    pixels[0, 0, 3] = alpha
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert images.has_transparency(tmp_path / "a.png") == expected
    images.write_image(tmp_path / "b.png", pixels[..., :3])
    assert not images.has_transparency(tmp_path / "b.png")
