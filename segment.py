"""Outline the nuclei of any image with the trained model: label images, overlays, GeoJSON and COCO."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from mrcnn import backend
from mrcnn.config import check_takes_tiles, find_model, fingerprint
from mrcnn.inference import tta
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.io.files import check_can_hold_files, check_names, is_finished, write_settings
from nuclei.io.images import list_images, read_image, write_image
from nuclei.outlines import results
from nuclei.outlines.registry import COCO_FILE, SUFFIXES
from nuclei.pictures import overlay

Format = Literal["label_tiff", "geojson", "coco"]


@dataclass(frozen=True)
class Settings:
    images: tyro.conf.Positional[tuple[Path, ...]]  # images or folders of images: PNG, JPEG, TIFF
    model: Path = Path("runs/mrcnn/model")  # the folder of a trained model
    out: Path = Path("segmented")  # <image>.tif goes here (ids 1..N, 0 background), overlays/<image>.png too
    format: tuple[Format, ...] = ("geojson", "coco")  # beside the label images: for QuPath; one file for all
    confidence: float = 0.5  # smallest score of a nucleus, in a view and in the mean of all, 0..1
    views: int = 1  # turned and mirrored views of each tile that are averaged, 1 to 8; more is better
    overlap: int = 64  # px that neighbouring tiles share; more than the largest nucleus is long


OVERLAYS = "overlays"


def main(settings: Settings) -> None:
    paths = _find_images(settings.images)
    _, config = find_model(settings.model)
    check_takes_tiles(settings.model, config)
    backend.check()
    _check(settings, side=config["IMAGE_SHAPE"][0])
    check_can_hold_files(settings.out)
    # A broken image shows before anything slow starts.
    pixels = {path: results.fingerprint(read_image(path)) for path in paths}
    made_with = _made_with(settings)
    todo = _todo(pixels, settings.out, made_with)
    if todo:
        _segment(todo, settings, made_with)
    if len(todo) < len(paths):
        print(f"{len(paths) - len(todo)} images were finished already")
    print(f"wrote {settings.out}/<image>.tif and {settings.out / OVERLAYS}/<image>.png")
    _export(paths, settings)
    print(f"next: look at the overlays; with true labels at hand, python evaluate.py {settings.out} TRUTH")


def _segment(pixels: dict[Path, str], settings: Settings, made_with: dict) -> None:
    # Imported here: TensorFlow takes seconds, which --help and bad input need not wait for.
    from mrcnn import model
    from mrcnn.inference import tiling

    network = model.load(settings.model, DETECTION_MIN_CONFIDENCE=settings.confidence)
    for path in pixels:
        image = read_image(path)
        labels, scores = tiling.segment(
            network, image, settings.overlap, progress=path.name, n_views=settings.views
        )
        write_image(settings.out / OVERLAYS / f"{path.stem}.png", overlay(image, labels))
        write_settings(settings.out, made_with)  # before the first result, so that none is without them
        results.write(settings.out, path.name, pixels[path], labels, scores)
        print(f"{path.name}: {len(scores)} nuclei")


def _export(paths: list[Path], settings: Settings) -> None:
    """Write the chosen formats from the label images and scores, which are there by now."""
    if "geojson" in settings.format:
        for path in tqdm(paths, "GeoJSON", unit="image", disable=None):
            results.write_geojson(settings.out, path.stem)
        print(f"wrote {settings.out}/<image>{SUFFIXES['geojson']}: drop it on the image in QuPath")
    if "coco" in settings.format:
        results.write_coco(settings.out)
        print(f"wrote {settings.out / COCO_FILE}, all images of {settings.out}/")


def _check(settings: Settings, side: int) -> None:
    if not 0 <= settings.confidence <= 1:
        raise InputError(f"--confidence is {settings.confidence}; it must lie between 0 and 1")
    tta.check(settings.views)
    if not 0 <= settings.overlap < side:
        raise InputError(f"--overlap is {settings.overlap}; it must be at least 0 and less than {side} px")


def _find_images(places: tuple[Path, ...]) -> list[Path]:
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


def _made_with(settings: Settings) -> dict:
    names = ("confidence", "views", "overlap")
    return {"model": fingerprint(settings.model)} | {name: getattr(settings, name) for name in names}


def _todo(pixels: dict[Path, str], out: Path, made_with: dict) -> dict[Path, str]:
    """Which images, with the fingerprints of their pixels, have no result of these settings and model yet.

    Raises:
        InputError: `out` holds results of others, or files that would be overwritten.
    """
    for path in pixels:
        if path.resolve().parent in (out.resolve(), (out / OVERLAYS).resolve()):
            raise InputError(f"{path} lies where the results go; name another --out")
    if not is_finished(out, made_with) and (out / COCO_FILE).exists():
        raise InputError(f"{out / COCO_FILE} was not made by segment.py; move it, or name another --out")
    return {path: each for path, each in pixels.items() if not results.is_written(out, path.stem, each)}


if __name__ == "__main__":
    run(main, Settings, __doc__)
