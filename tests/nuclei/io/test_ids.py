"""A map of classes, a mask of all nuclei and ids that were cut are told from a label image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.io.ids import check_ids, count_places, is_one_nucleus


def test_pixels_that_touch_at_a_corner_are_in_one_place():
    places = count_places(np.array([[1, 0, 2], [0, 1, 0], [4, 0, 2]], np.int32))
    assert places.tolist() == [1, 2, 0, 1]


def test_a_mask_is_told_from_labels():
    path, mask = Path("a.png"), np.zeros((9, 9), np.int32)
    check_ids(mask, path)
    mask[:2, :2] = mask[4:, :2] = 255  # one nucleus in two parts
    check_ids(mask, path)
    mask[4:, 4:] = 255
    with pytest.raises(InputError, match="a.png has one id in 3 separate places, so it is a mask"):
        check_ids(mask, path)
    mask[4:, 4:] = 2
    check_ids(mask, path)


def test_a_map_of_classes_is_told_from_labels():
    classes = np.zeros((20, 20), np.int32)
    classes[::4, ::2], classes[2::4, ::2] = 1, 2
    with pytest.raises(InputError, match="has 2 ids in 100 separate places, so it is a map of classes"):
        check_ids(classes, Path("a.png"))


def test_ids_that_were_cut_to_8_bits_are_told(caplog):
    labels = np.zeros((40, 40), np.int32)
    labels[::2, ::2] = np.arange(400).reshape(20, 20) % 255 + 1
    check_ids(labels, Path("a.png"))
    assert "a.png: 145 of 255 ids lie in several places" in caplog.text
    caplog.clear()
    labels[::2, ::2] = np.arange(400).reshape(20, 20) + 1
    check_ids(labels, Path("a.png"))
    assert not caplog.text


def test_one_id_in_three_places_is_told(caplog):
    labels = np.zeros((40, 40), np.int32)
    labels[::8, ::8] = np.arange(1, 26).reshape(5, 5)
    check_ids(labels, Path("a.png"))
    assert not caplog.text
    for row in (2, 10, 18):
        labels[row : row + 4, 2:6] = 26
    check_ids(labels, Path("a.png"))
    assert "a.png: 1 of 26 ids lie in several places" in caplog.text


def test_a_nucleus_may_show_in_two_places_and_crumbs_do_not_count():
    mask = np.zeros((20, 20), bool)
    mask[:4, :4] = mask[8:12, :4] = True
    mask[::4, 15] = True  # single pixels
    assert is_one_nucleus(mask)
    mask[16:, :3] = True  # 12 px
    assert not is_one_nucleus(mask)


def test_a_background_with_an_id_is_told_from_a_nucleus():
    labels = np.zeros((40, 40), np.int32)
    labels[::8, ::8] = labels[1::8, ::8] = np.arange(1, 26).reshape(5, 5)
    check_ids(labels, Path("a.png"))
    for spoilt, label in ((labels + 1, 1), (np.where(labels, labels, 99), 99), (np.int32(labels == 0), 1)):
        with pytest.raises(InputError, match=f"a.png: id {label} reaches around nearly the whole image"):
            check_ids(spoilt, Path("a.png"))
    labels[4:36, 4:36] = 1  # a nucleus may be large
    check_ids(labels, Path("a.png"))
