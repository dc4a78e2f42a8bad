"""One transplant: annotated nuclei on the background of a patch that nobody annotated.

A patch rearranged shows a network what it has seen. Here it sees the tissue, the stain and the size of the
nuclei of other patches, with outlines that a person drew.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from csingan.config import LayoutOptions
from csingan.layouts.orientation import nucleus_rotation
from csingan.layouts.sampler import DoesNotFit, LayoutSampler
from csingan.networks.initial_image import Collage

SIZES = (0.6, 1.6)  # range of the change of a donor's diameters, to those of the host
SHARES = (0.5, 1.5)  # range of the change of its share of nuclei
CONTRASTS = (0.7, 1.0)  # of the change of its contrast: more of it would show colours that no nucleus has
PALEST = 3  # percentile of the host's nuclei; transplants are no paler
SPARSER = (1, 0.5, 0.25)  # shares of nuclei to try where they do not fit

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 RGB, labels (H, W) int32


@dataclass(frozen=True)
class Host:
    """A patch that lends its background.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        found: (H, W) int32 labels of all that may be a nucleus; it is taken out.
        sure: (H, W) int32 labels of what surely is one: it tells stain, size and density. Not empty.
    """

    image: np.ndarray
    found: np.ndarray
    sure: np.ndarray

    @cached_property
    def density(self) -> np.ndarray:
        """(N, 3) optical densities of the pixels of its nuclei."""
        return _optical_density(self.image[self.sure > 0])

    @cached_property
    def area(self) -> float:
        """Of a nucleus, px; the median."""
        return _median_area(self.sure)


def transplant(host: Host, donor: Pair, options: LayoutOptions, rng: np.random.Generator) -> Pair:
    """The nuclei of an annotated patch, in the host's stain, size and density, on its background.

    Args:
        host: the patch whose background is shown.
        donor: the annotated patch.
        options: of the layout, as for the donor's own pairs; density and scale are adapted to the host.
        rng: places, shapes and textures.
    """
    image, labels = donor
    layout = _layout(host, donor, options, rng)
    stained = _stained_as(host, image, labels > 0)
    return Collage(stained, labels, background=(host.image, host.found))(layout, rng), layout


def _layout(host: Host, donor: Pair, options: LayoutOptions, rng: np.random.Generator) -> np.ndarray:
    image, labels = donor
    size = np.clip(np.sqrt(host.area / _median_area(labels)), *SIZES)
    share = np.clip((host.sure > 0).mean() / (labels > 0).mean(), *SHARES)
    for sparser in SPARSER:
        adapted = replace(
            options,
            density=_times(options.density, share * sparser),
            scale=_times(options.scale, size),
        )
        try:
            return LayoutSampler(labels, rotate=nucleus_rotation(image), **asdict(adapted))(
                rng, host.image.shape[:2]
            )
        except DoesNotFit as error:
            last = error
    raise last


def _times(ends: tuple[float, float], factor: float) -> tuple[float, float]:
    return float(ends[0] * factor), float(ends[1] * factor)


def _stained_as(host: Host, image: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) whose `nuclei`, an (H, W) mask, have the mean optical density of the host's."""
    density = _optical_density(image)
    own = density[nuclei]
    contrast = np.clip((host.density.std(axis=0) / (own.std(axis=0) + 1e-3)).mean(), *CONTRASTS)
    moved = (density - own.mean(axis=0)) * contrast + host.density.mean(axis=0)
    moved = np.maximum(moved, np.percentile(host.density, PALEST, axis=0))
    return (256 * np.exp(-moved) - 1).round().clip(0, 255).astype(np.uint8)


def _optical_density(image: np.ndarray) -> np.ndarray:
    return -np.log((image.astype(np.float32) + 1) / 256)


def _median_area(labels: np.ndarray) -> float:
    areas = np.bincount(labels.ravel())[1:]
    return float(np.median(areas[areas > 0]))
