"""Outline and measure the nuclei of any image with the trained model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from mrcnn import backend
from mrcnn.config import check_takes_tiles, find_model
from mrcnn.inference import tta
from mrcnn.selftraining.start import MODEL, trained_or_start
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.io.files import check_can_hold_files, check_names
from nuclei.io.images import list_images
from nuclei.outlines.registry import COCO_FILE, SUFFIXES

Format = Literal["label_tiff", "geojson", "coco", "csv"]


@dataclass(frozen=True)
class Settings:
    images: tyro.conf.Positional[tuple[Path, ...]]  # images or folders of images: PNG, JPEG, TIFF, BMP, WebP
    model: Path = MODEL  # the folder of a trained model; as long as it is missing, the start weights
    out: Path = Path("segmented")  # <image>.tif goes here (ids 1..N, 0 background), overlays/<image>.png too
    format: tuple[Format, ...] = ("geojson", "coco", "csv")  # beside the label images; csv: measurements
    confidence: float = 0.4  # smallest score of a nucleus, in a view and in the mean of all, 0..1
    views: int = 1  # turned and mirrored views of each tile that are averaged, 1 to 8; more is better
    overlap: int = 64  # px that neighbouring tiles share; more than the largest nucleus is long
    source_mpp: float | None = None  # um per px of the images, for measurements in um; None: they are in px


def main(settings: Settings) -> None:
    # Imported here: --help need not wait.
    from mrcnn.segmentation import OVERLAYS, segment_images

    paths = find_images(settings.images)
    model = trained_or_start(settings.model)
    _, config = find_model(model)
    check_takes_tiles(model, config)
    backend.check()
    _check(settings, side=config["IMAGE_SHAPE"][0])
    check_can_hold_files(settings.out)
    made = segment_images(
        paths,
        model,
        settings.out,
        confidence=settings.confidence,
        views=settings.views,
        overlap=settings.overlap,
    )
    if made < len(paths):
        print(f"{len(paths) - made} of {len(paths)} images were segmented before")
    print(f"wrote {settings.out}/<image>.tif and {settings.out / OVERLAYS}/<image>.png")
    _export(paths, settings.out, settings.format, settings.source_mpp)
    print(f"next: look at the overlays; with true labels at hand, python evaluate.py {settings.out} TRUTH")


def _export(paths: list[Path], out: Path, formats: tuple[Format, ...], mpp: float | None) -> None:
    """Write the chosen formats from the label images and scores, which are there by now."""
    from nuclei.outlines import results

    if "geojson" in formats:
        for path in tqdm(paths, "GeoJSON", unit="image", disable=None):
            results.write_geojson(out, path.stem)
        print(f"wrote {out}/<image>{SUFFIXES['geojson']}: drop it on the image in QuPath")
    if "coco" in formats:
        results.write_coco(out)
        print(f"wrote {out / COCO_FILE}, all images of {out}/")
    if "csv" in formats:
        for path in tqdm(paths, "measuring", unit="image", disable=None):
            results.write_measurements(out, path, mpp)
        results.write_table(out, mpp)
        unit = "px" if mpp is None else "um"
        print(f"wrote {out / results.TABLE}, size, shape and stain of every nucleus, in {unit}")


def _check(settings: Settings, side: int) -> None:
    if not 0 <= settings.confidence <= 1:
        raise InputError(f"--confidence is {settings.confidence}; it must lie between 0 and 1")
    tta.check(settings.views)
    if settings.source_mpp is not None and not 0 < settings.source_mpp < math.inf:
        raise InputError(f"--source-mpp is {settings.source_mpp}; it must be above 0, in um per px")
    if not 0 <= settings.overlap < side:
        raise InputError(f"--overlap is {settings.overlap}; it must be at least 0 and less than {side} px")


def find_images(places: tuple[Path, ...]) -> list[Path]:
    """All images, folders opened; InputError for a missing one, a bad name, or two of one result."""
    if not places:
        raise InputError("no image given; name images or folders: python segment.py IMAGE...")
    paths: dict[str, Path] = {}
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist")
        for path in list_images(place) if place.is_dir() else [place]:
            other = paths.setdefault(path.stem, path)
            if other != path:
                raise InputError(f"{path} and {other} would share the result {path.stem}.tif; rename one")
    check_names(paths.values())
    return list(paths.values())


if __name__ == "__main__":
    run(main, Settings, __doc__)
