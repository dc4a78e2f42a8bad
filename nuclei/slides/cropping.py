"""Cropping slides and larger images into patches."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders.patches import (
    PATCH,
    checked,
    is_patch,
    overview_name,
    read_patch,
    source_stem,
    write_patch,
)
from nuclei.folders.runs import Run
from nuclei.io.files import digest, is_hidden
from nuclei.io.images import is_grey, list_images, read_image
from nuclei.io.locks import alone
from nuclei.io.parallel import map_ahead
from nuclei.slides.crops import (
    Crop,
    Earlier,
    Image,
    as_table,
    note_crops,
    set_outdated_aside,
    sort_crops,
    write_crops,
)
from nuclei.slides.levels import UnreadableRegion
from nuclei.slides.places import find_places, grid
from nuclei.slides.readers import SUFFIXES
from nuclei.slides.slide import MPP, Source, fingerprint, open_source

WRITERS = 4  # threads that encode and write patches
RECORD = "sources.json"  # the record of the run, beside sources.csv

log = logging.getLogger(__name__)


def crop_images(
    images: Path,
    data: Path,
    size: int = PATCH,
    stride: int = PATCH,
    mpp: float = MPP,
    source_mpp: float | None = None,
    overviews: Path | None = None,
    replace: bool = False,
) -> pd.DataFrame:
    """Crop every slide and plain image of a folder into patches and remember where each came from.

    Slides are cropped at `mpp` um/px, where they show tissue; plain images as they are, everywhere. Patches
    on a damaged part of a slide are left out, which a warning tells.

    A run that was stopped goes on. After a change of the images or of the settings, patches that are the same
    stay, and those that are not cut any more are kept in `<data>/replaced/`, unless they are annotated.

    Args:
        images: folder of slides and images.
        data: where the patches `<image>_x<left>_y<top>` go, with `sources.csv` beside them.
        size: side of a patch, px.
        stride: distance between patches, px; the last of a row or column is moved back to the border.
        mpp: um/px to read slides at (see `nuclei.slides.slide.open_source`).
        source_mpp: um/px of the images that do not state it; None for plain images means "as they are".
        overviews: where a picture of each source goes (`patches.overview_name`), its longer side
            `places.OVERVIEW` px at most.
        replace: keep annotated patches that have another size or resolution in `<data>/replaced/` too.

    Returns:
        One row a patch that was cut: the columns of `nuclei.slides.crops.Crop`; px at `mpp`, NaN where that
        is unknown. `sources.csv` says the same, after the rows of the other patches that were cut.

    Raises:
        InputError: no images, two of one name, a file that cannot be opened, one smaller than a patch,
            annotated patches of another size or resolution, patches of another size that were not cut here
            (all found before anything is cut), a broken plain image, a disk that is full, or nothing
            but glass. Patches that were finished stay.
    """
    data, folder = Path(data), str(Path(images).resolve())
    seen = {
        stem: _look_at(path, folder, overviews, size, mpp, source_mpp)
        for stem, path in _stems(list_sources(Path(images))).items()
    }
    earlier = sort_crops(data, seen, folder, size, stride, replace)
    record = Run(data, "crops", _depends_on(seen, folder, size, stride), items=(), record=RECORD)
    if _nothing_to_do(record, earlier, seen):
        log.info("the patches of %s/ are all there", images)
        return as_table(earlier.current)
    _check_pixels(seen.values())
    with alone(data):
        set_outdated_aside(data, earlier)
        record.begin()
        crops = _cut_all(data, seen, earlier, size, stride, (mpp, source_mpp))
        if not crops:
            raise InputError(f"no patch could be cut from {images}/; the lines above say why")
        record.finish(patches=_sum_up(crops))
        return as_table(crops)


def _look_at(
    path: Path, folder: str, overviews: Path | None, size: int, mpp: float, source_mpp: float | None
) -> Image:
    """InputError where the image is smaller than a patch."""
    with open_source(path, mpp, source_mpp) as source:
        width, height = source.width, source.height
        if min(width, height) < size:
            at = "" if source.mpp is None else f" at {source.mpp:.3g} um/px"
            raise InputError(
                f"{path} is {width} x {height} px{at}, smaller than a patch of {size} px; take it out"
            )
        content = fingerprint(path)
        overview = overviews and Path(overviews) / overview_name(path.name, content)
        rounded = None if source.mpp is None else round(source.mpp, 5)
        return Image(path, source.is_slide, width, height, rounded, content, folder, overview)


def _check_pixels(seen: Collection[Image]) -> None:
    """InputError for a plain image that is damaged in any part, or grey; slides are read piece by piece."""
    for image in tqdm(seen, "checking the images", unit="image", leave=False, delay=2):
        if not image.is_slide:
            checked(read_image(image.path), image.path)


def _depends_on(seen: Mapping[str, Image], folder: str, size: int, stride: int) -> dict:
    rows = (f"{i.path.name} {i.content} {i.width} {i.height} {i.mpp}\n".encode() for i in seen.values())
    return {"folder": folder, "images": f"{len(seen)} ({digest(rows)})", "size": size, "stride": stride}


def _sum_up(crops: Sequence[Crop]) -> str:
    rows = (" ".join(map(str, crop)).encode() for crop in crops)
    return f"{len(crops)} ({digest(rows)})"


def _nothing_to_do(record: Run, earlier: Earlier, seen: Mapping[str, Image]) -> bool:
    """Whether a run with these settings and images was finished, and all that it made is there."""
    if not record.is_finished or earlier.outdated or record.facts["patches"] != _sum_up(earlier.current):
        return False
    return all(image.overview is None or image.overview.exists() for image in seen.values())


def _cut_all(
    data: Path,
    seen: Mapping[str, Image],
    earlier: Earlier,
    size: int,
    stride: int,
    resolution: tuple[float, float | None],
) -> list[Crop]:
    """Cut all images at `resolution` (mpp, source_mpp); returns the rows of what is there in the end."""
    crops: dict[str, list[Crop]] = {}
    for stem, image in seen.items():  # of a slide, they are known once its tissue is
        places = [] if image.is_slide else grid(image.width, image.height, size, stride)
        crops[stem] = [crop for crop in image.crops(places) if crop.patch not in earlier.taken]

    try:
        note_crops(data, list(chain(*crops.values())))
        with tqdm(desc="cropping", unit="patch", total=0) as bar:
            for stem, image in seen.items():
                bar.set_postfix_str(image.path.name)
                with open_source(image.path, *resolution) as source:
                    planned = image.crops(find_places(source, size, stride, image.overview))
                    planned = _ours(source, data, planned, earlier.taken, size)
                    if planned != crops[stem]:
                        crops[stem] = planned
                        note_crops(data, list(chain(*crops.values())))
                    _cut(source, data, planned, size, bar)
    finally:
        for stem, planned in crops.items():
            crops[stem] = [crop for crop in planned if is_patch(data / crop.patch)]
        write_crops(data, earlier.stay, list(chain(*crops.values())))
        note_crops(data, [])
    return list(chain(*crops.values()))


def _ours(source: Source, data: Path, crops: Iterable[Crop], taken: Collection[str], size: int) -> list[Crop]:
    """Those whose name no other patch has; one that shows the same is the same."""

    def shows_the_same(crop: Crop) -> bool:
        try:
            region = source.read(crop.x, crop.y, size, size)
        except UnreadableRegion:
            return False
        return np.array_equal(read_patch(data / crop.patch), region)

    crops = list(crops)
    ours = [crop for crop in crops if crop.patch not in taken or shows_the_same(crop)]
    others = set(crops) - set(ours)
    if others:
        log.warning(
            "%s: %d of %d patches are not cut, since others in %s/ have their names, such as %s",
            source.path,
            len(others),
            len(crops),
            data,
            min(others).patch,
        )
    return ours


def list_sources(images: Path) -> list[Path]:
    """The slides and plain images of a folder, without the files that belong to one of the slides."""
    deeper = {path.parent for path in images.glob("*/*") if path.suffix.lower() in SUFFIXES}
    left_out = sorted(folder.name for folder in deeper if not is_hidden(folder))
    if left_out:
        log.warning("%s: left out the folders %s; put all images into one", images, ", ".join(left_out))
    try:
        paths = list_images(images, SUFFIXES)
        # A Hamamatsu .vms or .vmu names the JPEG files beside it that hold its pixels.
        indices = [
            path.read_text("utf-8", "replace") for path in paths if path.suffix.lower() in (".vms", ".vmu")
        ]
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read: {error.strerror}; check its permissions"
        ) from error
    parts = {line.partition("=")[2].strip() for text in indices for line in text.splitlines()}
    return [path for path in paths if path.name not in parts]


def _stems(paths: list[Path]) -> dict[str, Path]:
    """Images by the first part of their patches' names; InputError where two would share it.

    On Windows and macOS, names that differ in case alone are one.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(source_stem(path.name).casefold(), path)
        if other != path:
            raise InputError(f"the patches of {path} and {other} would share their names; rename one")
    return {source_stem(path.name): path for path in found.values()}


def _cut(source: Source, data: Path, crops: list[Crop], size: int, bar: tqdm) -> None:
    """Write the patches that are not there yet; reading goes on while threads encode and write."""
    bar.total += len(crops)
    damaged: list[Crop] = []
    grey: list[Crop] = []

    def regions() -> Iterator[tuple[str, np.ndarray]]:
        for crop in crops:
            bar.update()
            if is_patch(data / crop.patch):
                continue
            try:
                region = source.read(crop.x, crop.y, size, size)
            except UnreadableRegion:
                damaged.append(crop)
                continue
            if is_grey(region):
                grey.append(crop)
            else:
                yield crop.patch, region

    for _ in map_ahead(lambda region: write_patch(data, *region), regions(), WRITERS):
        pass
    for left_out, where in ((damaged, "lie on damaged parts of the file"), (grey, "show no colour")):
        if left_out:
            log.warning(
                "%s: %d of %d patches %s (the first at x %d, y %d) and are left out",
                source.path, len(left_out), len(crops), where, left_out[0].x, left_out[0].y,
            )  # fmt: skip
