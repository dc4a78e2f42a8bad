"""Generated tissue: what the demo and the other tests rely on."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2hed
from skimage.measure import label as connected

from nuclei.tissue import KINDS, generate, variety


@pytest.fixture(scope="module")
def tissue() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """One image and its labels of every kind."""
    return {kind: generate(kind, 256, seed=1) for kind in KINDS}


def median_diameter(labels: np.ndarray) -> float:
    return float(np.median(2 * np.sqrt(np.bincount(labels.ravel())[1:] / np.pi)))


def touching(labels: np.ndarray) -> int:
    """Pairs of neighbouring pixels that belong to two different nuclei."""
    pairs = ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
    return sum(int(((a != b) & (a > 0) & (b > 0)).sum()) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_types_and_some_nuclei(tissue, kind):
    image, labels = tissue[kind]
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8
    assert labels.shape == (256, 256) and labels.dtype == np.int32
    assert labels.max() >= 5
    assert 0.03 < (labels > 0).mean() < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_identities_are_contiguous_and_each_is_one_piece(tissue, kind):
    labels = tissue[kind][1]
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert connected(labels, connectivity=1).max() == labels.max()
    assert np.bincount(labels.ravel()).min() >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_nuclei_take_more_haematoxylin_than_the_rest(tissue, kind):
    image, labels = tissue[kind]
    haematoxylin = rgb2hed(image)[..., 0]
    assert haematoxylin[labels > 0].mean() > 1.15 * haematoxylin[labels == 0].mean()


def test_the_same_seed_gives_the_same_image_and_another_does_not():
    image, labels = generate("carcinoma", 128, seed=3)
    again, labels_again = generate("carcinoma", 128, seed=3)
    other, labels_other = generate("carcinoma", 128, seed=4)
    assert np.array_equal(image, again) and np.array_equal(labels, labels_again)
    assert not np.array_equal(image, other) and not np.array_equal(labels, labels_other)


def test_stains_differ_between_seeds():
    colours = np.array([generate("stroma", 128, seed)[0].mean(axis=(0, 1)) for seed in range(6)])
    assert (colours.std(axis=0) > 3).all()


def test_kinds_differ_in_size_and_density(tissue):
    labels = {kind: pair[1] for kind, pair in tissue.items()}
    assert median_diameter(labels["hepatic"]) > 1.1 * median_diameter(labels["lymphoid"])
    assert labels["lymphoid"].max() > 2 * max(labels["stroma"].max(), labels["hepatic"].max())


def test_nuclei_touch_where_they_are_crowded(tissue):
    assert touching(tissue["lymphoid"][1]) > 100
    assert touching(tissue["hepatic"][1]) < 30


def test_parts_of_an_image_differ():
    labels = generate("carcinoma", 512, seed=0)[1]
    quarters = [half for rows in np.split(labels, 2) for half in np.split(rows, 2, axis=1)]
    filled = [(quarter > 0).mean() for quarter in quarters]
    assert max(filled) > 1.15 * min(filled)


@pytest.mark.parametrize("size", [(96, 160), (200, 64), (16, 16)])
def test_any_height_and_width(size):
    for kind in KINDS:
        image, labels = generate(kind, size, seed=0)
        assert image.shape == (*size, 3) and labels.shape == size


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="carcinoma.*stroma"):
        generate("brain", 64, seed=0)


VARIED = range(12)


@pytest.fixture(scope="module")
def varied() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels of which no two are alike."""
    return [variety.generate(128, seed) for seed in VARIED]


def test_varied_tissue_has_the_form_of_other_tissue(varied):
    for image, labels in varied:
        assert image.shape == (128, 128, 3) and image.dtype == np.uint8
        assert labels.shape == (128, 128) and labels.dtype == np.int32
        assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
        assert connected(labels, connectivity=1).max() == labels.max()
        assert np.bincount(labels.ravel()).min() >= 30


def test_varied_tissue_is_the_same_for_one_seed(varied):
    image, labels = variety.generate(128, VARIED[3])
    assert np.array_equal(image, varied[3][0]) and np.array_equal(labels, varied[3][1])


def test_varied_tissue_differs_in_size_of_nuclei_colour_and_sharpness(varied):
    diameters = [median_diameter(labels) for _, labels in varied if labels.max()]
    assert max(diameters) > 2 * min(diameters)
    colours = np.array([image.mean(axis=(0, 1)) for image, _ in varied])
    assert colours.std(axis=0).min() > 15
    edges = [np.abs(np.diff(image.astype(float), axis=0)).mean() for image, _ in varied]
    assert max(edges) > 2 * min(edges)
