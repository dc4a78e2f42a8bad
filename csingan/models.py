"""The networks of one scale: a generator and three critics, small and fully convolutional.

After SinGAN (Shaham et al., ICCV 2019), conditioned on the layout as in Lou et al. (IEEE TMI 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csingan.pyramid import NOISE_CHANNELS

LAYERS = 5
CRITICS = ("whole", "foreground", "background")
_SLOPE = 0.2


class Generator(nn.Module):
    """Adds a residual to the upsampled image of the scale below.

    It has no normalisation: the statistics of a crop would differ from those of the whole patch, and
    the colours with them.

    Args:
        channels: width of the hidden layers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [NOISE_CHANNELS + 3 + 2] + [channels] * (LAYERS - 1) + [3]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in zip(widths, widths[1:], strict=False))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, _SLOPE)
            nn.init.zeros_(layer.bias)
        # A new scale starts as the scale below left it.
        self.layers[-1].weight.data.mul_(0.1)

    def forward(self, noise: Tensor, base: Tensor, layout: Tensor) -> Tensor:
        """Map (N, NOISE_CHANNELS, h, w), (N, 3, h, w), (N, 2, h, w) to images (N, 3, h, w), about -1..1."""
        x = F.pad(torch.cat([noise, base, layout], dim=1), [LAYERS] * 4, mode="replicate")
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _SLOPE)
        return base + self.layers[-1](x)


class Critics(nn.Module):
    """Three critics in one grouped network: of the whole image, the foreground and the background.

    Args:
        channels: width of the hidden layers of each critic.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels
        count = len(CRITICS)
        widths = [3] + [channels] * (LAYERS - 1) + [1]
        self.layers = nn.ModuleList(
            nn.Conv2d(count * a, count * b, 3, stride=2 if i == 1 else 1, padding=1, groups=count)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        )
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, _SLOPE)
            nn.init.zeros_(layer.bias)

    def forward(self, masked: Tensor) -> Tensor:
        """Map masked images (N, 9, h, w) (see `masked_images`) to one map a critic, (N, 3, h / 2, w / 2)."""
        x = masked
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), _SLOPE)
        return self.layers[-1](x)


def regions(mask: Tensor) -> Tensor:
    """What each critic looks at: (N, 1, h, w) mask in 0..1 -> (N, 3, h, w) whole, foreground, background."""
    return torch.cat([torch.ones_like(mask), mask, 1 - mask], dim=1)


def masked_images(images: Tensor, mask: Tensor) -> Tensor:
    """The image as each critic sees it: (N, 3, h, w) and (N, 1, h, w) -> (N, 9, h, w).

    A plain product, so that every critic sends its gradient to the generator.
    """
    return (regions(mask)[:, :, None] * images[:, None]).flatten(1, 2)
