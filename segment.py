"""Outline the nuclei of any image with the trained model: label images and overlays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import tyro

from mrcnn import views
from mrcnn.config import find_model
from nuclei.errors import InputError
from nuclei.files import is_finished, write_settings
from nuclei.formats import list_images, read_image, write_image, write_labels
from nuclei.pictures import overlay
from nuclei.script import run


@dataclass(frozen=True)
class Settings:
    images: tyro.conf.Positional[tuple[Path, ...]]  # images or folders of images: PNG, JPEG, TIFF
    model: Path = Path("runs/mrcnn/model")  # the folder of a trained model
    out: Path = Path("segmented")  # <image>.tif goes here (ids 1..N, 0 background), overlays/<image>.png too
    confidence: float = 0.5  # smallest score of a nucleus, 0..1
    views: int = 1  # turned and mirrored views of each tile that are averaged, 1 to 8; more is better
    overlap: int = 64  # px that neighbouring tiles share; more than the largest nucleus is long


OVERLAYS = "overlays"


def main(settings: Settings) -> None:
    paths = _find_images(settings.images)
    weights, config = find_model(settings.model)
    _check(settings, side=config["IMAGE_SHAPE"][0])
    for path in paths:
        read_image(path)  # a broken one shows before anything slow starts
    todo = _todo(paths, settings, weights.read_bytes())
    if todo:
        _segment(todo, settings)
    if len(todo) < len(paths):
        print(f"{len(paths) - len(todo)} images were finished already")
    print(f"wrote {settings.out}/<image>.tif and {settings.out / OVERLAYS}/<image>.png")
    print(f"next: look at the overlays; with true labels at hand, python evaluate.py {settings.out} TRUTH")


def _segment(paths: list[Path], settings: Settings) -> None:
    # Imported here: TensorFlow takes seconds, which --help and bad input need not wait for.
    from mrcnn import model, tiles

    network = model.load(settings.model, DETECTION_MIN_CONFIDENCE=settings.confidence)
    for path in paths:
        image = read_image(path)
        labels, scores = tiles.segment(
            network, image, settings.overlap, progress=path.name, n_views=settings.views
        )
        write_image(settings.out / OVERLAYS / f"{path.stem}.png", overlay(image, labels))
        write_labels(settings.out / f"{path.stem}.tif", labels)
        print(f"{path.name}: {len(scores)} nuclei")


def _check(settings: Settings, side: int) -> None:
    if not 0 <= settings.confidence <= 1:
        raise InputError(f"--confidence is {settings.confidence}; it must lie between 0 and 1")
    views.check(settings.views)
    if not 0 <= settings.overlap < side:
        raise InputError(f"--overlap is {settings.overlap}; it must be at least 0 and less than {side} px")


def _find_images(places: tuple[Path, ...]) -> list[Path]:
    """All images, folders opened; InputError where one is missing or two would share a result."""
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
    return list(paths.values())


def _todo(paths: list[Path], settings: Settings, weights: bytes) -> list[Path]:
    """Which images have no result of these settings and this model yet."""
    made_with = {
        "model": hashlib.sha256(weights).hexdigest(),
        "confidence": settings.confidence,
        "views": settings.views,
        "overlap": settings.overlap,
    }
    if not is_finished(settings.out, made_with):
        write_settings(settings.out, made_with)
    return [path for path in paths if not (settings.out / f"{path.stem}.tif").exists()]


if __name__ == "__main__":
    run(main, Settings, __doc__)
