from __future__ import annotations

import pytest
import torch
from torch import nn

from csingan.networks.pyramid import NOISE_CHANNELS, Pyramid, resize, scale_ratios, scale_size, start_from


def test_sizes_of_the_paper():
    # 256 * 2**(-k / 4), rounded up
    ratios = scale_ratios(128, 256, 0.84)
    assert [scale_size((256, 256), ratio) for ratio in ratios] == [(n, n) for n in (128, 153, 182, 216, 256)]


def test_sizes_of_halves():
    ratios = scale_ratios(32, 256, 0.5)
    assert [scale_size((256, 512), ratio) for ratio in ratios] == [
        (32, 64),
        (64, 128),
        (128, 256),
        (256, 512),
    ]


def test_the_number_of_scales_is_the_nearest():
    assert len(scale_ratios(32, 256, 0.6)) == 5  # log(8) / log(1 / 0.6) = 4.07 steps
    assert scale_ratios(64, 64, 0.5) == [1.0]


def test_sizes_round_up_and_never_vanish():
    assert scale_size((10, 3), 0.25) == (3, 1)
    assert scale_size((2, 2), 0.01) == (1, 1)


def test_resize_averages_what_it_shrinks():
    stripes = torch.tensor([0.0, 1.0]).repeat(8, 4)[None, None]
    small = resize(stripes, (4, 4))
    assert small.shape == (1, 1, 4, 4)
    assert torch.allclose(small[..., 1:3], torch.tensor(0.5), atol=0.1)


class Add(nn.Module):
    def forward(self, noise, base, layout):
        return base + noise


def test_the_coarsest_scale_starts_from_the_initial_image_and_each_other_from_the_one_below():
    pyramid = Pyramid([0.5, 1.0], initial_image=None)
    for _ in pyramid.ratios:
        pyramid.add(Add(), torch.zeros(1, 2))
    initial = torch.full((1, 3, 8, 8), 0.5)
    initial[..., :4] = -0.5
    noises = [torch.full((1, NOISE_CHANNELS, *size), 0.25) for size in pyramid.sizes((8, 8))]
    coarse, fine = pyramid(torch.zeros(1, 2, 8, 8), initial, noises)
    assert coarse.shape == (1, 3, 4, 4) and fine.shape == (1, 3, 8, 8)
    assert torch.allclose(coarse[..., 0], torch.tensor(-0.5 + 0.25))
    assert torch.allclose(fine[..., 7], torch.tensor(0.5 + 0.25 + 0.25))


def test_a_scale_on_top_is_frozen():
    pyramid = Pyramid([1.0], initial_image=None)
    pyramid.add(nn.Conv2d(1, 1, 1), torch.zeros(1, 2))
    assert not any(parameter.requires_grad for parameter in pyramid.parameters())


def test_noise_comes_in_the_number_of_scales():
    pyramid = Pyramid([1.0], initial_image=None)
    with pytest.raises(ValueError):
        pyramid(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4), [torch.zeros(1, NOISE_CHANNELS, 4, 4)])


def test_without_a_change_below_the_detail_makes_up_the_whole_initial_image():
    initial = torch.randn(2, 3, 16, 16)
    below = resize(initial, (8, 8))
    assert torch.allclose(start_from(below, initial, (16, 16), detail=True), initial, atol=1e-6)
    assert torch.equal(start_from(below, initial, (16, 16), detail=False), resize(below, (16, 16)))
    assert torch.equal(start_from(None, initial, (8, 8), detail=True), below)


def test_a_change_below_stays_under_the_detail():
    initial = torch.randn(1, 3, 16, 16)
    lighter = resize(initial, (8, 8)) + 0.25
    assert torch.allclose(start_from(lighter, initial, (16, 16), detail=True), initial + 0.25, atol=1e-6)
