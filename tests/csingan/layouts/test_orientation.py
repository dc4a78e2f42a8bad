import numpy as np
import pytest

from csingan.layouts.orientation import coherence, is_directed, nucleus_rotation
from nuclei import tissue


def stripes(period: int) -> np.ndarray:
    wave = 127 + 100 * np.sin(2 * np.pi * np.arange(64) / period)
    return np.repeat(np.tile(wave, (64, 1))[..., None], 3, axis=2).astype(np.uint8)


def test_stripes_have_one_direction_whichever_it_is():
    image = stripes(16)
    for turned in (image, np.rot90(image).copy()):
        assert coherence(turned) == pytest.approx(1, abs=0.01)


def test_crossed_stripes_and_flat_colour_have_none():
    image = stripes(16)
    crossed = np.uint8(image / 2.0 + np.rot90(image) / 2.0)
    assert coherence(crossed) < 0.02
    assert coherence(np.full((64, 64, 3), 200, np.uint8)) == 0


def test_fibres_are_directed_and_crowded_nuclei_are_not():
    assert is_directed(tissue.generate("stroma", 256, 3)[0])
    assert not is_directed(tissue.generate("lymphoid", 256, 3)[0])


def test_nuclei_among_fibres_are_turned_a_little_only():
    assert nucleus_rotation(stripes(16)) < 45
    assert nucleus_rotation(np.full((64, 64, 3), 200, np.uint8)) == 180
