"""The networks of one scale: a generator and three critics, small and fully convolutional.

After SinGAN (Shaham et al., ICCV 2019), conditioned on the layout as in Lou et al. (IEEE TMI 2022).

Several patches can train in one batch: their networks are then one network of grouped convolutions.
Throughout this package a tensor (N, patches * C, h, w) holds the C channels of the first patch, then those
of the second, and so on. No patch sees the channels of another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csingan.networks.pyramid import NOISE_CHANNELS

LAYERS = 5
CRITICS = ("whole", "foreground", "background")
_SLOPE = 0.2


class Generator(nn.Module):
    """Adds a residual to the upsampled image of the scale below.

    It has no normalisation: the statistics of a crop would differ from those of the whole patch, and
    the colours with them.

    Args:
        channels: width of the hidden layers of each patch.
        patches: how many train in one batch.
    """

    def __init__(self, channels: int, patches: int = 1) -> None:
        super().__init__()
        self.patches = patches
        widths = [NOISE_CHANNELS + 3 + 2] + [channels] * (LAYERS - 1) + [3]
        layers = [
            nn.Conv2d(patches * a, patches * b, 3, groups=patches)
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        _initialise(layers)
        # A new scale starts as the scale below left it.
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.ModuleList(layers)

    def forward(self, noise: Tensor, base: Tensor, layout: Tensor) -> Tensor:
        """Make images, in about -1..1.

        Args:
            noise: (N, patches * NOISE_CHANNELS, h, w).
            base: (N, patches * 3, h, w), the images of the scale below, enlarged.
            layout: (N, patches * 2, h, w), see `csingan.layouts.sampler.conditions`.

        Returns:
            (N, patches * 3, h, w).
        """
        parts = [part.unflatten(1, (self.patches, -1)) for part in (noise, base, layout)]
        x = F.pad(torch.cat(parts, dim=2).flatten(1, 2), [LAYERS] * 4, mode="replicate")
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _SLOPE, inplace=True)
        return base + self.layers[-1](x)


class Critics(nn.Module):
    """Three critics in one grouped network: of the whole image, the foreground and the background.

    Args:
        channels: width of the hidden layers of each critic.
        patches: how many train in one batch, with three critics each.
    """

    def __init__(self, channels: int, patches: int = 1) -> None:
        super().__init__()
        count = patches * len(CRITICS)
        widths = [3] + [channels] * (LAYERS - 1) + [1]
        layers = [
            nn.Conv2d(count * a, count * b, 3, stride=2 if i == 1 else 1, padding=1, groups=count)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        ]
        _initialise(layers)
        self.layers = nn.ModuleList(layers)

    def forward(self, masked: Tensor) -> Tensor:
        """Map masked images (see `masked_images`) to one map for each critic.

        (N, patches * 9, h, w) -> (N, patches * 3, h / 2, w / 2).
        """
        x = masked
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _SLOPE)
        return self.layers[-1](x)


class Networks(nn.Module):
    """The networks of one scale: `generator`, `critics`, and `average`, the generator with averaged weights.

    All convolutions are grouped by patch along the first axis of their weights, so the weights of several
    patches are those of each one, concatenated (see `csingan.training.state`).
    """

    def __init__(self, channels: int, patches: int = 1) -> None:
        super().__init__()
        self.channels, self.patches = channels, patches
        self.generator = Generator(channels, patches)
        self.critics = Critics(channels, patches)
        self.average = Generator(channels, patches).requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        # About twice as fast on a CPU.
        self.to(memory_format=torch.channels_last)


def _initialise(layers: Sequence[nn.Conv2d]) -> None:
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, _SLOPE)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # every layer here has one


def regions(mask: Tensor) -> Tensor:
    """The region that each critic scores: whole, foreground and background of each patch.

    (N, patches, h, w) masks in 0..1 -> (N, patches * 3, h, w).
    """
    return torch.stack([torch.ones_like(mask), mask, 1 - mask], dim=2).flatten(1, 2)


def masked_images(images: Tensor, mask: Tensor) -> Tensor:
    """The images as each critic sees them.

    (N, patches * 3, h, w) and (N, patches, h, w) -> (N, patches * 9, h, w). A plain product, so that every
    critic sends its gradient to the generator.
    """
    patches = mask.shape[1]
    region = regions(mask).unflatten(1, (patches, len(CRITICS), 1))
    return (region * images.unflatten(1, (patches, 1, 3))).flatten(1, 3)
