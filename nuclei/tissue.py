"""Generated H&E tissue with the exact outline of every nucleus, for the demo and the tests.

An image is built as a slide is: an architecture (parenchyma, stroma, gaps), nuclei of several populations
placed in it, the amount of haematoxylin and eosin in each pixel, their absorption of light (Beer-Lambert),
then optics, sensor and JPEG. Scale: 40x, 0.25 um a pixel. Nothing is taken from a real image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from skimage.measure import label as connected
from skimage.segmentation import relabel_sequential

# Absorption of red, green and blue by haematoxylin and eosin, as two laboratories measured it.
_RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])  # Ruifrok & Johnston 2001
_MACENKO = np.array([[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]])  # the reference of Macenko et al. 2009
_SMALLEST = 30  # px; a sliver below it is not a nucleus that anybody would annotate


@dataclass(frozen=True)
class Nuclei:
    """A population of nuclei; lengths in pixels."""

    habitat: str  # parenchyma or stroma
    cover: float  # their area over that of the habitat, as far as there is room
    diameter: float  # of the disc of the same area, the median
    spread: float = 0.12  # standard deviation of the logarithm of the diameter
    elongation: float = 1.25  # long over short axis, the median
    disorder: float = 0.5  # radians, about the local direction
    wobble: float = 0.10  # departure of the outline from an ellipse
    spacing: float = 1.0  # the outline times this must be free: below 1 nuclei touch, above they keep apart
    clustering: float = 0.5  # 0 even, 2 in dense patches
    density: float = 1.3  # haematoxylin of the chromatin
    vesicular: float = 0.3  # 0 solid chromatin, 1 a cleared centre within a dark membrane
    nucleoli: float = 0.3  # expected number


@dataclass(frozen=True)
class Kind:
    """A tissue: its architecture, its cytoplasm and its populations, the first of which names the tissue."""

    nuclei: tuple[Nuclei, ...]
    coverage: tuple[float, float]  # fraction of parenchyma, lowest and highest
    region: float  # px, the scale of nests, glands and plates
    plates: bool = False  # parenchyma in sheets cut by narrow ribbons of stroma, instead of islands
    wall: float = np.inf  # px, thickness of a gland's epithelium; deeper is lumen
    eosin: float = 0.6  # of the cytoplasm
    basophilia: float = 0.15  # haematoxylin of the cytoplasm
    clear: float = 0.0  # fraction of the cytoplasm dissolved in processing: 0 none, 1 empty cells
    membrane: float = 0.0  # of the cell borders: above 0 a pink line, below 0 a cleft
    collagen: float = 0.7  # eosin of the stroma
    looseness: float = 0.3  # fraction of the stroma that is white gaps
    red_cells: float = 3.0  # clumps of erythrocytes a megapixel


# fmt: off
_SPINDLE = Nuclei(
    "stroma", cover=0.1, diameter=20, spread=0.2, elongation=3.0, disorder=0.2, spacing=0.95, density=1.1,
)
_LYMPHOCYTE = Nuclei(
    "stroma", cover=0.05, diameter=20, spread=0.08, elongation=1.1, wobble=0.06, spacing=0.85, clustering=2,
    density=1.6, vesicular=0.1, nucleoli=0,
)
_PLEOMORPHIC = Nuclei(
    "parenchyma", cover=0.5, diameter=33, spread=0.22, elongation=1.35, wobble=0.15, spacing=0.85,
    density=1.1, vesicular=0.65, nucleoli=1.3,
)
_COLUMNAR = Nuclei(
    "parenchyma", cover=1.2, diameter=24, spread=0.16, elongation=1.7, disorder=0.25, spacing=0.74,
    clustering=0, density=1.2, vesicular=0.45,
)
_SMALL_ROUND = Nuclei(
    "parenchyma", cover=0.6, diameter=21, spread=0.13, elongation=1.15, wobble=0.1, spacing=0.7,
    clustering=0.7, density=1.5, vesicular=0.25, nucleoli=0.1,
)
_BLAST = replace(_PLEOMORPHIC, cover=0.14, diameter=29, spread=0.15, clustering=1.5)
_HEPATOCYTE = Nuclei(
    "parenchyma", cover=0.13, diameter=29, spread=0.1, elongation=1.08, wobble=0.04, spacing=1.9,
    clustering=0, density=1.2, vesicular=0.6, nucleoli=1.2,
)
_ENDOTHELIUM = Nuclei(
    "stroma", cover=0.12, diameter=16, spread=0.2, elongation=2.6, disorder=0.3, spacing=1.1, density=1.4,
)
_CLEAR = Nuclei(
    "parenchyma", cover=0.14, diameter=23, spread=0.15, elongation=1.15, spacing=0.95, clustering=1.2,
    density=1.1, vesicular=0.45, nucleoli=0.5,
)

KINDS: dict[str, Kind] = {
    "carcinoma": Kind(
        (_PLEOMORPHIC, _SPINDLE, _LYMPHOCYTE), (0.5, 0.75), region=55, basophilia=0.36, membrane=-0.15
    ),
    "glandular": Kind(
        (_COLUMNAR, _SPINDLE, _LYMPHOCYTE), (0.55, 0.7), region=32, wall=40, eosin=0.5, basophilia=0.3,
        membrane=0.1, looseness=0.4,
    ),
    "lymphoid": Kind(
        (_SMALL_ROUND, _BLAST, _SPINDLE), (0.82, 0.97), region=60, eosin=0.35, basophilia=0.2, clear=0.4
    ),
    "stroma": Kind((_SPINDLE, _LYMPHOCYTE), (0.0, 0.0), region=60, collagen=0.75, looseness=0.2, red_cells=8),
    "hepatic": Kind(
        (_HEPATOCYTE, _ENDOTHELIUM), (0.85, 0.9), region=45, plates=True, eosin=0.55, membrane=0.3,
        collagen=0.25, looseness=0.75, red_cells=25,
    ),
    "clear_cell": Kind(
        (_CLEAR, _SPINDLE, _LYMPHOCYTE), (0.75, 0.85), region=50, plates=True, eosin=0.5, basophilia=0.2,
        clear=0.75, membrane=0.5, collagen=0.6,
    ),
}
# fmt: on


def generate(kind: str, size: int | tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A tissue image and its nuclei; the same arguments give the same image.

    Every seed has its own architecture, stain, focus and noise, like a slide of another laboratory.

    Args:
        kind: one of `KINDS`.
        size: the side, or height and width, in pixels of 0.25 um.
        seed: of everything random.

    Returns:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) int32, 0 = background, 1..N = nuclei; each is one 4-connected piece of 30 px or more.

    Raises:
        ValueError: no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no tissue kind {kind!r}; there are {', '.join(KINDS)}")
    tissue = KINDS[kind]
    shape = (size, size) if isinstance(size, int) else tuple(size)
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    depth = _architecture(rng, shape, tissue)
    strands, grain = _fibres(rng, depth)
    labels, traits = _populate(rng, depth, grain, tissue)
    chromatin = _chromatin(rng, labels, traits)
    haematoxylin, eosin = _matrix(rng, labels, depth, strands, tissue)
    haematoxylin += rng.uniform(0.0, 0.33) * eosin  # how well the slide was rinsed before the eosin
    _add_confounders(rng, haematoxylin, eosin, depth, tissue)
    inside = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 0.6)
    # Cytoplasm lies above and below a nucleus, and the proteins of the nucleus take eosin as well.
    haematoxylin += chromatin - 0.5 * inside * haematoxylin
    eosin += inside * (0.3 - 0.5 * eosin)
    thickness = np.exp(0.18 * _noise(rng, shape, 60))
    return _photograph(rng, _stain(rng, thickness * haematoxylin, thickness * eosin)), labels


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """(H, W) float32 Gaussian random field of mean 0 and deviation 1 that is smooth over `scale` px."""
    step = max(1.0, scale / 2)  # drawn coarsely and enlarged: the cost does not grow with the scale
    coarse = rng.standard_normal([int(side / step) + 6 for side in shape]).astype(np.float32)
    coarse = cv2.GaussianBlur(coarse, (0, 0), scale / step)
    fine = cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
    return (fine - fine.mean()) / (fine.std() + 1e-6)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _architecture(rng: np.random.Generator, shape: tuple[int, int], tissue: Kind) -> np.ndarray:
    """(H, W) float32: pixels from the edge of the parenchyma, above 0 within it, below 0 in the stroma."""
    coverage = rng.uniform(*tissue.coverage)
    if coverage == 0:
        return np.full(shape, -1e3, np.float32)
    field = _noise(rng, shape, tissue.region) + 0.12 * _noise(rng, shape, 9)
    if tissue.plates:
        field = np.abs(field)
    field += 0.4 * _noise(rng, shape, 150)  # one part of a slide is not like the next
    parenchyma = (field > np.quantile(field, 1 - coverage)).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (parenchyma, 1 - parenchyma))
    return inside - outside


def _fibres(rng: np.random.Generator, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavy collagen: its strands, (H, W) about 0 with deviation 1, and their direction, (H, W) radians."""
    shape = depth.shape
    y, x = np.indices(shape, dtype=np.float32)
    turn = rng.uniform(0, np.pi)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = cosine * x + sine * y
    across = cosine * y - sine * x
    for scale, swing in ((80, 22), (20, 6), (6, 1.5)):
        across += swing * _noise(rng, shape, scale)
    across += 0.8 * cv2.GaussianBlur(depth, (0, 0), 8)  # they run along the edge of nests and glands
    texture = _noise(rng, (512, 512), 1.2)
    strands = np.zeros(shape, np.float32)
    for width in (1.0, 2.0, 5.0):
        at = along / (6 * width), across / width
        strands += cv2.remap(texture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    rise, run = np.gradient(across)
    return strands / strands.std(), np.arctan2(-run, rise)


def _populate(
    rng: np.random.Generator, depth: np.ndarray, grain: np.ndarray, tissue: Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) int32, and for each label (N + 1, 3) its density, vesicularity and expected nucleoli."""
    labels = np.zeros(depth.shape, np.int32)
    if np.isfinite(tissue.wall):
        # The nuclei of a gland stand upright on its edge, near it.
        rise, run = np.gradient(cv2.GaussianBlur(depth, (0, 0), 6))
        epithelium, upright = (depth > 9) & (depth < 0.6 * tissue.wall), np.arctan2(rise, run)
    else:
        epithelium, upright = depth > 5, np.pi * _noise(rng, depth.shape, 60)
    places = {"parenchyma": (epithelium, upright), "stroma": (depth < -4, grain)}
    drawn = [_place(rng, labels, *places[population.habitat], population) for population in tissue.nuclei]
    traits = np.concatenate([np.zeros((1, 3)), *drawn])
    # Overlaps and the border cut slivers off; they stay unlabelled and therefore unstained.
    pieces = connected(labels, connectivity=1)
    pieces[np.bincount(pieces.ravel())[pieces] < _SMALLEST] = 0
    pieces = relabel_sequential(pieces)[0].astype(np.int32)
    origin = np.zeros(pieces.max() + 1, np.int32)
    origin[pieces[pieces > 0]] = labels[pieces > 0]
    return pieces, traits[origin]


def _place(
    rng: np.random.Generator, labels: np.ndarray, habitat: np.ndarray, turns: np.ndarray, population: Nuclei
) -> np.ndarray:
    """Draw a population into `labels`, at random points of its habitat while there is room and need.

    Args:
        labels: (H, W) int32, changed in place.
        habitat: (H, W) bool, where their centres may lie.
        turns: (H, W) radians, the direction that they follow there.

    Returns:
        (n, 3) traits of the nuclei drawn: density, vesicularity, expected nucleoli.
    """
    wanted = population.cover * habitat.sum()
    odds = habitat * _sigmoid(2 * population.clustering * _noise(rng, labels.shape, 50))
    attempts = 8 * wanted / population.diameter**2
    margin = int(population.diameter)  # nuclei centred outside the image reach into it
    odds = np.pad(odds * (attempts / max(odds.sum(), 1e-6)), margin, mode="symmetric")
    points = rng.permutation(np.argwhere(rng.random(odds.shape) < odds) - margin)
    local = turns[tuple(np.clip(points, 0, np.array(labels.shape) - 1).T)]
    outlines = _outlines(rng, population, local + population.disorder * rng.standard_normal(len(points)))
    first = identity = labels.max() + 1
    for point, outline in zip(points, outlines, strict=True):
        area = _draw(labels, point[::-1], outline, population.spacing, identity)
        identity += area > 0
        wanted -= area
        if wanted <= 0:
            break
    density = np.clip(population.density * rng.lognormal(0, 0.4, identity - first), 0.7, 2.2)
    vesicular = np.clip(rng.normal(population.vesicular, 0.2, identity - first), 0, 0.85)
    return np.stack([density, vesicular, np.full(identity - first, population.nucleoli)], axis=1)


def _outlines(rng: np.random.Generator, population: Nuclei, turns: np.ndarray) -> np.ndarray:
    """Closed outlines about the origin, (n, 32, 2) x and y in pixels: ellipses with a few harmonics."""
    n = len(turns)
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    wave = np.arange(2, 6)[:, None]
    phase = rng.uniform(0, 2 * np.pi, (n, 4, 1))
    bumps = population.wobble * rng.standard_normal((n, 4, 1)) / wave * np.cos(wave * angle + phase)
    radius = population.diameter / 2 * rng.lognormal(0, population.spread, (n, 1)) * (1 + bumps.sum(axis=1))
    stretch = np.sqrt(np.maximum(population.elongation * rng.lognormal(0, 0.15, (n, 1)), 1))
    x, y = radius * stretch * np.cos(angle), radius / stretch * np.sin(angle)
    cosine, sine = np.cos(turns)[:, None], np.sin(turns)[:, None]
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1)


def _draw(labels: np.ndarray, centre: np.ndarray, outline: np.ndarray, spacing: float, identity: int) -> int:
    """Draw a nucleus behind those that are there; the number of pixels drawn, 0 where it found no room."""
    reach = int(np.abs(outline).max() * max(spacing, 1)) + 2
    left, top = (max(int(at) - reach, 0) for at in centre)
    right, bottom = (max(int(at) + reach, 0) for at in centre)
    window = labels[top:bottom, left:right]
    body, room = np.zeros((2, *window.shape), np.uint8)
    for canvas, scale in ((room, spacing), (body, 1.0)):
        corners = np.rint(outline * scale + (centre[0] - left, centre[1] - top)).astype(np.int32)
        if window.size:
            cv2.fillPoly(canvas, [corners], 1)
        if np.any(room & (window > 0)):
            return 0
    free = (body > 0) & (window == 0)
    window[free] = identity
    return int(free.sum())


def _chromatin(rng: np.random.Generator, labels: np.ndarray, traits: np.ndarray) -> np.ndarray:
    """(H, W) float32 haematoxylin of the nuclei: a dark membrane, clumps, nucleoli, and 0 outside them."""
    shape = labels.shape
    number, square = labels.astype(np.float32), np.ones((3, 3), np.uint8)
    inner = (labels > 0) & (cv2.erode(number, square) == cv2.dilate(number, square))
    edge = cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, 3)
    area = np.bincount(labels.ravel(), minlength=len(traits))
    seeds = (rng.random(shape) < (traits[:, 2] / area)[labels]) & (edge > 3)
    spots = cv2.dilate(seeds.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    spots = cv2.GaussianBlur(spots, (0, 0), 0.8)
    density, vesicular = traits[labels, 0].astype(np.float32), traits[labels, 1].astype(np.float32)
    clumps = _sigmoid(3 * (_noise(rng, shape, 1.3) + 0.5 * _noise(rng, shape, 3.0))) - 0.4
    solid = 0.8 + 0.15 * _noise(rng, shape, 6)
    amount = (1 - 0.75 * vesicular) * solid + (0.05 + 0.6 * vesicular) * np.exp(-edge / 1.4)
    amount += (0.35 + 0.35 * vesicular) * clumps + 0.6 * spots
    chromatin = np.maximum(density * amount * (labels > 0), 0)
    # Nuclei lie at different heights of the section, so that some are out of focus.
    sharp, blurred = (cv2.GaussianBlur(chromatin, (0, 0), sigma) for sigma in (0.6, 2.2))
    return sharp + _sigmoid(4 * (_noise(rng, shape, 22) - 0.7)) * (blurred - sharp)


def _matrix(
    rng: np.random.Generator, labels: np.ndarray, depth: np.ndarray, strands: np.ndarray, tissue: Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin, (H, W) float32 each, of all that is not nucleus."""
    shape = labels.shape
    haematoxylin, eosin = _cytoplasm(rng, labels, tissue)
    loose = _noise(rng, shape, 25) + 0.8 * _noise(rng, shape, 8) + 0.5 * strands
    collagen = 0.1 + 0.9 * _sigmoid(4 * (loose - np.quantile(loose, tissue.looseness)))
    bundle = 1 + 0.25 * strands + 0.25 * _noise(rng, shape, 40) + 0.1 * _noise(rng, shape, 1.5)
    ground = 0.15 + 0.12 * _noise(rng, shape, 30) + 0.06 * strands
    inside = _sigmoid(depth / 1.2)
    eosin = inside * eosin + (1 - inside) * collagen * bundle * 0.8 * tissue.collagen
    haematoxylin = inside * haematoxylin + (1 - inside) * collagen * ground
    # Shrinkage in processing parts the parenchyma from the stroma here and there; a lumen is empty.
    cleft = np.exp(-(((depth + 2) / 2.5) ** 2)) * _sigmoid(4 * (_noise(rng, shape, 40) - 0.8))
    lumen = _sigmoid((depth - tissue.wall) / 1.5)
    substance = (1 - cleft) * (1 - lumen)
    mucin = 0.15 * lumen * _sigmoid(3 * (_noise(rng, shape, 12) - 0.8))
    return np.maximum(haematoxylin * substance + mucin, 0), np.maximum(eosin * substance + mucin, 0)


def _cytoplasm(rng: np.random.Generator, labels: np.ndarray, tissue: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin, (H, W) float32 each, as if the cells around the nuclei filled the image."""
    shape = labels.shape
    cells, distance = _cells(rng, labels)
    edges = (cv2.dilate(cells, np.ones((3, 3), np.uint8)) != cells) & (distance > 1)
    border = np.minimum(2.5 * cv2.GaussianBlur(edges.astype(np.float32), (0, 0), 1.0), 1)
    border *= _sigmoid(2.5 * _noise(rng, shape, 20) + 0.5)  # seen where it stands upright in the section
    pink, blue, empty = (
        cv2.GaussianBlur(rng.lognormal(0, spread, labels.max() + 1)[cells.astype(int)], (0, 0), 2)
        for spread in (0.2, 0.3, 0.4)
    )
    grain = 1 + 0.1 * _noise(rng, shape, 1.5) + 0.12 * _noise(rng, shape, 5) + 0.12 * _noise(rng, shape, 25)
    # What dissolves leaves a web of cytoplasm between vacuoles.
    web = np.exp(-((_noise(rng, shape, 5) / 0.35) ** 2))
    left = 1 - np.clip(tissue.clear * empty, 0, 0.95) * (1 - 0.4 * web)
    halo = 1 - 0.7 * np.exp(-distance / 2.5) * _sigmoid(6 * (empty - 1.3))
    substance = grain * left * halo * (1 + 2 * min(tissue.membrane, 0) * border)
    haematoxylin = tissue.basophilia * blue * substance * (1 + 0.3 * _noise(rng, shape, 30))
    return haematoxylin, tissue.eosin * pink * substance + max(tissue.membrane, 0) * border


def _cells(rng: np.random.Generator, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the label of the cell that it lies in and its distance to a nucleus, (H, W) float32.

    A cell is what is nearer to its nucleus than to any other, its borders bent a little.
    """
    outside = (labels == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(nearest.max() + 1, np.float32)
    owner[nearest[outside == 0]] = labels[outside == 0]
    y, x = np.indices(labels.shape, dtype=np.float32)
    x, y = x + 3 * _noise(rng, labels.shape, 10), y + 3 * _noise(rng, labels.shape, 10)
    return cv2.remap(owner[nearest], x, y, cv2.INTER_NEAREST, None, cv2.BORDER_REFLECT), distance


def _add_confounders(
    rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray, depth: np.ndarray, tissue: Kind
) -> None:
    """Draw, in place, what is no nucleus but may look it: erythrocytes, debris, shadows out of the plane."""
    height, width = depth.shape
    megapixels = height * width / 1e6
    for x, y in rng.uniform(0, (width, height), (rng.poisson(tissue.red_cells * megapixels), 2)):
        if depth[int(y), int(x)] < 0:
            for dx, dy in rng.normal(0, 18, (rng.integers(1, 12), 2)):
                disc = (int(x + dx), int(y + dy)), int(rng.integers(8, 12))
                cv2.circle(eosin, *disc, rng.uniform(0.9, 1.4), -1)
                cv2.circle(haematoxylin, *disc, 0.1, -1)
    for x, y in rng.uniform(0, (width, height), (rng.poisson(60 * megapixels), 2)):
        cv2.circle(haematoxylin, (int(x), int(y)), int(rng.integers(1, 4)), rng.uniform(0.4, 1.2), -1)
    ghosts = np.zeros_like(haematoxylin)
    for x, y in rng.uniform(0, (width, height), (rng.poisson(180 * megapixels), 2)):
        axes = int(rng.integers(6, 11)), int(rng.integers(8, 16))
        cv2.ellipse(ghosts, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.15, 0.5), -1)
    haematoxylin += cv2.GaussianBlur(ghosts, (0, 0), 3.5) * np.minimum(eosin / 0.3, 1)  # none in gaps


def _stain(rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 light that passes, 0 to 255, with stains drawn as if by another laboratory."""
    mix = rng.uniform((0.2, 0.5), (0.9, 1.1))[:, None]  # eosins reach from magenta to coral
    vectors = mix * _MACENKO + (1 - mix) * _RUIFROK + rng.normal(0, 0.03, (2, 3))
    vectors = np.maximum(vectors, 0.02)
    vectors *= rng.lognormal((0.15, 0.05), (0.15, 0.25))[:, None] / np.linalg.norm(vectors, axis=1)[:, None]
    absorbance = np.stack([haematoxylin, eosin], axis=-1).astype(np.float32) @ vectors.astype(np.float32)
    lamp = rng.uniform((235, 228, 235), (252, 246, 252)).astype(np.float32)
    return lamp * np.exp(-absorbance)


def _photograph(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: `light` through optics whose focus drifts, a noisy sensor, and JPEG."""
    sharp, soft = (cv2.GaussianBlur(light, (0, 0), sigma) for sigma in rng.uniform((0.6, 1.1), (0.9, 1.9)))
    drift = _sigmoid(1.5 * (_noise(rng, light.shape[:2], 80) - 0.7))[..., None]
    noise = rng.standard_normal(light.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * rng.uniform(2, 5)
    image = np.clip(np.rint(sharp + drift * (soft - sharp) + noise), 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 95))]
    encoded = cv2.imencode(".jpg", image[..., ::-1], quality)[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].copy()
