"""The losses of one scale: WGAN-GP of three critics, each of which scores its own region, and texture.

Tensors hold the channels of several patches (see `csingan.networks.models`); each patch has its own losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csingan.networks.models import CRITICS, masked_images, regions
from csingan.networks.pyramid import resize

WINDOW = 7  # px, the side of the neighbourhoods whose distributions `texture_distance` compares
LINES = (16, 3 + 2, WINDOW, WINDOW)  # random directions onto which it projects them, new ones at each step


def scores(critics: nn.Module, masked: Tensor, mask: Tensor) -> Tensor:
    """Score of each critic: its map averaged over its region.

    Args:
        critics: maps (N, patches * 9, h, w) to (N, patches * 3, h', w').
        masked: (N, patches * 9, h, w) from `masked_images`.
        mask: (N, patches, h, w) in 0..1; it is resized to the maps.

    Returns:
        (N, patches * 3): whole, foreground, background. A region that is empty scores 0.
    """
    maps = critics(masked)
    weights = regions(resize(mask, maps.shape[-2:]))
    return (maps * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp(min=1)


def gradient_penalty(
    critics: nn.Module, real: Tensor, real_mask: Tensor, fake: Tensor, fake_mask: Tensor, share: Tensor
) -> Tensor:
    """Mean of (|gradient| - 1)^2 for each critic, over the pixels of its region (Gulrajani et al., 2017).

    The critics are convolutional, so the norm is taken at each pixel as SinGAN does: a pixel moves the
    score by about 1 / (pixels of the region) per unit of colour, whatever the size of the image.

    Args:
        critics: as in `scores`.
        real, fake: (N, patches * 3, h, w) images; the penalty is taken between them.
        real_mask, fake_mask: (N, patches, h, w) their masks, in 0..1.
        share: (N, patches, 1, 1) in 0..1, where between them: 0 is real.

    Returns:
        (patches * 3,): one penalty for each critic.
    """
    # The share of a patch is the same for all of its channels.
    of_channel = share.repeat_interleave(real.shape[1] // share.shape[1] * len(CRITICS), dim=1)
    between = torch.lerp(masked_images(real, real_mask), masked_images(fake, fake_mask), of_channel)
    mask = torch.lerp(real_mask, fake_mask, share)
    between.requires_grad_()
    region = regions(mask)
    pixels = region.sum(dim=(2, 3)).clamp(min=1)
    total = (scores(critics, between, mask) * pixels).sum()
    (gradient,) = torch.autograd.grad(total, between, create_graph=True)
    # The small term keeps the derivative of the norm finite where the gradient is zero.
    norm = gradient.unflatten(1, (-1, 3)).square().sum(dim=2).add(1e-12).sqrt()
    return ((norm - 1).square() * region).sum(dim=(0, 2, 3)) / pixels.sum(dim=0)


def texture_distance(
    generated: Tensor, layout: Tensor, real: Tensor, real_layout: Tensor, lines: Tensor
) -> Tensor:
    """Sliced Wasserstein distance between the small neighbourhoods of generated and of real images.

    The layout is part of a neighbourhood, so that nuclei are compared with nuclei and borders with
    borders. The critics have to learn what texture is missing; this loss measures it from the first step.
    Source: Elnekave and Weiss, "Generating natural images with direct patch distributions matching",
    ECCV 2022.

    Args:
        generated, real: (N, patches * 3, h, w) images.
        layout, real_layout: (N, patches * 2, h, w) their conditions.
        lines: (patches * L, 5, WINDOW, WINDOW), L random directions for each patch (see `LINES`).

    Returns:
        (patches,): the mean over the lines of the 1-Wasserstein distance between the projections.
    """
    patches = generated.shape[1] // 3
    lines = lines / lines.flatten(1).norm(dim=1)[:, None, None, None]
    projections = []
    for images, conditions in ((generated, layout), (real, real_layout)):
        parts = [part.unflatten(1, (patches, -1)) for part in (images, conditions)]
        values = F.conv2d(torch.cat(parts, dim=2).flatten(1, 2), lines, groups=patches)
        projections.append(values.transpose(0, 1).flatten(1).sort(dim=1).values)
    return (projections[0] - projections[1]).abs().mean(dim=1).unflatten(0, (patches, -1)).mean(dim=1)
