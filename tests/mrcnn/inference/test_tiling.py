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

    def predict(self, images):
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
    image = np.full((400, 520, 3), 255, np.uint8)
    corners = [(5, 5), (180, 180), (250, 240), (230, 60), (100, 300), (150, 448), (370, 490)]
    for top, left in corners:
        image[top : top + 30, left : left + 30] = 0
    labels, scores = tiling.segment(DarkSquares(), image)
    assert len(scores) == len(corners)
    assert ((labels > 0) == (image[..., 0] == 0)).all()
    for top, left in corners:
        assert len(np.unique(labels[top : top + 30, left : left + 30])) == 1


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
