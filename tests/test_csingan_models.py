from __future__ import annotations

import pytest
import torch

from csingan.models import CRITICS, Critics, Generator, masked_images, regions
from csingan.pyramid import NOISE_CHANNELS

SIZE = 24


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def inputs(size: tuple[int, int] = (SIZE, SIZE)) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(1, channels, *size) for channels in (NOISE_CHANNELS, 3, 2))


def half_mask() -> torch.Tensor:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., : SIZE // 2] = 1
    return mask


@pytest.mark.parametrize("size", [(24, 24), (17, 40), (4, 4)])
def test_generator_keeps_the_size(size):
    assert Generator(8)(*inputs(size)).shape == (1, 3, *size)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["noise", "base", "layout"])
def test_generator_sees_each_input(which):
    generator = Generator(8)
    changed = list(inputs())
    before = generator(*changed)
    changed[which] = changed[which] + 1
    assert not torch.allclose(generator(*changed), before)


def test_generator_adds_to_its_base():
    generator = Generator(8)
    for parameter in generator.layers[-1].parameters():
        parameter.data.zero_()
    noise, base, layout = inputs()
    assert torch.equal(generator(noise, base, layout), base)


def test_regions_are_whole_foreground_background():
    mask = half_mask()
    whole, foreground, background = regions(mask)[0]
    assert torch.all(whole == 1)
    assert torch.equal(foreground, mask[0, 0])
    assert torch.equal(background, 1 - mask[0, 0])


@pytest.mark.parametrize("which", range(3), ids=CRITICS)
def test_a_critic_sees_its_region_only(which):
    critics, mask = Critics(4), half_mask()
    image = torch.randn(1, 3, SIZE, SIZE)
    before = critics(masked_images(image, mask))[:, which]
    for inside in (True, False):
        region = regions(mask)[:, which : which + 1]
        changed = image + 10 * (region if inside else 1 - region)
        after = critics(masked_images(changed, mask))[:, which]
        assert torch.allclose(after, before) == (not inside or not region.any())
        if CRITICS[which] == "whole":
            break  # nothing lies outside


@pytest.mark.parametrize("which", range(3), ids=CRITICS)
def test_critics_share_no_weights(which):
    masked = torch.randn(1, 9, SIZE, SIZE, requires_grad=True)
    Critics(4)(masked)[:, which].sum().backward()
    reached = masked.grad.abs().sum(dim=(0, 2, 3)).unflatten(0, (3, 3)).sum(dim=1) > 0
    assert reached.tolist() == [critic == which for critic in range(3)]
