"""The networks of one scale: a generator and three critics, small and fully convolutional.

After SinGAN (Shaham et al., ICCV 2019), conditioned on the layout as in Lou et al. (IEEE TMI 2022).

Several patches can train side by side: the networks of `members` patches are then one network of grouped
convolutions. Everywhere in this package a tensor (N, members * C, h, w) holds the C channels of the first
member, then those of the second, and so on; no member sees another one's.
"""

from __future__ import annotations

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
        channels: width of the hidden layers of each member.
        members: patches side by side.
    """

    def __init__(self, channels: int, members: int = 1) -> None:
        super().__init__()
        self.members = members
        widths = [NOISE_CHANNELS + 3 + 2] + [channels] * (LAYERS - 1) + [3]
        self.layers = nn.ModuleList(
            nn.Conv2d(members * a, members * b, 3, groups=members)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        _initialise(self.layers)
        # A new scale starts as the scale below left it.
        nn.init.zeros_(self.layers[-1].weight)

    def forward(self, noise: Tensor, base: Tensor, layout: Tensor) -> Tensor:
        """Make images, about -1..1.

        Args:
            noise: (N, members * NOISE_CHANNELS, h, w).
            base: (N, members * 3, h, w), the images of the scale below, enlarged.
            layout: (N, members * 2, h, w), see `csingan.layouts.sampler.conditions`.

        Returns:
            (N, members * 3, h, w).
        """
        parts = [part.unflatten(1, (self.members, -1)) for part in (noise, base, layout)]
        x = F.pad(torch.cat(parts, dim=2).flatten(1, 2), [LAYERS] * 4, mode="replicate")
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _SLOPE)
        return base + self.layers[-1](x)


class Critics(nn.Module):
    """Three critics in one grouped network: of the whole image, the foreground and the background.

    Args:
        channels: width of the hidden layers of each critic.
        members: patches side by side, three critics each.
    """

    def __init__(self, channels: int, members: int = 1) -> None:
        super().__init__()
        count = members * len(CRITICS)
        widths = [3] + [channels] * (LAYERS - 1) + [1]
        self.layers = nn.ModuleList(
            nn.Conv2d(count * a, count * b, 3, stride=2 if i == 1 else 1, padding=1, groups=count)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        )
        _initialise(self.layers)

    def forward(self, masked: Tensor) -> Tensor:
        """Map masked images (see `masked_images`) to one map a critic.

        (N, members * 9, h, w) -> (N, members * 3, h / 2, w / 2).
        """
        x = masked
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _SLOPE)
        return self.layers[-1](x)


class Networks(nn.Module):
    """What one scale trains: `generator`, `critics`, and `average`, the generator with its weights averaged.

    All convolutions are grouped by member along the first axis of their weights, so the state of several
    members is the concatenation of theirs (see `csingan.training.state`).
    """

    def __init__(self, channels: int, members: int = 1) -> None:
        super().__init__()
        self.channels, self.members = channels, members
        self.generator = Generator(channels, members)
        self.critics = Critics(channels, members)
        self.average = Generator(channels, members).requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        # About twice as fast on a CPU.
        self.to(memory_format=torch.channels_last)


def _initialise(layers: nn.ModuleList) -> None:
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, _SLOPE)
        nn.init.zeros_(layer.bias)


def regions(mask: Tensor) -> Tensor:
    """What each critic looks at: whole, foreground and background of each member.

    (N, members, h, w) masks in 0..1 -> (N, members * 3, h, w).
    """
    return torch.stack([torch.ones_like(mask), mask, 1 - mask], dim=2).flatten(1, 2)


def masked_images(images: Tensor, mask: Tensor) -> Tensor:
    """The images as each critic sees them.

    (N, members * 3, h, w) and (N, members, h, w) -> (N, members * 9, h, w). A plain product, so that every
    critic sends its gradient to the generator.
    """
    members = mask.shape[1]
    region = regions(mask).unflatten(1, (members, len(CRITICS), 1))
    return (region * images.unflatten(1, (members, 1, 3))).flatten(1, 3)
