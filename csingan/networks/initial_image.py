"""Initial images: rough images for layouts, from which the coarsest scale starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from scipy import ndimage

from csingan.layouts.orientation import is_directed

HALO = 3  # px around a nucleus that belong to it rather than to the background, as edges are blurred
AROUND = 4.0  # px, standard deviation of the blur that gives the colour around a nucleus, beyond its halo
FADE = 1.0  # px, standard deviation of the blur that blends a nucleus and its halo with their surroundings
MARGIN = HALO + 3  # px around a nucleus in its crop
ALIKE = 3  # a new nucleus is drawn from that many real ones of the most similar size and elongation,
STRETCH = 0.5  # unless they need more stretching (log of the factor, sum of both axes), which shows stripes
VIEWS = 5  # of the background in one initial image
SMOOTH = 24.0  # px, standard deviation of the blur of the random fields that mix and bend the views
SHARPNESS = 12.0  # of the transition from one view to another
AVOID = 2.0  # standard deviations of the random field by which a hole counts against a view
WARP = 6.0  # px, standard deviation of the displacement that bends a view
TEXTURE = 4.0  # px, standard deviation of the blur; what it removes from a view is its texture


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
        self._background = _without_nuclei(shown, nuclei)
        self._nuclei = _nuclei(image, labels)

    def __call__(self, layout: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        canvas = _rearrange(self._background, layout.shape, self._directed, rng)
        territories = _territories(layout)
        for label, box in enumerate(ndimage.find_objects(layout), start=1):
            if box is not None:
                window = _widened(box)
                _paint(canvas[window], layout[window] == label, territories[window], self._nuclei, rng)
        return canvas.round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Shape:
    """Centre (x, y) of a nucleus, and its principal axes: columns of unit length times standard deviation."""

    centre: np.ndarray
    axes: np.ndarray

    @property
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
        window = _widened(box)
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


def _widened(box: tuple[slice, ...]) -> tuple[slice, ...]:
    """A box with `MARGIN` around it, as far as the image goes."""
    return tuple(slice(max(side.start - MARGIN, 0), side.stop + MARGIN) for side in box)


def _without_nuclei(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Four layers (H, W, 4) float32: the colours, with nuclei filled in from around, and where (0..1)."""
    side = 2 * HALO + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    holes = cv2.dilate((labels > 0).astype(np.uint8), disc)
    filled = cv2.inpaint(image, holes, side, cv2.INPAINT_NS)
    soft = cv2.GaussianBlur(holes.astype(np.float32), (0, 0), 2 * HALO)
    return np.dstack([filled.astype(np.float32), soft])


def _rearrange(
    background: np.ndarray, shape: tuple[int, int], directed: bool, rng: np.random.Generator
) -> np.ndarray:
    """A new background, (H, W, 3) float32: a mixture of views of the patch's background that avoids holes.

    The mean of several textures has too little contrast. So the colours are the weighted mean of the views,
    and their textures are added with weights that preserve the variance: Heitz and Neyret, "High-Performance
    By-Example Noise using a Histogram-Preserving Blending Operator", HPG 2018.
    """
    views = np.stack([_view(background, shape, directed, rng) for _ in range(VIEWS)])
    layers, holes = views[..., :3], views[..., 3:].clip(0, 1)
    fields = np.stack([_smooth_field(shape, rng) for _ in range(VIEWS)])[..., None]
    # The transition from one view to another takes a few pixels.
    weights = np.exp(SHARPNESS * (fields - AVOID * holes))
    weights /= weights.sum(axis=0)
    colours = np.stack([cv2.GaussianBlur(layer, (0, 0), TEXTURE) for layer in layers])
    of_texture = weights * (1 - holes) + 1e-6  # equal weights where all views have a hole
    of_texture /= np.sqrt(np.square(of_texture).sum(axis=0))
    return (weights * colours).sum(axis=0) + (of_texture * (layers - colours)).sum(axis=0)


def _view(
    background: np.ndarray, shape: tuple[int, int], directed: bool, rng: np.random.Generator
) -> np.ndarray:
    """The layers of a background turned, mirrored and bent, (*shape, 4)."""
    layers = np.rot90(background, int(2 * rng.integers(2) if directed else rng.integers(4)))
    if not directed and rng.random() < 0.5:
        layers = layers[:, ::-1]
    places = [
        _fold(start + WARP * _smooth_field(shape, rng) + along, length)
        for start, along, length in zip(
            _corner(layers.shape, shape, rng), np.indices(shape), layers.shape, strict=False
        )
    ]
    # Linear interpolation would remove the finest texture.
    layers = np.ascontiguousarray(layers)
    return cv2.remap(layers, places[1], places[0], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _corner(have: tuple[int, ...], want: tuple[int, int], rng: np.random.Generator) -> list[np.int64]:
    """Random start along each axis; a background that is too small starts anywhere and is mirrored."""
    return [rng.integers(a - b + 1 if a >= b else a) for a, b in zip(have, want, strict=False)]


def _fold(places: np.ndarray, length: int) -> np.ndarray:
    """Mirror coordinates along an axis of `length` px into its range, float32.

    With cubic interpolation, cv2 itself mirrors only once.
    """
    away = np.mod(places + 0.5, 2 * length)
    return (np.minimum(away, 2 * length - away) - 0.5).astype(np.float32)


def _smooth_field(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A smooth random field (H, W) of mean 0 and standard deviation 1, see `SMOOTH`."""
    field = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), SMOOTH)
    return (field - field.mean()) / field.std()


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
    stretch = np.array([np.abs(nucleus.shape.size - new.size).sum() for nucleus in nuclei])
    nearest = np.argsort(stretch)[:ALIKE]
    alike = nearest[stretch[nearest] <= max(STRETCH, stretch.min())]
    return rng.choice(alike)


KINDS: dict[str, Callable[[np.ndarray, np.ndarray], InitialImage]] = {"flat": FlatColours, "collage": Collage}
