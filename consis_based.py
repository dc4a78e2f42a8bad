"""Stage 1: which patches to annotate (consistency-based patch selection, Lou et al. 2022)."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.files import atomic_file, write_settings
from nuclei.formats import write_image
from nuclei.patches import (
    crop_images,
    list_patches,
    quarters,
    read_patch,
    read_sources,
    write_quarters,
    write_selection,
)
from nuclei.script import run

# torch, scikit-learn and matplotlib are imported where they are used: --help and bad input need not wait.
if TYPE_CHECKING:
    from nuclei.selection import Selected


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the patches to choose from; selected.csv is written here
    crops: Path = Path("data_30000_cut")  # where the quarters of the patches go, by cluster
    images: Path | None = None  # a folder of larger images to crop into data first
    stride: int = 256  # px between crops of an image; matters with images only
    patch: int = 256  # px, the side of a patch
    k1: int = 12  # clusters of patches, so the number of patches to annotate
    k2: int = 4  # clusters of quarters within each cluster of patches
    features: Literal["efficientnet_lite0", "resnet50"] = "efficientnet_lite0"  # resnet50 is downloaded
    seed: int = 0  # of the clustering
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    out: Path = Path("runs/selection")  # pictures of the selection, features kept for the next run


COLUMNS = 8  # of the contact sheet: the selected patch and seven that it stands for
TILE = 192  # px, a patch on the contact sheet
FRAME = (0, 170, 0)  # RGB, around the selected patch


def main(settings: Settings) -> None:
    _check_settings(settings)
    if settings.images is not None:
        crop_images(settings.images, settings.data, settings.patch, settings.stride)
    names = list_patches(settings.data)
    if settings.k1 > len(names):
        raise InputError(
            f"{settings.data}/ holds {len(names)} patches, fewer than K1 = {settings.k1}; "
            f"add patches or pass a smaller --k1, such as --k1 {max(1, len(names) // 4)}"
        )
    digest = _check_images(settings.data, names, settings.patch)
    features, pieces = _features(
        settings.data, names, settings.features, settings.device, settings.out, digest
    )

    from nuclei.selection import select

    try:
        chosen = select(features, pieces, settings.k1, settings.k2, settings.seed)
    except ValueError as error:
        raise InputError(f"{error}; change --k1 or --k2") from error

    _write_crops(settings.data, settings.crops, names, chosen)
    before = write_selection(settings.data, _rows(settings.data, names, chosen))
    if before is not None:
        print(f"the selection that was there before is kept in {before}", file=sys.stderr)
    _write_contact_sheet(settings.out / "contact_sheet.png", settings.data, names, chosen)
    if np.ptp(features, axis=0).any():  # patches that are all alike make no map
        _write_map(settings.out / "map.png", features, chosen)
    write_settings(settings.out, asdict(settings))

    print(*(names[record.index] for record in chosen), sep="\n")
    print(
        f"Wrote {settings.data}/selected.csv, {settings.crops}/ and {settings.out}/contact_sheet.png. Next: "
        f"annotate these {len(chosen)} patches (one {settings.data}/<patch>/masks/<k>.png a nucleus), "
        "then run python main_train.py"
    )


def _check_settings(settings: Settings) -> None:
    if settings.patch < 64 or settings.patch % 2:
        raise InputError(f"--patch {settings.patch} must be even and at least 64 px")
    if settings.stride < 1:
        raise InputError(f"--stride {settings.stride} must be at least 1 px")
    if settings.crops.resolve() == settings.data.resolve():
        raise InputError(
            f"--crops and --data are both {settings.data}; the quarters need a folder of their own"
        )


def _check_images(data: Path, names: list[str], size: int) -> str:
    """Read every patch once, before anything slow or lasting is done; returns a digest of their pixels."""
    digest = hashlib.sha256()
    for name in tqdm(names, desc="reading patches", unit="patch"):
        image = read_patch(data / name)
        height, width = image.shape[:2]
        if (height, width) != (size, size):
            raise InputError(
                f"the patch {data / name} is {width} x {height} px, not {size} x {size} px; "
                "cut the patches to one size (--patch), or let --images cut them"
            )
        digest.update(name.encode() + b"\0" + image.tobytes())
    return digest.hexdigest()


def _features(
    data: Path, names: list[str], model: str, device: str, out: Path, digest: str
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the patches (N, D) and of their quarters (N, 4, D), float32.

    They take minutes, so they are kept in `out` for the next run, which may want another K1.
    """
    cache = out / f"features_{model}.npz"
    if (kept := _read_features(cache, digest)) is not None:
        print(f"using the features of these patches kept in {cache}", file=sys.stderr)
        return kept

    from nuclei.features import extract

    patches = (read_patch(data / name) for name in names)
    features = extract(patches, model, device=device, description="patches", total=len(names))
    pieces = (piece for name in names for piece in quarters(read_patch(data / name)))
    piece_features = extract(pieces, model, device=device, description="quarters", total=4 * len(names))
    piece_features = piece_features.reshape(len(names), 4, -1)
    with atomic_file(cache) as temporary:
        np.savez(temporary, digest=digest, patches=features, quarters=piece_features)
    return features, piece_features


def _read_features(cache: Path, digest: str) -> tuple[np.ndarray, np.ndarray] | None:
    """What `_features` kept; None where there is nothing, or it was made from other patches."""
    try:
        with np.load(cache) as kept:
            return (kept["patches"], kept["quarters"]) if kept["digest"] == digest else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _write_crops(data: Path, crops: Path, names: list[str], chosen: list[Selected]) -> None:
    for record in tqdm(chosen, desc="writing quarters", unit="cluster"):
        write_quarters(crops, record.cluster, (read_patch(data / names[member]) for member in record.members))
    # An earlier run may have had more clusters.
    for path in crops.iterdir():
        if path.is_dir() and path.name.isdigit() and int(path.name) >= len(chosen):
            shutil.rmtree(path)


def _rows(data: Path, names: list[str], chosen: list[Selected]) -> list[dict]:
    """The rows of selected.csv, with the place in the source image of patches that were cropped here."""
    table = read_sources(data)
    sources = {} if table is None else table.set_index("patch").to_dict("index")
    return [
        {"patch": names[record.index], "cluster": record.cluster}
        | {term: round(getattr(record, term), 4) for term in ("score", "coarse", "fine", "spread")}
        | sources.get(names[record.index], {})
        for record in chosen
    ]


def _write_contact_sheet(path: Path, data: Path, names: list[str], chosen: list[Selected]) -> None:
    """One row a cluster: the selected patch, framed, then patches that it stands for."""
    from nuclei.pictures import caption, montage

    rows = []
    for record in chosen:
        others = [member for member in record.members if member != record.index]
        # Evenly spaced, since neighbours in the list often come from one image.
        shown = np.linspace(0, len(others) - 1, min(COLUMNS - 1, len(others))).astype(int)
        tiles = [_tile(data, names[record.index], FRAME)] + [_tile(data, names[others[i]]) for i in shown]
        tiles += [np.full_like(tiles[0], 255)] * (COLUMNS - len(tiles))
        text = (
            f"cluster {record.cluster}: {len(record.members)} patches, selected {names[record.index]}, "
            f"score {record.score:.1f} = "
            f"coarse {record.coarse:.1f} + fine {record.fine:.1f} + spread {record.spread:.1f}"
        )
        rows.append(caption(montage(tiles, COLUMNS), text))
    write_image(path, np.vstack(rows))


def _tile(data: Path, name: str, frame: tuple[int, int, int] | None = None) -> np.ndarray:
    from nuclei.pictures import caption

    image = cv2.resize(read_patch(data / name), (TILE, TILE), interpolation=cv2.INTER_AREA)
    if frame is not None:
        cv2.rectangle(image, (2, 2), (TILE - 3, TILE - 3), frame, thickness=5)
    # A crop's name tells most at its end, where its place in the image is.
    return caption(image, name if len(name) <= 26 else f"..{name[-24:]}")


def _write_map(path: Path, features: np.ndarray, chosen: list[Selected]) -> None:
    """The patches on the first two principal components of their features, a colour a cluster."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    centred = features - features.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * singular[:2]
    share = singular**2 / (singular**2).sum()

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xlabel=f"principal component 1 ({share[0]:.0%} of the variance)",
        ylabel=f"principal component 2 ({share[1]:.0%})",
        title="Patches by cluster; a star is the patch to annotate",
    )
    colours = colormaps["turbo"](np.linspace(0.05, 0.95, len(chosen)))
    for record, colour in zip(chosen, colours, strict=True):
        x, y = points[list(record.members)].T
        axes.scatter(x, y, s=14, color=colour, alpha=0.7, linewidths=0)
    for record, colour in zip(chosen, colours, strict=True):  # above all points
        place = points[record.index]
        axes.scatter(*place, s=220, marker="*", color=colour, edgecolors="black")
        axes.annotate(str(record.cluster), place, xytext=(7, 7), textcoords="offset points", weight="bold")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


if __name__ == "__main__":
    run(
        main, Settings, "Choose the patches to annotate; edit the constants at the top or pass them as flags."
    )
