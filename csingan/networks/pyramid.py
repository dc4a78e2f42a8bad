"""The pyramid of scales: sizes, resizing, and the generators chained from coarse to fine."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from csingan.networks.initial_image import InitialImage

NOISE_CHANNELS = 1  # one channel varies light and dark; three also speckle the colours


def scale_ratios(min_size: int, max_size: int, scale_factor: float) -> list[float]:
    """Size of each scale as a share of the full size, coarse to fine; the last is 1.

    The number of scales is the one whose even steps come closest to `scale_factor`, as in SinGAN
    (Shaham et al., ICCV 2019).

    Args:
        min_size: side of the coarsest scale, in px, for an image whose side is `max_size`.
        max_size: side of the full image, in px.
        scale_factor: wanted ratio of one scale to the next finer one, between 0 and 1.
    """
    steps = round(math.log(min_size / max_size) / math.log(scale_factor))
    if steps == 0:
        return [1.0]
    return [(min_size / max_size) ** (1 - k / steps) for k in range(steps + 1)]


def scale_size(shape: tuple[int, int], ratio: float) -> tuple[int, int]:
    """(h, w) of an image of `shape` (H, W) at a scale, in px, rounded up."""
    # The small term keeps 128 * 2**(4 / 4) from becoming 257.
    height, width = (max(math.ceil(side * ratio - 1e-6), 1) for side in shape)
    return height, width


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, H, W) to (h, w) `size`, smoothing before it shrinks."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def start_from(below: Tensor | None, initial: Tensor, size: tuple[int, int], detail: bool) -> Tensor:
    """The images to which the generator of a scale adds its residual.

    Args:
        below: (N, 3, h', w') images of the scale below, None at the coarsest scale.
        initial: (N, 3, H, W) initial images at full size.
        size: (h, w) of the scale.
        detail: whether to add the detail that the initial images gain from the scale below to this one, as in
            a Laplacian pyramid (Burt and Adelson, IEEE Trans. Commun. 1983).

    Returns:
        (N, 3, h, w).
    """
    if below is None:
        return resize(initial, size)
    enlarged = resize(below, size)
    if detail:
        coarse = resize(initial, (below.shape[-2], below.shape[-1]))
        enlarged = enlarged + resize(initial, size) - resize(coarse, size)
    return enlarged


class Pyramid(nn.Module):
    """The trained generators, coarse to fine.

    Args:
        ratios: the size of each scale as a share of the full size.
        initial_image: makes the images from which the coarsest scale starts.
        detail: whether the finer scales get the detail of the initial images (see `start_from`).

    Attributes:
        generators: one module for each scale trained so far: `generator(noise, base, layout) -> image`.
        losses: one (steps, 2) tensor for each of them (see `csingan.training.scale.ScaleTrainer.advance`).
    """

    def __init__(self, ratios: list[float], initial_image: InitialImage, detail: bool = False) -> None:
        super().__init__()
        self.ratios, self.initial_image, self.detail = ratios, initial_image, detail
        self.generators = nn.ModuleList()
        self.losses: list[Tensor] = []

    def add(self, generator: nn.Module, losses: Tensor) -> None:
        """Add the next scale, trained, and freeze it."""
        self.generators.append(generator.requires_grad_(False))
        self.losses.append(losses)

    def sizes(self, shape: tuple[int, int]) -> list[tuple[int, int]]:
        """(h, w) of every scale for images of `shape` (H, W)."""
        return [scale_size(shape, ratio) for ratio in self.ratios]

    def forward(self, layouts: Tensor, initial: Tensor, noises: list[Tensor]) -> list[Tensor]:
        """Run every scale trained so far.

        Args:
            layouts: (N, 2, H, W) conditions at full size (see `csingan.layouts.sampler.conditions`).
            initial: (N, 3, H, W) initial images for them, in -1..1.
            noises: one (N, NOISE_CHANNELS, h, w) tensor a scale.

        Returns:
            the images of each scale, (N, 3, h, w), about -1..1.
        """
        images: list[Tensor] = []
        for generator, noise in zip(self.generators, noises, strict=True):
            size = (noise.shape[-2], noise.shape[-1])
            start = start_from(images[-1] if images else None, initial, size, self.detail)
            images.append(generator(noise, start, resize(layouts, size)))
        return images
