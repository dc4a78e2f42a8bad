"""Outline and measure the nuclei of images and whole slides with the trained model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from tqdm import tqdm

from mrcnn import backend
from mrcnn.config import check_takes_tiles, find_model, resolution
from mrcnn.inference import tta
from mrcnn.selftraining.start import FOLDER, MODEL, trained_or_start, warn_of_start
from nuclei import cluster
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.io.files import check_can_hold_files, check_names
from nuclei.outlines.shapes import COCO_FILE, SUFFIXES

if TYPE_CHECKING:
    from mrcnn.slides.job import SlideJob

Format = Literal["geojson", "coco", "csv", "label_tiff", "geojson_gz", "ome_zarr"]
HOW = ("confidence", "views", "overlap")  # settings of how nuclei are found
HOW_BLOCKWISE = ("mpp", "source_mpp", "region", "block", "scheduler")  # and of slides


@dataclass(frozen=True)
class Settings:
    images: tyro.conf.Positional[tuple[Path, ...]]  # images and whole slides, or folders of them
    model: Path = MODEL  # the folder of a trained model; as long as it is missing, the start weights
    out: Path = Path("segmented")  # <image>.tif goes here (ids 1..N, 0 background), overlays/<image>.png too
    format: tuple[Format, ...] = ("geojson", "coco", "csv")  # of slides: geojson(_gz), label_tiff, ome_zarr
    confidence: float = 0.4  # smallest score of a nucleus, in a view and in the mean of all, 0..1
    views: int = 1  # turned and mirrored views of each tile that are averaged, 1 to 8; more is better
    overlap: int = 64  # px that neighbouring tiles share; more than the largest nucleus is long
    mpp: float | None = None  # um per px at which slides are seen; None: that of the model's training
    source_mpp: float | None = None  # um per px of images, and of slides that do not say it themselves
    region: Path | None = None  # GeoJSON from QuPath with what to segment of a slide, or a folder of such
    block: int = 2048  # px of a slide that are one piece of work; the result does not depend on it
    scheduler: str | None = None  # local:N for N processes, or the address of a Dask scheduler; for slides


def main(settings: Settings) -> None:
    began = time.monotonic()
    model = trained_or_start(settings.model)
    _, config = find_model(model)
    check_takes_tiles(model, config)
    backend.check()
    _check(settings, side=config["IMAGE_SHAPE"][0])
    mpp = resolution(model, settings.mpp)
    paths = find_images(settings.images)
    check_can_hold_files(settings.out)
    slides, images = sort_out(paths, mpp, settings.source_mpp)
    if settings.region is not None and not slides:
        raise InputError("--region is for slides, and there is none among the images")
    how = {name: getattr(settings, name) for name in HOW}
    if images:
        _segment_images(images, model, settings.out, how)
        _export(images, settings.out, settings.format, settings.source_mpp)
    if slides:
        blockwise = {name: getattr(settings, name) for name in HOW_BLOCKWISE}
        _segment_slides(slides, model, settings.out, how | blockwise, settings.format)
    # Imported here: --help need not wait.
    from nuclei.report.write import after_stage

    # The report of a run lies beside its model, runs/mrcnn/model. The start weights are no run's.
    of_run = MODEL if settings.model.resolve() == FOLDER else settings.model
    seconds, of = time.monotonic() - began, {"segmented": settings.out, "images": settings.images}
    after_stage("segmented", of_run.parent, seconds, **of)


def _segment_images(paths: list[Path], model: Path, out: Path, how: dict) -> None:
    """Write the label images and overlays of whole images."""
    # Imported here: --help need not wait.
    from mrcnn.segmentation import OVERLAYS, segment_images

    made = segment_images(paths, model, out, **how)
    if made:
        warn_of_start(model)
    if made < len(paths):
        print(f"{len(paths) - made} of {len(paths)} images were segmented before with the same settings")
    if made:
        print(f"wrote {out}/<image>.tif and {out / OVERLAYS}/<image>.png")


def _segment_slides(
    paths: list[Path], model: Path, out: Path, how: dict, formats: tuple[Format, ...]
) -> None:
    """Segment slides block by block; ends with an InputError where some nuclei are missing."""
    from mrcnn.segmentation import OVERLAYS, segment_slides

    jobs, troubles = segment_slides(paths, model, out, **how)
    warn_of_start(model)
    print(f"wrote {out}/<slide>.parquet and {out / OVERLAYS}/<slide>.png")
    _export_slides(jobs, formats)
    if troubles:
        raise InputError("; ".join(troubles))


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
    print(f"next: look at the overlays; with true labels at hand, python evaluate.py {out} TRUTH")


def _export_slides(jobs: list[SlideJob], formats: tuple[Format, ...]) -> None:
    """Write the chosen formats of each slide from its table, which is there by now."""
    from mrcnn.slides.job import SUFFIXES as OF_SLIDES

    for form in OF_SLIDES:
        if form in formats:
            for job in tqdm(jobs, form, unit="slide", disable=None):
                job.export(form)
            hint = ": drop it on the slide in QuPath" if form.startswith("geojson") else ""
            print(f"wrote {jobs[0].out}/<slide>{OF_SLIDES[form]}{hint}")


def _check(settings: Settings, side: int) -> None:
    if not 0 <= settings.confidence <= 1:
        raise InputError(f"--confidence is {settings.confidence}; it must lie between 0 and 1")
    tta.check(settings.views)
    if settings.source_mpp is not None and not 0 < settings.source_mpp < math.inf:
        raise InputError(f"--source-mpp is {settings.source_mpp}; it must be above 0, in um per px")
    if not 0 <= settings.overlap < side:
        raise InputError(f"--overlap is {settings.overlap}; it must be at least 0 and less than {side} px")
    if settings.block < 1:
        raise InputError(f"--block is {settings.block}; it must be at least 1 px")
    cluster.check(settings.scheduler)


def find_images(places: tuple[Path, ...]) -> list[Path]:
    """All images and slides, folders opened; InputError for one that is missing, or of a bad name."""
    from nuclei.slides.cropping import list_sources

    if not places:
        raise InputError("no image given; name images or folders: python segment.py IMAGE...")
    paths: dict[str, Path] = {}
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist")
        for path in list_sources(place) if place.is_dir() else [place]:
            other = paths.setdefault(path.stem, path)
            if other != path:
                raise InputError(f"{path} and {other} would share the result {path.stem}.tif; rename one")
    check_names(paths.values())
    return list(paths.values())


def sort_out(paths: list[Path], mpp: float, source_mpp: float | None) -> tuple[list[Path], list[Path]]:
    """Those to be done block by block, and the images to be done whole; InputError for a broken one."""
    from nuclei.slides.slide import is_done_by_blocks

    slides = [path for path in paths if is_done_by_blocks(path, mpp, source_mpp)]
    return slides, [path for path in paths if path not in slides]


if __name__ == "__main__":
    run(main, Settings, __doc__)
