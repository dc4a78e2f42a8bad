import numpy as np
import pytest

from mrcnn import utils
from nuclei.tissue import generate

SHAPE = (64, 64)


def disc(diameter, y=32, x=32):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= (diameter / 2) ** 2


def random_masks(count, seed, shape=(90, 70)):
    rng = np.random.default_rng(seed)
    masks = np.zeros((*shape, count), bool)
    for number in range(count):
        y, x = rng.integers(0, 60, 2)
        masks[y : y + rng.integers(0, 30), x : x + rng.integers(1, 30), number] = True
    return masks


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def round_trip(masks, mini_shape=(56, 56)):
    boxes = utils.extract_bboxes(masks)
    return utils.expand_mask(boxes, utils.minimize_mask(boxes, masks, mini_shape), masks.shape)


def test_the_ends_of_boxes_are_exclusive_and_empty_masks_give_zeros():
    masks = np.zeros((8, 9, 3), np.uint8)
    masks[2:5, 3:9, 0] = 1
    masks[7, 0, 2] = 1
    boxes = utils.extract_bboxes(masks)
    assert boxes.dtype == np.int32
    assert boxes.tolist() == [[2, 3, 5, 9], [0, 0, 0, 0], [7, 0, 8, 1]]
    assert utils.extract_bboxes(masks[..., :0]).shape == (0, 4)


def test_overlaps_of_masks_agree_with_a_literal_count():
    first, second = random_masks(12, 0, (600, 70)), random_masks(9, 1, (600, 70))
    first[300:500, 10:40, 3] = second[310:490, 5:40, 4] = True  # across several bands
    found = utils.compute_overlaps_masks(first, second)
    for i, j in np.ndindex(12, 9):
        one, other = first[..., i], second[..., j]
        union = (one | other).sum()
        assert found[i, j] == pytest.approx((one & other).sum() / union if union else 0)


def test_overlaps_of_masks_that_are_numbers():
    first = np.array([[0.4, 0.6, 1.0]])[..., None]
    second = np.array([[0.0, 0.0, 0.9]])[..., None]
    assert utils.compute_overlaps_masks(first, second).tolist() == [[0.5]]


def test_overlaps_with_no_masks_and_of_two_images():
    masks = random_masks(3, 0)
    assert utils.compute_overlaps_masks(masks, masks[..., :0]).shape == (3, 0)
    with pytest.raises(ValueError, match="90"):
        utils.compute_overlaps_masks(masks, masks[:80])


def test_the_later_mask_lies_on_top():
    masks = np.zeros((1, 4, 3), bool)
    masks[0, :3, 0] = masks[0, 1:3, 1] = masks[0, 2:, 2] = True
    labels, covered = utils.label_image(masks)
    assert labels.tolist() == [[1, 2, 3, 3]]
    assert covered == 3  # two pixels of the first, one of the second


@pytest.mark.parametrize("diameter", range(5, 41))
def test_discs_survive_mini_masks(diameter):
    masks = disc(diameter)[..., None]
    assert iou(round_trip(masks), masks) >= 0.97


@pytest.mark.parametrize("diameter", range(5, 29))
def test_touching_pairs_survive_mini_masks_and_stay_apart(diameter):
    first = disc(diameter, x=20)
    masks = np.dstack([first, disc(diameter, x=20 + 0.8 * diameter) & ~first])
    back = round_trip(masks)
    assert all(iou(back[..., k], masks[..., k]) >= 0.97 for k in range(2))
    assert not (back[..., 0] & back[..., 1]).any()


@pytest.mark.parametrize("diameter", range(5, 41))
@pytest.mark.parametrize("thickness", [1, 2])
def test_thin_crescents_survive_mini_masks(diameter, thickness):
    masks = (disc(diameter) & ~disc(diameter, x=32 + thickness))[..., None]
    assert iou(round_trip(masks), masks) >= 0.97


def test_generated_nuclei_survive_mini_masks():
    labels = generate("carcinoma", 256, seed=0)[1]
    masks = labels[..., None] == np.arange(1, labels.max() + 1)
    back = round_trip(masks)
    assert min(iou(back[..., k], masks[..., k]) for k in range(masks.shape[2])) >= 0.97


def test_of_a_large_mask_a_mini_cell_belongs_to_it_where_half_its_area_does():
    mask = np.zeros((8, 8), bool)
    mask[:, :5] = True
    assert utils.mini_mask(mask, (2, 4)).tolist() == [[True, True, True, False]] * 2


def test_an_empty_mask_is_named():
    masks = np.dstack([disc(9), np.zeros(SHAPE, bool)])
    with pytest.raises(ValueError, match=r"mask 1 .*\(0, 0, 0, 0\)"):
        utils.minimize_mask(utils.extract_bboxes(masks), masks, (56, 56))
    with pytest.raises(ValueError, match="mask 0"):
        utils.minimize_mask(np.array([[0, 0, 5, 5]]), masks, (56, 56))


def test_a_predicted_mask_is_put_into_the_image():
    mask = np.zeros((28, 28), np.float32)
    mask[:14] = 0.9
    full = utils.unmold_mask(mask, np.array([2, 3, 6, 9]), (10, 12, 3))
    assert full.dtype == bool
    expected = np.zeros((10, 12), bool)
    expected[2:4, 3:9] = True
    assert (full == expected).all()


def test_pasting_is_cut_at_the_image_and_empty_outside():
    full = np.ones((28, 28), np.float32)
    window, top, left = utils.paste_mask(full, (-5.0, 6.0, 5.0, 20.0), (10, 12))
    assert (window.shape, top, left) == ((5, 6), 0, 6)
    assert window.all()
    assert utils.paste_mask(full, (20.0, 20.0, 30.0, 30.0), (10, 12))[0].size == 0


def test_pasting_into_a_box_without_area_gives_nothing():
    assert utils.paste_mask(np.ones((28, 28), np.float32), (3.5, 2.0, 3.5, 8.0), (10, 12))[0].size == 0


def test_pasting_does_not_round_the_box():
    half = np.zeros((28, 28), np.float32)
    half[:, :14] = 1
    window, _, left = utils.paste_mask(half, (0.0, 2.5, 4.0, 12.5), (4, 20))
    assert left == 2
    # The mask ends at 2.5 + 5 = 7.5 px: pixels with centres 2.5 .. 7.5 belong to it, up to the tie.
    assert window[0].sum() in (5, 6)


def test_a_pixel_whose_centre_lies_outside_the_box_is_not_in_the_mask():
    full = np.ones((28, 28), np.float32)
    window, top, left = utils.paste_mask(full, (0.6, 1.4, 3.4, 3.6), (10, 12))
    assert (top, left) == (0, 1)
    assert np.argwhere(window).tolist() == [[1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
