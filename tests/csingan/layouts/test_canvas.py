from __future__ import annotations

import cv2
import numpy as np
import pytest

from csingan.layouts.canvas import Canvas, Nucleus, cut_out, highest, transformed

SHAPE = (30, 36)


def disc(radius: int) -> Nucleus:
    side = 2 * radius + 1
    return Nucleus(cv2.circle(np.zeros((side, side), np.uint8), (radius, radius), radius, 1, -1))


def canvas(gap: int = 1) -> Canvas:
    """Two discs on it."""
    filled = Canvas(SHAPE, gap)
    filled.put(disc(4), (3, 4))
    filled.put(disc(5), (14, 20))
    return filled


def distance(labels: np.ndarray, crop: np.ndarray, y: int, x: int, others: np.ndarray) -> int:
    """Chebyshev distance in px from a crop at (y, x) to the nearest pixel of `others`; 0: they overlap."""
    placed = np.zeros(labels.shape, np.uint8)
    placed[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    for far in range(max(labels.shape)):
        reach = cv2.dilate(placed, np.ones((2 * far + 1, 2 * far + 1), np.uint8))
        if (reach[others] > 0).any():
            return far
    return max(labels.shape)


def inside(crop: np.ndarray) -> list[tuple[int, int]]:
    """All places that touch no border."""
    rows, columns = (length - size for length, size in zip(SHAPE, crop.shape, strict=True))
    return [(y, x) for y in range(1, rows) for x in range(1, columns)]


@pytest.mark.parametrize("gap", [1, 2])
def test_all_places_apart_are_found_and_no_other(gap):
    filled, nucleus = canvas(gap), disc(3)
    expected = {
        place
        for place in inside(nucleus.crop)
        if distance(filled.labels, nucleus.crop, *place, filled.labels > 0) > gap
    }
    assert {tuple(place) for place in filled.places_apart(nucleus).tolist()} == expected


@pytest.mark.parametrize("gap", [1, 2])
def test_all_places_beside_a_nucleus_are_found_and_no_other(gap):
    filled, nucleus = canvas(gap), disc(3)
    partner, other = filled.labels == 2, filled.labels == 1
    expected = {
        place
        for place in inside(nucleus.crop)
        if distance(filled.labels, nucleus.crop, *place, partner) == 1
        and distance(filled.labels, nucleus.crop, *place, other) > gap
    }
    places, contacts = filled.places_beside(nucleus, 2)
    assert {tuple(place) for place in places.tolist()} == expected
    assert contacts.min() >= 1


def test_no_part_of_the_partner_is_hidden():
    # A large nucleus with a pixel apart from it, which has room in a smaller one.
    crop = np.zeros((12, 18), np.uint8)
    crop[:, :9], crop[6, 15] = 1, 1
    filled, nucleus = Canvas(SHAPE, 1), Nucleus(np.ones((5, 5), np.uint8))
    filled.put(Nucleus(crop), (10, 10))
    expected = {
        place
        for place in inside(nucleus.crop)
        if distance(filled.labels, nucleus.crop, *place, filled.labels == 1) == 1
    }
    assert {tuple(place) for place in filled.places_beside(nucleus, 1)[0].tolist()} == expected


def test_a_full_canvas_has_no_place():
    filled = Canvas((12, 12), 1)
    filled.put(disc(4), (1, 1))
    rng = np.random.default_rng(0)
    assert filled.apart(disc(3), rng) is None
    assert filled.apart(disc(40), rng) is None
    assert filled.beside(disc(3), 1, rng) is None


def test_what_is_put_there_is_counted():
    filled = canvas()
    place = filled.beside(disc(3), 2, np.random.default_rng(0))
    filled.put(disc(3), place, partner=2)
    assert len(filled) == filled.labels.max() == 3
    assert filled.touching == {2, 3}
    assert filled.area == np.count_nonzero(filled.labels)


def test_cut_nuclei_know_their_borders():
    labels = np.zeros(SHAPE, np.int32)
    labels[:4, :3], labels[10:20, 30:], labels[8:12, 8:12] = 1, 2, 5
    first, second, third = cut_out(labels)
    assert first.borders == ("first", "first") and second.borders == ("", "last")
    assert not third.is_cut and third.crop.shape == (4, 4) and third.area == 16


def test_a_nucleus_half_under_another_one_is_completed():
    labels = np.zeros((40, 40), np.int32)
    cv2.circle(labels, (15, 20), 10, 1, -1)
    cv2.circle(labels, (22, 20), 9, 2, -1)  # what it leaves of the first one is a crescent
    crescent, whole = cut_out(labels)
    assert labels[20, 15] == 2 and crescent.crop[20 - 10, 15 - 5] == 1  # between its horns
    assert np.array_equal(whole.crop, labels[11:30, 13:32] == 2)


def test_a_nucleus_of_a_pixel_is_cut_out():
    labels = np.zeros((5, 5), np.int32)
    labels[2, 3] = 1
    assert [nucleus.crop.tolist() for nucleus in cut_out(labels)] == [[[1]]]


def test_a_cut_nucleus_keeps_its_border():
    nucleus = Nucleus(np.ones((4, 3), np.uint8), ("last", ""))
    places = canvas().places_apart(nucleus)
    assert set(places[:, 0].tolist()) == {SHAPE[0] - 4}


def test_a_nucleus_as_wide_as_the_patch_fits_nowhere_else():
    nucleus = Nucleus(np.ones((3, SHAPE[1]), np.uint8), ("", "first"))
    assert len(Canvas(SHAPE, 1).places_apart(nucleus)) == SHAPE[0] - 3 - 1
    assert len(Canvas((20, 20), 1).places_apart(nucleus)) == 0


def test_turning_and_mirroring_keep_the_shape():
    crop = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]], np.uint8)
    assert np.array_equal(transformed(crop, 0, 1, mirror=False), crop)
    assert np.array_equal(transformed(crop, 0, 1, mirror=True), crop[:, ::-1])
    assert np.array_equal(transformed(crop, 180, 1, mirror=False), crop[::-1, ::-1])


def test_scaling_changes_the_diameter():
    area = disc(10).area
    assert transformed(disc(10).crop, 0, 1.5, mirror=False).sum() == pytest.approx(1.5**2 * area, rel=0.05)


def test_a_nucleus_of_a_pixel_never_vanishes():
    assert transformed(np.ones((1, 1), np.uint8), 45, 0.5, mirror=False).sum() >= 1


def test_the_highest_value_under_a_crop():
    values = np.zeros((4, 5), np.uint8)
    values[1, 1], values[3, 4] = 1, 2
    crop = np.array([[1, 0], [0, 1]], np.uint8)
    assert highest(values, crop).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 2]]
