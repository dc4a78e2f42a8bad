"""Initial images: rough images for layouts, from which the coarsest scale starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from scipy import ndimage

from csingan.layouts.orientation import is_directed
from csingan.networks.background import HALO, rearrange, widened, without_nuclei

AROUND = 4.0  # px, standard deviation of the blur that gives the colour around a nucleus, beyond its halo
FADE = 1.0  # px, standard deviation of the blur that blends a nucleus and its halo with their surroundings
MARGIN = HALO + 3  # px around a nucleus in its crop
ALIKE = 3  # a new nucleus is drawn from that many real ones of the most similar size and elongation,
STRETCH = 0.5  # unless they need more stretching (log of the factor, sum of both axes), which shows stripes


class InitialImage(Protocol):
    """Makes initial images for layouts.

    Attributes:
        patch: (H, W, 3) uint8, the initial image that the patch itself is rebuilt from.
    """

    patch: np.ndarray

    def __call__(self, layout: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An initial image (H, W, 3) uint8 for a layout, (H, W) int32."""


def make(kind: str, image: np.ndarray, labels: np.ndarray) -> InitialImage:
    """What makes the initial images of an annotated patch; `kind` is a name in `KINDS`."""
    return KINDS[kind](image, labels)


class FlatColours:
    """Nuclei and background in their median colours, which shows the layout and nothing else.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image.
    """

    def __init__(self, image: np.ndarray, labels: np.ndarray):
        parts = (image[labels == 0], image[labels > 0])
        colours = [np.median(part if len(part) else image.reshape(-1, 3), axis=0) for part in parts]
        self._colours = np.array(colours).astype(np.uint8)
        self.patch = self._paint(labels)

    def _paint(self, layout: np.ndarray) -> np.ndarray:
        return self._colours[(layout > 0).astype(int)]

    def __call__(self, layout: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self._paint(layout)


class Collage:
    """The patch rearranged: views of its background, with its nuclei fitted into the new outlines.

    After "Simple Copy-Paste" (Ghiasi et al., CVPR 2021). The GAN then blends the parts, as SinGAN harmonises
    a pasted object (Shaham et al., ICCV 2019, section 4).

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image.
        background: image and labels of another patch whose background is shown; None: of this one.
    """

    def __init__(
        self, image: np.ndarray, labels: np.ndarray, background: tuple[np.ndarray, np.ndarray] | None = None
    ):
        shown, nuclei = background or (image, labels)
        self.patch = image
        self._directed = is_directed(shown)
        self._background = without_nuclei(shown, nuclei)
        self._nuclei = _nuclei(image, labels)

    def __call__(self, layout: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        canvas = rearrange(self._background, layout.shape, self._directed, rng)
        territories = _territories(layout)
        for label, box in enumerate(ndimage.find_objects(layout), start=1):
            if box is not None:
                window = widened(box, MARGIN)
                _paint(canvas[window], layout[window] == label, territories[window], self._nuclei, rng)
        return canvas.round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Shape:
    """Centre (x, y) of a nucleus, and its principal axes: columns of unit length times standard deviation."""

    centre: np.ndarray
    axes: np.ndarray

    @cached_property
    def size(self) -> np.ndarray:
        """Logarithms of both standard deviations, in px."""
        return np.log(np.linalg.norm(self.axes, axis=0))


@dataclass(frozen=True)
class _Nucleus:
    """A nucleus of the patch with its surroundings; in place of other nuclei, they are continued."""

    crop: np.ndarray  # (h, w, 3) float32
    shape: _Shape  # in pixels of the crop


def _shape(mask: np.ndarray) -> _Shape:
    points = np.argwhere(mask)[:, ::-1].astype(np.float64)
    # A pixel is a square of variance 1/12, so that a nucleus of one pixel has a shape too.
    covariance = np.cov(points.T, bias=True) + np.eye(2) / 12
    variances, directions = np.linalg.eigh(covariance)
    return _Shape(points.mean(axis=0), directions * np.sqrt(variances))


def _territories(labels: np.ndarray) -> np.ndarray:
    """(H, W) the labels extended by their halos: within `HALO` px, the label of the nearest nucleus."""
    if not labels.any():
        return labels
    distances, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    return np.where(distances <= HALO, labels[rows, columns], 0)


def _nuclei(image: np.ndarray, labels: np.ndarray) -> list[_Nucleus]:
    image = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")
    labels = np.pad(labels, MARGIN)
    territories = _territories(labels)
    nuclei = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        window = widened(box, MARGIN)
        mask, others = labels[window] == label, ~np.isin(territories[window], (0, label))
        nuclei.append(_Nucleus(_continued(image[window], mask, others).astype(np.float32), _shape(mask)))
    return nuclei


def _continued(image: np.ndarray, mask: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The image (h, w, 3) of a nucleus; others become pixels at the same distance from its outline."""
    far = np.ceil(ndimage.distance_transform_edt(~mask))
    continued = image.copy()
    # First from any distance, where no pixel has the same one.
    for alike in (far >= 0, *(far == distance for distance in range(1, MARGIN + 1))):
        usable, wanted = alike & ~others, alike & others
        if usable.any() and wanted.any():
            places = ndimage.distance_transform_edt(~usable, return_distances=False, return_indices=True)
            rows, columns = places[:, wanted]
            continued[wanted] = image[rows, columns]
    return continued


def _paint(
    canvas: np.ndarray,
    mask: np.ndarray,
    territories: np.ndarray,
    nuclei: list[_Nucleus],
    rng: np.random.Generator,
) -> None:
    """Paint a real nucleus of similar shape into a mask (h, w) of `canvas`, with its halo.

    `territories` (h, w) holds its own, and those of its neighbours, under their labels.
    """
    new = _shape(mask)
    nucleus = nuclei[_draw_alike(new, nuclei, rng)]
    old = nucleus.shape
    # Maps the principal axes of the new nucleus to those of the old one, each in a random direction.
    turn = old.axes @ np.diag(rng.choice([-1.0, 1.0], 2)) @ np.linalg.inv(new.axes)
    shift = old.centre - turn @ new.centre
    fitted = cv2.warpAffine(
        nucleus.crop,
        np.column_stack([turn, shift]),
        mask.shape[::-1],
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    own = territories == territories[mask][0]
    fitted = _with_halo_of(canvas, fitted, mask, (territories > 0) & ~own)
    share = cv2.GaussianBlur(own.astype(np.float32), (0, 0), FADE)[..., None]
    canvas += share * (fitted - canvas)


def _with_halo_of(canvas: np.ndarray, fitted: np.ndarray, mask: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A nucleus (h, w, 3) whose halo differs from what is around it on `canvas` as it did where it came from.

    Otherwise a nucleus out of bright cytoplasm would bring a white ring into dark one. `others` (h, w) are
    the territories of neighbours, which say nothing about the colour around.
    """
    far = ndimage.distance_transform_edt(~mask)
    around = ((far > HALO) & (far <= MARGIN) & ~others)[..., None]
    if not around.any():
        return fitted
    new, old = (cv2.GaussianBlur(image * around, (0, 0), AROUND) for image in (canvas, fitted.clip(0, 255)))
    outside = cv2.GaussianBlur((~mask).astype(np.float32), (0, 0), FADE)[..., None]
    return fitted * (1 + outside * ((new + 1) / (old + 1) - 1))


def _draw_alike(new: _Shape, nuclei: list[_Nucleus], rng: np.random.Generator) -> int:
    """The index of a nucleus of similar size and elongation; of the most similar one where there is none."""
    sizes = np.array([nucleus.shape.size for nucleus in nuclei])
    stretch = np.abs(sizes - new.size).sum(axis=1)
    nearest = np.argsort(stretch)[:ALIKE]
    alike = nearest[stretch[nearest] <= max(STRETCH, stretch.min())]
    return rng.choice(alike)


KINDS: dict[str, Callable[[np.ndarray, np.ndarray], InitialImage]] = {"flat": FlatColours, "collage": Collage}
