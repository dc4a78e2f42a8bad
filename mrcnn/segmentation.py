"""Outline the nuclei of many images: results on disk, each complete or absent, only what is missing made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrcnn.config import find_model, fingerprint, resolution
from nuclei.cluster import workers
from nuclei.errors import InputError
from nuclei.folders.runs import Run
from nuclei.io.images import is_grey, read_image, write_image
from nuclei.io.locks import alone
from nuclei.outlines import results
from nuclei.pictures import overlay
from nuclei.slides.regions import find_region

if TYPE_CHECKING:
    from mrcnn.slides.job import SlideJob

OVERLAYS = "overlays"

log = logging.getLogger(__name__)


def segment_images(
    paths: Sequence[Path],
    model: Path,
    out: Path,
    *,
    confidence: float = 0.4,
    views: int = 1,
    overlap: int = 64,
) -> int:
    """Write `<image>.tif`, its scores and `overlays/<image>.png` for each image that has none of these yet.

    Results of another model or other settings are set aside, and so is that of another image of the same
    name. The folder is that of `nuclei.outlines.results`.

    Args:
        paths: images, no two of one stem.
        model: the folder of a trained model.
        out: where the results go; it holds nothing else.
        confidence: smallest score of a nucleus, 0..1.
        views: of test-time augmentation, 1 to 8.
        overlap: px that neighbouring tiles share.

    Returns:
        how many images were segmented now.

    Raises:
        InputError: a broken image, no model, files of others in `out`, or it cannot be written.
    """
    for path in paths:
        if path.resolve().parent in (out.resolve(), (out / OVERLAYS).resolve()):
            raise InputError(f"{path} lies where the results go; name another --out")
    run = _run(model, out, confidence, views, overlap)
    run.check()
    # A broken image shows before anything slow starts.
    pixels = {path: _fingerprint(path) for path in paths}
    with alone(out):
        run.begin()
        todo = [path for path in paths if not results.is_written(out, path.stem, pixels[path])]
        if todo:
            _segment(todo, pixels, model, run)
        run.finish()
    return len(todo)


def _fingerprint(path: Path) -> str:
    """Of the pixels of an image; InputError where it is broken, and a warning where it is grey."""
    image = read_image(path)
    if is_grey(image):
        log.warning("%s is grey; the network learnt nuclei in the colours of their stain", path)
    return results.fingerprint(image)


def segment_slides(
    paths: Sequence[Path],
    model: Path,
    out: Path,
    *,
    confidence: float = 0.4,
    views: int = 1,
    overlap: int = 64,
    mpp: float | None = None,
    source_mpp: float | None = None,
    region: Path | None = None,
    block: int = 2048,
    scheduler: str | None = None,
) -> tuple[list[SlideJob], list[str]]:
    """Write the nuclei of slides of any size, block by block; see `mrcnn.slides.job` for what is written.

    What is finished stays, and a killed run goes on at the next block. Results of another model or other
    settings are set aside.

    Args:
        paths: slides, or images of any size, no two of one stem.
        model: the folder of a trained model.
        out: where the results go; it holds nothing else.
        confidence, views, overlap: as in `segment_images`.
        mpp: um/px at which the network sees the slides; None: that of its training.
        source_mpp: um/px of slides that state none, and of plain images.
        region: a GeoJSON file, or a folder of such files named like the slides; None: all tissue.
        block: px of a block, the work that is done at once; results do not depend on it.
        scheduler: see `nuclei.cluster.workers`.

    Returns:
        the slides with their results, and for each that lacks some of its nuclei a line that says which.

    Raises:
        InputError: a slide, the region, the model or the scheduler cannot be used, or a disk is full.
    """
    from mrcnn.inference.tiling import sides
    from mrcnn.slides.job import How, SlideJob

    run = _run(model, out, confidence, views, overlap)
    run.check()
    side = sides(find_model(model)[1]["IMAGE_SHAPE"][0])[-1]
    mpp = resolution(model, mpp)
    how = How(model, run.depends_on["model"], side, confidence, views, overlap, mpp, source_mpp, block)
    jobs = [SlideJob(path, out, how, None if region is None else find_region(region, path)) for path in paths]
    for job in jobs:
        job.check()
    with alone(out), workers(scheduler) as hands:
        run.begin()
        troubles = [trouble for job in jobs if (trouble := job.make(hands))]
        if not troubles:
            run.finish()
    return jobs, troubles


def _run(model: Path, out: Path, confidence: float, views: int, overlap: int) -> Run:
    """What all results of the folder depend on, those of images and of slides."""
    depends_on = {
        "model": fingerprint(model), "confidence": confidence, "views": views, "overlap": overlap
    }  # fmt: skip
    return Run(out, "segmentation", depends_on)


def _segment(paths: Sequence[Path], pixels: dict[Path, str], model: Path, run: Run) -> None:
    # Imported here: TensorFlow takes seconds, which --help and bad input need not wait for.
    from mrcnn import model as modellib
    from mrcnn.inference import tiling

    confidence = run.depends_on["confidence"]
    predictor = modellib.load(model, DETECTION_MIN_CONFIDENCE=confidence).predictor
    overlap, views = run.depends_on["overlap"], run.depends_on["views"]
    for path in paths:
        image = read_image(path)
        labels, scores = tiling.segment(predictor, image, overlap, progress=path.name, n_views=views)
        results.set_aside(run.folder, path.stem)
        write_image(run.folder / OVERLAYS / f"{path.stem}.png", overlay(image, labels))
        results.write(run.folder, path.name, pixels[path], labels, scores)
        log.info("%s: %d nuclei", path.name, len(scores))
