from __future__ import annotations

import pytest
import torch
from torch import nn

from csingan.networks.models import CRITICS, Critics, Generator, Networks, masked_images, regions
from csingan.networks.pyramid import NOISE_CHANNELS

SIZE = 24


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def trained(generator: Generator) -> Generator:
    """With a last layer that adds something, as after a training."""
    nn.init.normal_(generator.layers[-1].weight)
    return generator


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
    generator = trained(Generator(8))
    changed = list(inputs())
    before = generator(*changed)
    changed[which] = changed[which] + 1
    assert not torch.allclose(generator(*changed), before)


def test_generator_starts_from_its_base_and_adds_to_it():
    noise, base, layout = inputs()
    assert torch.equal(Generator(8)(noise, base, layout), base)
    assert not torch.equal(trained(Generator(8))(noise, base, layout), base)


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


def test_patches_side_by_side_do_not_see_each_other():
    together, parts = trained(Generator(4, patches=2)), inputs()
    before = together(*(torch.cat([part, part], 1) for part in parts))
    after = together(*(torch.cat([part, part + 1], 1) for part in parts))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_networks_of_two_are_those_of_each():
    alone, together = [Networks(4), Networks(4)], Networks(4, patches=2)
    for network in alone:
        trained(network.generator)
    states = [network.state_dict() for network in alone]
    together.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})
    parts = [inputs(), inputs()]
    images = together.generator(*(torch.cat(pair, 1) for pair in zip(*parts, strict=True)))
    expected = [network.generator(*part) for network, part in zip(alone, parts, strict=True)]
    assert torch.allclose(images, torch.cat(expected, 1), atol=1e-5)
    mask = torch.cat([half_mask(), 1 - half_mask()], 1)
    maps = together.critics(masked_images(images, mask))
    expected = [
        network.critics(masked_images(images[:, 3 * i : 3 * i + 3], mask[:, i : i + 1]))
        for i, network in enumerate(alone)
    ]
    assert torch.allclose(maps, torch.cat(expected, 1), atol=1e-5)


def test_the_average_starts_as_the_generator():
    networks = Networks(4)
    pairs = zip(networks.generator.parameters(), networks.average.parameters(), strict=True)
    assert all(torch.equal(a, b) and not b.requires_grad for a, b in pairs)
