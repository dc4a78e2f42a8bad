import numpy as np
import pytest
import shapely

from nuclei import tissue
from nuclei.outlines.polygons import (
    cover,
    fill_holes,
    mend,
    outlines,
    paint,
    renumber,
)

HARD = """
1 1 . . 2 2 2 2 2 . . .
1 1 . . 2 . . . 2 . . 3
. . . . 2 . 4 . 2 . 3 .
5 5 . . 2 . . . 2 . . 3
. . 5 . 2 2 2 2 2 . . .
. . . 6 . . . . . . 7 .
8 8 9 9 . a a a a a . .
8 8 9 9 . a . . . a . .
8 8 9 9 . . a a a . . .
. . . . . . . . . . . b
c c c . d . . e e e . .
c . c d . . e . f f e .
c c . . d d e e e e e e
"""


def hard_labels():
    """Corners that touch, holes, a nucleus within another, necks, parts, neighbours, all borders."""
    rows = [[int(cell.replace(".", "0"), 16) for cell in line.split()] for line in HARD.strip().splitlines()]
    return np.array(rows, np.int32)


def random_labels(seed, ids, side=48):
    """Noise: many parts, holes and corners that touch."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, ids, (side // 2, side // 2)).repeat(2, axis=0).repeat(2, axis=1)
    return renumber(np.where(rng.random((side, side)) < 0.2, rng.integers(0, ids, (side, side)), coarse))


@pytest.mark.parametrize("labels", [hard_labels(), random_labels(0, 4), random_labels(1, 700)])
def test_outlines_turn_back_into_the_same_pixels(labels):
    polygons = outlines(labels)
    assert len(polygons) == labels.max()
    assert all(polygon.is_valid for polygon in polygons)
    assert [polygon.area for polygon in polygons] == np.bincount(labels.ravel())[1:].tolist()
    painted, contested = paint(polygons, labels.shape)
    np.testing.assert_array_equal(painted, labels)
    assert contested == 0


@pytest.mark.parametrize("kind", tissue.KINDS)
def test_outlines_of_tissue_turn_back_into_the_same_pixels(kind):
    _, labels = tissue.generate(kind, 128, seed=3)
    np.testing.assert_array_equal(paint(outlines(labels), labels.shape)[0], labels)


def test_an_outline_runs_along_the_edges_of_pixels():
    labels = np.zeros((4, 6), int)
    labels[1:3, 2:5] = 70_000  # ids need not be small, nor without gaps
    (outline,) = outlines(labels)
    assert outline.equals(shapely.box(2, 1, 5, 3))
    assert len(outline.exterior.coords) == 5  # nothing but the corners
    assert outlines(np.zeros((3, 3), bool)) == []
    assert outlines(np.ones((2, 3), bool))[0].equals(shapely.box(0, 0, 3, 2))


def test_pixels_that_touch_at_a_corner_are_parts_and_a_ring_has_a_hole():
    (corner,) = outlines(np.eye(2, dtype=int))
    assert corner.geom_type == "MultiPolygon"
    ring = np.ones((3, 3), int)
    ring[1, 1] = 0
    (outline,) = outlines(ring)
    assert outline.equals(shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 2))


def test_a_pixel_belongs_to_the_polygon_around_its_centre():
    window, mask = cover(shapely.box(0.4, 0.6, 2.6, 2.4), (5, 5))
    pixels = np.zeros((5, 5), bool)
    pixels[window] = mask
    assert np.argwhere(pixels).tolist() == [[1, 0], [1, 1], [1, 2]]


def test_an_edge_through_centres_gives_each_pixel_to_one_side():
    left, right = shapely.box(0, 0, 2.5, 4), shapely.box(2.5, 0, 5, 4)
    labels, contested = paint([left, right], (4, 5))
    assert contested == 0
    assert (labels > 0).all()
    upper = shapely.Polygon([(0, 0), (4, 0), (4, 4)])
    labels, contested = paint([upper, shapely.box(0, 0, 4, 4) - upper], (4, 4))
    assert contested == 0
    assert (labels > 0).all()


def test_the_smaller_one_lies_on_top_whatever_the_order():
    small, large = shapely.box(1, 1, 3, 3), shapely.box(0, 0, 5, 5)
    for order in ([small, large], [large, small]):
        labels, contested = paint(order, (5, 5))
        assert np.bincount(labels.ravel())[1 + order.index(small)] == 4
        assert contested == 4


def test_what_lies_outside_is_cut_off():
    far, over, none = shapely.box(50, 50, 60, 60), shapely.box(-3, -3, 2, 1), shapely.Polygon()
    labels, _ = paint([far, over, none], (4, 4))
    assert labels[0].tolist() == [2, 2, 0, 0]
    assert not labels[1:].any()
    assert paint([], (2, 2))[0].tolist() == [[0, 0], [0, 0]]


def test_mending_keeps_everything_that_the_line_goes_around():
    eight = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    assert mend(eight).area == 50
    angle = np.linspace(0, 2.4 * np.pi, 200)  # the hand passed the start and went on
    once_and_more = shapely.Polygon(10 * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert mend(once_and_more).area == pytest.approx(100 * np.pi, rel=0.01)
    overlapping = shapely.MultiPolygon([shapely.box(0, 0, 4, 4), shapely.box(2, 2, 6, 6)])
    assert mend(overlapping).area == 28
    assert mend(shapely.Polygon([(0, 0), (1, 1), (2, 2)])).is_empty
    assert mend(shapely.box(0, 0, 1, 1)).equals(shapely.box(0, 0, 1, 1))


def test_holes_are_filled_around_what_lies_in_them():
    labels = hard_labels()
    filled, count = fill_holes(labels)
    assert count == 4  # 2, a, c and e
    np.testing.assert_array_equal(filled[labels > 0], labels[labels > 0])
    assert filled[1:4, 5:8].tolist() == [[2, 2, 2], [2, 4, 2], [2, 2, 2]]
    assert fill_holes(filled)[1] == 0


def test_renumbering_makes_equal_nuclei_equal_arrays():
    labels = random_labels(2, 9)
    shuffled = np.append(0, 5 + np.random.default_rng(0).permutation(labels.max()))[labels]
    np.testing.assert_array_equal(renumber(shuffled), renumber(labels))
    assert renumber(np.array([[0, 7], [3, 7]])).tolist() == [[0, 1], [2, 1]]
