"""Annotated nuclei on another patch's background: its stain, its size, its density, none of its nuclei."""

from __future__ import annotations

import numpy as np
import pytest

from csingan.config import LayoutOptions
from csingan.layouts.sampler import DoesNotFit
from csingan.transplant import Host, transplant

SIDE = 128
PINK, GREEN = (230, 170, 200), (180, 220, 180)  # backgrounds


def discs(diameter: int, centres: list[tuple[int, int]]) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.int32)
    y, x = np.indices(labels.shape)
    for number, (row, column) in enumerate(centres, start=1):
        labels[(y - row) ** 2 + (x - column) ** 2 <= (diameter / 2) ** 2] = number
    return labels


def paint(labels: np.ndarray, nucleus: tuple[int, ...], background: tuple[int, ...]) -> np.ndarray:
    return np.where(labels[..., None] > 0, nucleus, background).astype(np.uint8)


PLACES = [(y, x) for y in (20, 64, 108) for x in (20, 64, 108)]
DONOR_LABELS = discs(12, PLACES)
DONOR = paint(DONOR_LABELS, (60, 40, 120), PINK), DONOR_LABELS


def host(diameter: int, places: list[tuple[int, int]], nucleus: tuple[int, ...]) -> Host:
    labels = discs(diameter, places)
    return Host(paint(labels, nucleus, GREEN), labels, labels)


def make(lender: Host, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return transplant(lender, DONOR, LayoutOptions(), np.random.default_rng(seed))


def test_stain_size_and_background_are_those_of_the_host() -> None:
    nucleus = (110, 60, 60)
    image, labels = make(host(18, PLACES, nucleus))
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    areas = np.bincount(labels.ravel())[1:]
    assert np.median(areas) == pytest.approx(np.pi * 9**2, rel=0.25)  # of the host's; the donor's is 113
    inside = np.median(image[labels > 0], axis=0)
    assert np.abs(inside - nucleus).max() <= 6
    outside = np.median(image[labels == 0], axis=0)
    assert np.abs(outside - GREEN).max() <= 6


def test_a_host_of_few_nuclei_gets_fewer() -> None:
    counts = [
        np.mean([len(np.unique(make(lender, seed)[1])) - 1 for seed in range(8)])
        for lender in (host(12, PLACES, (60, 40, 120)), host(12, PLACES[:5], (60, 40, 120)))
    ]
    assert counts[1] / counts[0] == pytest.approx(5 / 9, abs=0.12)


def test_the_hosts_own_nuclei_are_gone() -> None:
    black = (0, 0, 0)
    doubtful = discs(12, PLACES)
    lender = host(12, PLACES[:6], (90, 60, 150))
    image = lender.image.copy()
    image[(doubtful > 0) & (lender.sure == 0)] = black  # seen by the network with a low score
    made, labels = make(Host(image, doubtful, lender.sure))
    assert made[labels == 0].min() > 60


def test_contrast_is_never_raised() -> None:
    """A donor of one colour and a host of two: more contrast would only show noise."""
    noise = np.random.default_rng(0).integers(-3, 4, (SIDE, SIDE, 1))
    image = (DONOR[0].astype(int) + noise).clip(0, 255).astype(np.uint8)
    lender = host(12, PLACES, (60, 40, 120))
    striped = lender.image.copy()
    striped[::2][lender.sure[::2] > 0] = (140, 110, 190)
    made, labels = transplant(
        Host(striped, lender.found, lender.sure), (image, DONOR_LABELS), LayoutOptions(),
        np.random.default_rng(0),
    )  # fmt: skip
    assert made[labels > 0].std(axis=0).max() < 25  # the stripes have 40


def test_the_same_seed_gives_the_same_pair() -> None:
    first, second, other = (
        make(host(12, PLACES, (90, 60, 150))),
        *(make(host(12, PLACES, (90, 60, 150)), seed) for seed in (0, 1)),
    )
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()
    assert (first[1] != other[1]).any()


def test_a_layout_that_cannot_fit_is_told() -> None:
    options = LayoutOptions(density=(20, 20), touching=0, gap=SIDE)
    with pytest.raises(DoesNotFit):
        transplant(host(12, PLACES, (60, 40, 120)), DONOR, options, np.random.default_rng(0))
