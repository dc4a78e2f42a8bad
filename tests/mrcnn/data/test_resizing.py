import random

import numpy as np
import pytest
from skimage.transform import resize

from mrcnn import utils
from mrcnn.config import RESIZE_MODES


def noise(height, width, channels=3, dtype=np.uint8):
    return (np.random.default_rng(0).random((height, width, channels)) * 255).astype(dtype)


def test_mode_none_changes_nothing():
    image = noise(5, 7)
    same, window, scale, padding, crop = utils.resize_image(image, 800, 1024, mode="none")
    assert same is image
    assert (window, scale, padding, crop) == ((0, 0, 5, 7), 1, [(0, 0)] * 3, None)


def test_square_enlarges_to_the_shorter_side_and_pads_around():
    image, window, scale, padding, crop = utils.resize_image(noise(40, 60), 80, 128)
    assert image.shape == (128, 128, 3)
    assert scale == 2
    assert window == (24, 4, 104, 124)
    assert padding == [(24, 24), (4, 4), (0, 0)]
    assert crop is None
    assert not image[:24].any()
    assert not image[:, 124:].any()


def test_square_shrinks_what_is_too_long_and_never_for_the_shorter_side():
    *_, scale, padding, _ = utils.resize_image(noise(100, 256), 64, 128)
    assert (scale, padding) == (0.5, [(39, 39), (0, 0), (0, 0)])
    assert utils.resize_image(noise(100, 120), 64, 128)[2] == 1


def test_the_smallest_scale_holds_where_there_is_room():
    assert utils.resize_image(noise(32, 32), min_scale=1.5, mode="pad64")[2] == 1.5
    assert utils.resize_image(noise(32, 32), None, 128, min_scale=8)[2] == 4


def test_pad64_pads_to_multiples_of_64():
    image, window, scale, padding, _ = utils.resize_image(noise(65, 128), mode="pad64")
    assert image.shape == (128, 128, 3)
    assert (window, scale, padding) == ((31, 0, 96, 128), 1, [(31, 32), (0, 0), (0, 0)])


def test_crop_takes_a_window_that_depends_on_the_seed():
    image = noise(80, 100)
    random.seed(3)
    window_of_image, window, scale, padding, crop = utils.resize_image(image, 64, mode="crop")
    top, left, height, width = crop
    assert (window_of_image == image[top : top + height, left : left + width]).all()
    assert (window, scale, padding) == ((0, 0, 64, 64), 1, [(0, 0)] * 3)
    random.seed(3)
    assert utils.resize_image(image, 64, mode="crop")[4] == crop


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.float32, np.float64, bool])
@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_the_dtype_stays(mode, dtype):
    image = noise(40, 50, dtype=dtype)
    assert utils.resize_image(image, 64, 128, mode=mode)[0].dtype == dtype


@pytest.mark.parametrize("scale", [0.4, 2])
def test_interpolation_is_bilinear_between_pixel_centres(scale):
    image = noise(50, 75, channels=6, dtype=np.float32)
    shape = round(50 * scale), round(75 * scale)
    expected = resize(image, shape, order=1, mode="edge", anti_aliasing=False)
    resized, (y1, x1, y2, x2), *_ = utils.resize_image(image, min_scale=scale, max_dim=shape[1])
    assert resized[y1:y2, x1:x2] == pytest.approx(expected, abs=1e-2)


def test_a_grey_image_without_a_channel_axis():
    image, _, _, padding, _ = utils.resize_image(noise(40, 60)[..., 0], 80, 128)
    assert image.shape == (128, 128)
    assert len(padding) == 3


@pytest.mark.parametrize(
    "arguments", [{"mode": "round"}, {}, {"mode": "crop"}, {"mode": "pad64", "min_dim": 100}]
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="mode"):
        utils.resize_image(noise(8, 8), **arguments)


@pytest.mark.parametrize("mode", ["square", "pad64", "crop"])
@pytest.mark.parametrize("size", [(40, 60), (33, 90)])
def test_a_mask_goes_where_its_image_goes(mode, size):
    mask = np.zeros((*size, 2), bool)
    mask[5:30, 10:35, 0] = True
    mask[20:33, 3:40, 1] = True
    image = np.dstack([mask * 255.0, mask[..., :1] * 0.0])
    resized, _, scale, padding, crop = utils.resize_image(image, 64, 128, mode=mode)
    moved = utils.resize_mask(mask, scale, padding, crop)
    assert moved.dtype == bool
    assert moved.shape == (*resized.shape[:2], 2)
    clear = np.abs(resized[..., :2] - 127.5) > 64  # away from the outline, where interpolation decides
    assert (moved == (resized[..., :2] > 127.5))[clear].all()


def test_an_enlarged_mask_repeats_its_pixels():
    mask = np.array([[1, 2], [3, 4]])[..., None]
    enlarged = utils.resize_mask(mask, 2, [(0, 1), (0, 0), (0, 0)])[..., 0]
    assert enlarged.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4], [0, 0, 0, 0]]


def test_padding_mirrors_below_and_to_the_right():
    image = np.arange(6).reshape(2, 3, 1)
    assert utils.pad_to(image, 4)[..., 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]]
    assert utils.pad_to(image, 1).shape == image.shape
