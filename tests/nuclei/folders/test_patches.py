import os
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

from nuclei.errors import InputError
from nuclei.folders import patches, tables

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


def test_the_selection_comes_back_in_its_order(data):
    tables.write_selection(data, pd.DataFrame({"patch": ["b", "a"], "score": [1.5, 2]}))
    assert tables.read_selection(data) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "run consis_based.py first"),
        ("name\na\n", "has no column patch"),
        ("patch\n", "selects no patch"),
        ("patch\nz\n", "names the patch 'z', which is not in"),
        ("patch\na\na/\n", "names the patch 'a/',.*names of folders in .*, one a row, comma separated"),
        ("patch\n../data/a\n", "names the patch '../data/a',"),
        ("patch\n.\n", "names the patch '.',"),
        (f"patch\n{'a' * 300}\n", "names the patch 'aaa"),
        ("patch,round\na,1,\n", "its rows have more cells than its first row; mend it"),
        ("patch\ta\n", "has no column patch; its columns are separated by tabs"),
        ("patch;score\na;1,5\nb;1,5,2\n", "has no column patch; its columns are separated by semicolons"),
    ],
)
def test_bad_selections_are_refused(data, text, message):
    if text is not None:
        (data / "selected.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        tables.read_selection(data)


@pytest.mark.parametrize(
    "text",
    ["patch,score\n b ,1\na,2\n", "Patch\nb\na\n", "sep=,\npatch\nb\na\n", "\ufeffsep=,\n patch \nb\n a\n"],
)
def test_a_selection_is_read_as_a_person_reads_it(data, text):
    (data / "selected.csv").write_text(text, encoding="utf-8")
    assert tables.read_selection(data) == ["b", "a"]


def test_a_patch_is_found_however_a_system_spells_its_name(data):
    for name in ("Pra\u0308p", "\u00e4", " c "):  # as macOS, as Linux, and with blanks that a table loses
        patches.write_patch(data, name, IMAGE)
    (data / "selected.csv").write_text("patch\nPr\u00e4p\na\u0308\n c \n", encoding="utf-8")
    assert tables.read_selection(data) == ["Pra\u0308p", "\u00e4", " c "]


def test_a_patch_that_is_selected_twice_counts_once_and_is_told(data, caplog):
    (data / "selected.csv").write_text("patch\nb\na\nb\n")
    assert tables.read_selection(data) == ["b", "a"]
    assert "names 'b' more than once" in caplog.text


def test_a_selection_names_no_place_outside_of_the_data(data, tmp_path):
    (data / "selected.csv").write_text(f"patch\n{data / 'a'}\n")
    with pytest.raises(InputError, match="names the patch '/.*/a', which is not in"):
        tables.read_selection(data)


def test_an_edited_selection_is_kept_when_a_new_one_is_written(data):
    assert tables.write_selection(data, pd.DataFrame([{"patch": "a"}])) is None
    assert tables.write_selection(data, pd.DataFrame([{"patch": "a"}])) is None
    before = tables.write_selection(data, pd.DataFrame([{"patch": "b"}]))
    assert before.read_text() == "patch\na\n"
    assert tables.read_selection(data) == ["b"]


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


def test_a_selection_may_have_empty_rows_and_names_that_look_like_nothing(data):
    for name in ("NA", "007"):
        patches.write_patch(data, name, IMAGE)
    (data / "selected.csv").write_text("patch,round\nNA,1\n,\n007,\n")
    assert tables.read_selection(data) == ["NA", "007"]


def test_an_edited_selection_is_kept_in_whatever_encoding(data):
    edited = "patch,note\na,K\u00f6ln\n".encode("latin-1")
    (data / "selected.csv").write_bytes(edited)
    before = tables.write_selection(data, pd.DataFrame({"patch": ["a"]}))
    assert before.read_bytes() == edited
    assert (data / "selected.csv").read_text() == "patch\na\n"


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


def test_no_edited_selection_is_lost_however_often_a_new_one_is_written(data):
    (data / "selected.csv").write_text("patch\na\n")
    kept = [tables.write_selection(data, pd.DataFrame({"patch": [name]})) for name in ("b", "c", "a")]
    assert [path.read_text() for path in kept] == ["patch\na\n", "patch\nb\n", "patch\nc\n"]


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


def test_what_is_wrong_with_a_table_is_said_once(data):
    (data / "selected.csv").write_text("name\na\n")
    with pytest.raises(InputError) as error:
        tables.read_selection(data)
    assert "cannot be read" not in str(error.value)


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
