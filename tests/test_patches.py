import cv2
import numpy as np
import pytest

from nuclei import patches
from nuclei.errors import InputError
from nuclei.formats import write_image

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


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((9, 8), 255, np.uint8), "8 x 9 px but its image is 8 x 8 px"),
        (np.full((8, 8), 255, np.uint8), "overlaps 1.png"),
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


def test_a_killed_write_is_not_a_patch(data):
    (data / ".unfinished-123-c" / "images").mkdir(parents=True)
    assert patches.list_patches(data) == ["a", "b"]


def test_quarters_row_by_row():
    image = np.arange(4 * 4).reshape(4, 4, 1)
    assert patches.quarters(image)[..., 0].tolist() == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [12, 13]],
        [[10, 11], [14, 15]],
    ]
    with pytest.raises(InputError, match="even size"):
        patches.quarters(image[:3])


def test_quarters_are_written_as_patches(tmp_path):
    patches.write_quarters(tmp_path, 3, [IMAGE, IMAGE])
    assert patches.list_patches(tmp_path / "3") == [str(number) for number in range(8)]
    assert (patches.read_patch(tmp_path / "3" / "5") == IMAGE[:4, 4:]).all()


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


def test_images_are_cropped_and_remembered(tmp_path):
    image = np.random.default_rng(1).integers(0, 255, (10, 14, 3)).astype(np.uint8)
    write_image(tmp_path / "images" / "my slide.png", image)
    sources = patches.crop_images(tmp_path / "images", tmp_path / "data", size=8, stride=8)
    assert sources["patch"].tolist() == [f"my_slide_x{x}_y{y}" for y in (0, 2) for x in (0, 6)]
    assert (patches.read_patch(tmp_path / "data" / "my_slide_x6_y2") == image[2:10, 6:14]).all()
    assert patches.read_sources(tmp_path / "data").equals(sources)


def test_images_whose_patches_would_share_a_name_are_refused(tmp_path):
    for name in ("a b", "a_b"):
        write_image(tmp_path / "images" / f"{name}.png", IMAGE)
    with pytest.raises(InputError, match="rename one"):
        patches.crop_images(tmp_path / "images", tmp_path / "data", size=8, stride=8)
    assert not (tmp_path / "data").exists()


def test_an_image_smaller_than_a_patch_is_refused_by_name(tmp_path):
    write_image(tmp_path / "images" / "small.png", IMAGE)
    with pytest.raises(InputError, match=r"small\.png is 8 x 8 px, smaller than a patch of 16 px"):
        patches.crop_images(tmp_path / "images", tmp_path / "data", size=16, stride=16)


def test_the_selection_comes_back_in_its_order(data):
    patches.write_selection(data, [{"patch": "b", "score": 1.5}, {"patch": "a", "score": 2}])
    assert patches.read_selection(data) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "run consis_based.py first"),
        ("name\na\n", "has no column patch"),
        ("patch\n", "selects no patch"),
        ("patch\nz\n", "names the patch z"),
    ],
)
def test_bad_selections_are_refused(data, text, message):
    if text is not None:
        (data / "selected.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        patches.read_selection(data)


def test_an_edited_selection_is_kept_when_a_new_one_is_written(data):
    assert patches.write_selection(data, [{"patch": "a"}]) is None
    assert patches.write_selection(data, [{"patch": "a"}]) is None
    before = patches.write_selection(data, [{"patch": "b"}])
    assert before.read_text() == "patch\na\n"
    assert patches.read_selection(data) == ["b"]
