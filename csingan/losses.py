"""The losses of one scale: WGAN-GP of three critics, each of which judges its own region, and texture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csingan.models import CRITICS, masked_images, regions
from csingan.pyramid import resize

WINDOW = 7  # px, the side of the neighbourhoods whose distributions `texture_distance` compares
PROJECTIONS = 16  # of them onto random lines, new ones at each call


def scores(critics: nn.Module, masked: Tensor, mask: Tensor) -> Tensor:
    """Score of each critic: its map averaged over its region.

    Args:
        critics: maps (N, 9, h, w) to (N, 3, h', w').
        masked: (N, 9, h, w) from `masked_images`.
        mask: (N, 1, h, w) in 0..1; it is resized to the maps.

    Returns:
        (N, 3): whole, foreground, background. A region that is empty scores 0.
    """
    maps = critics(masked)
    weights = regions(resize(mask, maps.shape[-2:]))
    return (maps * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp(min=1)


def gradient_penalty(
    critics: nn.Module,
    real: Tensor,
    real_mask: Tensor,
    fake: Tensor,
    fake_mask: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Mean of (|gradient| - 1)^2 for each critic, over the pixels of its region (Gulrajani et al., 2017).

    The critics are convolutional, so the norm is taken at each pixel as SinGAN does: a pixel moves the
    score by about 1 / (pixels of the region) per unit of colour, whatever the size of the image.

    Args:
        critics: as in `scores`.
        real, fake: (N, 3, h, w) images; the penalty is taken between them.
        real_mask, fake_mask: (N, 1, h, w) their masks, in 0..1.
        rng: draws the point between them.

    Returns:
        (3,): one penalty a critic.
    """
    share = torch.rand(len(real), 1, 1, 1, generator=rng, device=real.device)
    between = torch.lerp(masked_images(real, real_mask), masked_images(fake, fake_mask), share)
    mask = torch.lerp(real_mask, fake_mask, share)
    between.requires_grad_()
    region = regions(mask)
    pixels = region.sum(dim=(2, 3)).clamp(min=1)
    total = (scores(critics, between, mask) * pixels).sum()
    (gradient,) = torch.autograd.grad(total, between, create_graph=True)
    # The small term keeps the derivative of the norm finite where the gradient is zero.
    norm = gradient.unflatten(1, (len(CRITICS), -1)).square().sum(dim=2).add(1e-12).sqrt()
    return ((norm - 1).square() * region).sum(dim=(0, 2, 3)) / pixels.sum(dim=0)


def texture_distance(
    generated: Tensor, layout: Tensor, real: Tensor, real_layout: Tensor, rng: torch.Generator
) -> Tensor:
    """Sliced Wasserstein distance between the small neighbourhoods of generated and of real images.

    The layout is part of a neighbourhood, so that nuclei are compared with nuclei and borders with
    borders. Critics learn to see a missing texture; this sees it from the first step on.
    Source: Elnekave and Weiss, "Generating natural images with direct patch distributions matching",
    ECCV 2022.

    Args:
        generated, real: (N, 3, h, w) images.
        layout, real_layout: (N, 2, h, w) their conditions.
        rng: draws the lines.

    Returns:
        The mean over the lines of the 1-Wasserstein distance between the projections.
    """
    channels = generated.shape[1] + layout.shape[1]
    lines = torch.randn(PROJECTIONS, channels, WINDOW, WINDOW, generator=rng, device=rng.device)
    lines = lines / lines.flatten(1).norm(dim=1)[:, None, None, None]
    projections = [
        F.conv2d(torch.cat(pair, dim=1), lines).transpose(0, 1).flatten(1).sort(dim=1).values
        for pair in ((generated, layout), (real, real_layout))
    ]
    return (projections[0] - projections[1]).abs().mean()
