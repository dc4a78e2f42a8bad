import numpy as np
import pytest

from mrcnn.config import NucleusConfig
from mrcnn.inference import tiling
from mrcnn.inference.tiling import Instance, resolve_overlaps


def square(top, left, side, score, cut=False):
    return Instance(np.ones((side, side), bool), top, left, score, cut)


def test_overlapping_pixels_go_to_the_higher_score():
    labels, kept = resolve_overlaps([square(0, 0, 8, 0.6), square(0, 5, 8, 0.9)], (8, 16))
    assert [one.score for one in kept] == [0.9, 0.6]
    assert (labels == 1).sum() == 64
    assert (labels == 2).sum() == 40
    assert labels.dtype == np.int32


def test_the_same_nucleus_from_two_tiles_comes_out_once():
    labels, kept = resolve_overlaps([square(0, 0, 8, 0.6), square(0, 1, 8, 0.9)], (8, 16))
    assert len(kept) == labels.max() == 1


def test_a_whole_nucleus_comes_before_a_cut_one_of_higher_score():
    whole, cut = square(0, 0, 10, 0.6), square(0, 4, 6, 0.9, cut=True)
    labels, kept = resolve_overlaps([cut, whole], (10, 10))
    assert (labels == 1).sum() == 100
    assert kept == [whole]


def test_no_instances_give_an_empty_image():
    labels, kept = resolve_overlaps([], (4, 5))
    assert labels.shape == (4, 5)
    assert not labels.any()
    assert kept == []


class DarkSquares:
    """Stands in for the network: finds each dark square of the tile by its brightness."""

    config = NucleusConfig()

    def __init__(self):
        self.asked = []

    def predict(self, images, times):
        self.asked.append((images.shape[:2], times))
        return [self._find_in(image) for image in images]

    def _find_in(self, image):
        from scipy import ndimage

        pieces, _ = ndimage.label(image[..., 0] < 128)
        found = [[s.start for s in piece] + [s.stop for s in piece] for piece in ndimage.find_objects(pieces)]
        count = len(found)
        return {
            "boxes": np.float32(found).reshape(-1, 4),
            "scores": np.linspace(0.9, 0.6, count, dtype=np.float32),
            "masks": np.ones((count, 28, 28), np.float32),
            "class_ids": np.ones(count, np.int32),
        }


def test_nuclei_on_seams_come_out_once_and_whole():
    image = np.full((400, 700, 3), 255, np.uint8)  # tiles of 384 px, from 0 and 16, and 0 and 316 px on
    corners = [(5, 5), (180, 300), (250, 320), (230, 60), (10, 200), (150, 370), (370, 380), (370, 670)]
    for top, left in corners:
        image[top : top + 30, left : left + 30] = 0
    labels, scores = tiling.segment(DarkSquares(), image)
    assert len(scores) == len(corners)
    assert ((labels > 0) == (image[..., 0] == 0)).all()
    for top, left in corners:
        assert len(np.unique(labels[top : top + 30, left : left + 30])) == 1


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ((256, 256), 256),
        ((100, 100), 256),
        ((300, 300), 384),  # one; four of 256 px
        ((460, 460), 576),  # one, 332,000 px; four of 384 px are 590,000, and so are nine of 256 px
        ((256, 448), 256),  # two of 256 px are 131,000 px
        ((1000, 1000), 576),  # four; nine of 384 px are as many pixels
        ((100_000, 80_000), 576),
    ],
)
def test_tiles_are_as_large_as_shows_the_fewest_pixels(shape, side):
    assert tiling.tile_side(shape, learnt=256, overlap=64) == side


def test_tiles_of_another_network_are_multiples_of_64_too():
    assert tiling.sides(256) == [256, 384, 576]
    assert tiling.sides(128) == [128, 192, 256]
    assert tiling.sides(64) == [64, 128]


def test_larger_tiles_have_places_for_more_objects():
    predictor = DarkSquares()
    image = np.full((560, 1000, 3), 255, np.uint8)
    tiling.segment(predictor, image)
    assert predictor.asked == [((1, 576), 5.0625)] * 2
    predictor = DarkSquares()
    tiling.segment(predictor, image[:256, :256])
    assert predictor.asked == [((1, 256), 1)]


class BlindToTheLeft(DarkSquares):
    """Finds nothing in the left half of a tile."""

    def _find_in(self, image):
        found = super()._find_in(image)
        right = found["boxes"][:, 1] > 128
        return {name: values[right] for name, values in found.items()}


def test_a_piece_is_dropped_where_the_tile_that_sees_the_whole_finds_nothing():
    image = np.full((256, 448, 3), 255, np.uint8)  # two tiles, from 0 and from 192 px on
    image[50:80, 240:270] = 0  # cut by the first, whole in the left half of the second
    image[150:180, 200:230] = 0  # whole in the first
    labels, scores = tiling.segment(BlindToTheLeft(), image)
    assert len(scores) == 1
    assert (labels[150:180, 200:230] == 1).all()


@pytest.mark.parametrize("width", range(58, 65))
def test_a_nucleus_about_as_wide_as_the_overlap_is_found_wherever_it_lies(width):
    for left in range(188, 198):  # the tiles begin at 0 and at 192 px and share 64
        image = np.full((256, 448, 3), 255, np.uint8)
        image[50:80, left : left + width] = 0
        labels, _ = tiling.segment(DarkSquares(), image)
        assert ((labels > 0) == (image[..., 0] == 0)).all()


def test_a_nucleus_larger_than_the_overlap_keeps_its_pieces():
    image = np.full((256, 448, 3), 255, np.uint8)
    image[50:80, 120:340] = 0
    labels, _ = tiling.segment(DarkSquares(), image)
    assert (labels > 0).sum() == 30 * 220


def test_an_image_smaller_than_a_tile():
    image = np.full((40, 50, 3), 255, np.uint8)
    image[10:20, 10:20] = 0
    labels, scores = tiling.segment(DarkSquares(), image)
    assert labels.shape == (40, 50)
    assert (labels == 1).sum() == 100
    assert len(scores) == 1
