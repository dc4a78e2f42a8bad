from __future__ import annotations

import pytest
import torch
from torch import nn

from csingan.networks.losses import LINES, gradient_penalty, scores, texture_distance
from csingan.networks.models import Critics, Generator, masked_images
from csingan.networks.pyramid import NOISE_CHANNELS

SIZE = 16


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def half_mask(count: int = 1) -> torch.Tensor:
    mask = torch.zeros(count, 1, SIZE, SIZE)
    mask[..., : SIZE // 2] = 1
    return mask


class Linear(nn.Module):
    """Critic k multiplies the sum of the three colours by weights[k], pixel by pixel."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, masked):
        return masked.unflatten(1, (3, 3)).sum(dim=2) * self.weights[:, None, None]


def generator_gradient(which: int) -> float:
    """Size of the gradient that one critic alone sends to the generator."""
    generator, critics, mask = Generator(8), Critics(4), half_mask()
    nn.init.normal_(generator.layers[-1].weight)  # without it the others get no gradient at first
    noise, base = torch.randn(1, NOISE_CHANNELS, SIZE, SIZE), torch.randn(1, 3, SIZE, SIZE)
    image = generator(noise, base, torch.cat([mask, mask], dim=1))
    scores(critics, masked_images(image, mask), mask)[:, which].sum().backward()
    return min(float(parameter.grad.abs().sum()) for parameter in generator.parameters())


def test_the_whole_image_critic_moves_the_generator():
    assert generator_gradient(0) > 0


def test_the_foreground_critic_moves_the_generator():
    assert generator_gradient(1) > 0


def test_the_background_critic_moves_the_generator():
    assert generator_gradient(2) > 0


def test_scores_average_over_the_region():
    # Colours sum to 3 on the left (foreground) and to 6 on the right.
    mask = half_mask()
    image = torch.where(mask > 0, 1.0, 2.0).expand(1, 3, SIZE, SIZE)
    result = scores(Linear(1.0, 1.0, 1.0), masked_images(image, mask), mask)
    assert result.tolist() == [[4.5, 3.0, 6.0]]


def test_an_empty_region_scores_zero():
    mask = torch.zeros(1, 1, SIZE, SIZE)
    image = torch.ones(1, 3, SIZE, SIZE)
    assert scores(Linear(1.0, 1.0, 1.0), masked_images(image, mask), mask)[0, 1] == 0


def test_gradient_penalty_of_a_linear_critic():
    # The gradient at a pixel is weight * (1, 1, 1), of norm weight * sqrt(3).
    real, fake = torch.randn(2, 3, SIZE, SIZE), torch.randn(2, 3, SIZE, SIZE)
    share = torch.tensor([0.2, 0.9]).view(2, 1, 1, 1)
    penalty = gradient_penalty(Linear(1.0, 2.0, 3**-0.5), real, half_mask(2), fake, half_mask(2), share)
    expected = torch.tensor([(3**0.5 - 1) ** 2, (2 * 3**0.5 - 1) ** 2, 0.0])
    assert torch.allclose(penalty, expected, atol=1e-4)


def test_gradient_penalty_trains_every_critic():
    critics, share = Critics(4), torch.full((1, 1, 1, 1), 0.5)
    real, fake = torch.randn(1, 3, SIZE, SIZE), torch.randn(1, 3, SIZE, SIZE)
    gradient_penalty(critics, real, half_mask(), fake, half_mask(), share).sum().backward()
    first = critics.layers[0].weight.grad.unflatten(0, (3, -1)).abs().sum(dim=(1, 2, 3, 4))
    assert torch.all(first > 0)


def test_gradient_penalty_survives_a_dead_critic():
    image, share = torch.zeros(1, 3, SIZE, SIZE, requires_grad=True), torch.full((1, 1, 1, 1), 0.5)
    penalty = gradient_penalty(Linear(0.0, 0.0, 0.0), image, half_mask(), image, half_mask(), share)
    assert torch.allclose(penalty, torch.ones(3), atol=1e-4)


def pairs(shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images, made brighter by `shift`, and their conditions."""
    rng = torch.Generator().manual_seed(1)
    mask = half_mask(2)
    mask[1] = 1
    return torch.randn(2, 3, SIZE, SIZE, generator=rng) + shift, mask.repeat(1, 2, 1, 1)


def lines(patches: int = 1) -> torch.Tensor:
    shape = (patches * LINES[0], *LINES[1:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def distance(first, second) -> float:
    return float(texture_distance(*first, *second, lines()))


def test_the_order_of_the_images_makes_no_difference_to_their_texture():
    image, layout = pairs()
    assert distance((image, layout), (image.flip(0), layout.flip(0))) == 0


def test_the_distance_of_two_textures_grows_with_a_shift_of_their_colours():
    assert distance(pairs(0.2), pairs()) == pytest.approx(2 * distance(pairs(0.1), pairs()), rel=1e-3)


def test_a_texture_belongs_to_its_place_in_the_layout():
    image, layout = pairs()
    assert distance((image, layout), (image, layout.flip(0))) > 0.01


def test_the_texture_moves_the_generated_image():
    (image, layout), real = pairs(0.1), pairs()
    image.requires_grad_()
    texture_distance(image, layout, *real, lines()).backward()
    assert image.grad.abs().sum() > 0


def test_patches_side_by_side_have_their_own_losses():
    (first, layout), (second, other) = pairs(0.1), pairs(0.4)
    together = texture_distance(
        torch.cat([first, second], 1),
        torch.cat([layout, other], 1),
        torch.cat([second, first], 1),
        torch.cat([layout, other], 1),
        lines(2),
    )
    alone = [
        texture_distance(first, layout, second, layout, lines(2)[: LINES[0]]),
        texture_distance(second, other, first, other, lines(2)[LINES[0] :]),
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_patches_side_by_side_have_their_own_penalties():
    real, fake = torch.randn(1, 6, SIZE, SIZE), torch.randn(1, 6, SIZE, SIZE)
    mask, share = half_mask().expand(1, 2, SIZE, SIZE), torch.full((1, 2, 1, 1), 0.5)

    class Two(nn.Module):
        def forward(self, masked):
            return torch.cat([Linear(1.0, 1.0, 1.0)(masked[:, :9]), Linear(2.0, 2.0, 2.0)(masked[:, 9:])], 1)

    penalty = gradient_penalty(Two(), real, mask, fake, mask, share)
    expected = torch.tensor([(3**0.5 - 1) ** 2] * 3 + [(2 * 3**0.5 - 1) ** 2] * 3)
    assert torch.allclose(penalty, expected, atol=1e-4)
