import os
import sys

import cv2
import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.folders import patches

IMAGE = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
LABELS = np.zeros((8, 8), np.int32)
LABELS[1:3, 1:3] = 7
LABELS[4:6, 3:7] = 2


@pytest.fixture
def data(tmp_path):
    patches.write_patch(tmp_path / "data", "a", IMAGE, LABELS)
    patches.write_patch(tmp_path / "data", "b", IMAGE)
    return tmp_path / "data"


def write_mask(path, pixels):
    assert cv2.imwrite(str(path), pixels)


def test_a_patch_comes_back_as_it_was_written(data):
    assert patches.list_patches(data) == ["a", "b"]
    assert (patches.read_patch(data / "a") == IMAGE).all()
    # Masks are numbered by their ids: 2 is the first, 7 the second.
    assert (patches.read_masks(data / "a") == np.where(LABELS == 2, 1, np.where(LABELS == 7, 2, 0))).all()
    whole = cv2.imread(str(data / "a" / "whole" / "a.png"), cv2.IMREAD_GRAYSCALE)
    assert (whole == np.where(LABELS > 0, 255, 0)).all()


def test_only_patches_with_masks_are_annotated(data):
    assert patches.is_annotated(data / "a")
    assert not patches.is_annotated(data / "b")
    patches.write_masks(data / "b", np.zeros((8, 8), np.int32))
    assert patches.is_annotated(data / "b")  # without a nucleus, but annotated
    assert not patches.read_masks(data / "b").any()


def test_scores_and_undecided_nuclei_lie_beside_the_masks(data):
    sure, undecided = np.where(LABELS == 2, 1, 0), np.where(LABELS == 7, 1, 0)
    patches.write_patch(data, "c", IMAGE, sure, np.float32([0.5]), undecided)
    assert patches.read_scores(data / "c") == [0.5]
    assert (patches.read_masks(data / "c") == sure).all()
    assert (patches.read_undecided(data / "c") == undecided).all()
    assert not patches.read_undecided(data / "a").any()
    patches.write_patch(
        data, "d", IMAGE, sure, np.float32([0.5]), np.int32(sure == 0)
    )  # as of crowded tissue
    assert (patches.read_undecided(data / "d") == (sure == 0)).all()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((9, 8), 255, np.uint8), "8 x 9 px but its image is 8 x 8 px"),
        (np.full((8, 8), 255, np.uint8), "reaches around nearly the whole image"),
        (np.uint8(LABELS > 0), "overlaps 1.png"),
        (np.zeros((8, 8), np.uint8), "is empty"),
    ],
)
def test_bad_masks_are_refused_by_name(data, pixels, message):
    write_mask(data / "a" / "masks" / "5.png", pixels)
    with pytest.raises(InputError, match=rf"5\.png.*{message}"):
        patches.read_masks(data / "a")


def test_a_broken_mask_is_refused_by_name(data):
    (data / "a" / "masks" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"1\.png is not a readable PNG"):
        patches.read_masks(data / "a")


def test_a_patch_without_annotation_says_what_to_do(data):
    with pytest.raises(InputError, match="has no annotation yet; put one mask per nucleus into"):
        patches.read_masks(data / "b")


def test_missing_and_empty_folders_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        patches.list_patches(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no patch"):
        patches.list_patches(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_patch_whose_name_cannot_be_written_is_refused(data):
    (data / "b").rename(data / os.fsdecode(b"caf\xe9"))
    with pytest.raises(InputError, match="caf.* has a name that is not UTF-8; rename it"):
        patches.list_patches(data)


def test_a_killed_write_is_not_a_patch(data):
    (data / ".unfinished-123-c" / "images").mkdir(parents=True)
    assert patches.list_patches(data) == ["a", "b"]


@pytest.mark.parametrize(
    ("length", "size", "stride", "expected"),
    [
        (1000, 256, 248, [0, 248, 496, 744]),
        (600, 256, 256, [0, 256, 344]),
        (256, 256, 256, [0]),
        (99, 256, 9, [0]),
    ],
)
def test_windows_reach_the_border(length, size, stride, expected):
    assert patches.starts(length, size, stride) == expected


def test_hidden_files_among_the_masks_are_passed_over(data):
    before = patches.read_masks(data / "a"), patches.fingerprint(data, ["a"])
    (data / "a" / "masks" / "._0.png").write_bytes(b"of macOS")
    (data / "a" / "masks" / "Thumbs.db").write_bytes(b"of Windows")
    assert np.array_equal(patches.read_masks(data / "a"), before[0])
    assert patches.fingerprint(data, ["a"]) == before[1]


def test_files_among_the_masks_that_are_none_are_named(data):
    (data / "a" / "masks" / ".DS_Store").write_bytes(b"")
    assert patches.read_masks(data / "a").max() == 2
    (data / "a" / "masks" / "0.png").rename(data / "a" / "masks" / "0.PNG")
    assert patches.read_masks(data / "a").max() == patches.count_masks(data / "a") == 2
    (data / "a" / "masks" / "0.PNG").rename(data / "a" / "masks" / "0.bmp")
    with pytest.raises(InputError, match=r"masks/0\.bmp is no mask"):
        patches.read_masks(data / "a")


def test_new_masks_leave_everything_else_as_it_was(data):
    image = patches.image_path(data / "a")
    assert cv2.imwrite(str(image), np.full((*LABELS.shape, 3), 999, np.uint16))
    (data / "a" / "notes.txt").write_text("of value")
    before = image.read_bytes()
    patches.write_masks(data / "a", LABELS > 0)
    assert patches.read_masks(data / "a").max() == 1
    assert image.read_bytes() == before
    assert sorted(path.name for path in (data / "a").iterdir()) == ["images", "masks", "notes.txt", "whole"]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.arange(64).reshape(8, 8).astype(np.uint8), "holds several values"),
        (np.dstack([np.full((8, 8, 3), 255), np.eye(8) * 255]).astype(np.uint8), "transparent"),
        (np.uint8(LABELS != 2) * 255, "0.png reaches around nearly the whole image.* invert it"),
    ],
)
def test_what_is_no_mask_of_one_nucleus_is_refused(data, pixels, message):
    write_mask(data / "a" / "masks" / "0.png", pixels)
    with pytest.raises(InputError, match=message):
        patches.read_masks(data / "a")


def test_a_mask_may_have_sixteen_bits_or_colours(data):
    for mask in (np.uint16(LABELS == 2) * 255, np.uint8((LABELS == 2)[..., None] * [0, 0, 255])):
        write_mask(data / "a" / "masks" / "0.png", mask)
        assert (patches.read_masks(data / "a") == 1).sum() == (LABELS == 2).sum()


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("TCGA-21-5784.1.svs", "TCGA-21-5784.1"),
        ("case 7: H&E?.png", "case_7__H_E_"),
        ("\u7d30\u80de.tif", "\u7d30\u80de"),
        ("con.png", "_con"),
        ("Com1.2.tif", "_Com1.2"),
        ("control.png", "control"),
    ],
)
def test_names_of_patches_are_names_on_every_system(source, stem):
    assert patches.source_stem(source) == stem


def test_a_patch_with_a_name_in_any_script_comes_back(tmp_path):
    patches.write_patch(tmp_path, "\u7d30\u80de", IMAGE, LABELS)
    assert (patches.read_patch(tmp_path / "\u7d30\u80de") == IMAGE).all()
    assert patches.read_masks(tmp_path / "\u7d30\u80de").max() == 2


def test_a_mask_of_several_nuclei_is_refused(tmp_path):
    image, labels = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), int)
    for row in (0, 10, 20):
        labels[row : row + 5, :5] = 1
    patches.write_patch(tmp_path, "a", image, labels)
    with pytest.raises(InputError, match=r"0\.png shows several nuclei; give each its own mask"):
        patches.read_masks(tmp_path / "a")
    labels[:5] = 0  # one nucleus in two places, as behind another one
    patches.write_patch(tmp_path, "a", image, labels)
    assert patches.read_masks(tmp_path / "a").max() == 1


def test_the_image_of_a_patch_may_have_any_name(tmp_path):
    image = np.full((8, 8, 3), (9, 7, 5), np.uint8)
    patches.write_patch(tmp_path, "a", image)
    images = tmp_path / "a" / "images"
    (images / "a.png").rename(images / "cell.png")
    np.testing.assert_array_equal(patches.read_patch(tmp_path / "a"), image)
    (images / "other.png").write_bytes((images / "cell.png").read_bytes())
    with pytest.raises(InputError, match=r"a\.png does not exist"):
        patches.read_patch(tmp_path / "a")
