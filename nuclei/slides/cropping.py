"""Cropping slides and larger images into patches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders.patches import (
    PATCH,
    is_patch,
    overview_name,
    read_patch,
    source_stem,
    starts,
    write_patch,
)
from nuclei.folders.tables import read_sources, write_sources
from nuclei.io.files import digest
from nuclei.io.images import list_images
from nuclei.io.parallel import map_ahead
from nuclei.slides.places import find_places
from nuclei.slides.readers import SUFFIXES, UnreadableRegion
from nuclei.slides.slide import MPP, Source, open_source

log = logging.getLogger(__name__)

WRITERS = 4  # threads that encode and write patches
HEAD = 2**20  # bytes of an image file that tell it from another; a slide is too large to be read whole


def crop_images(
    images: Path,
    data: Path,
    size: int = PATCH,
    stride: int = PATCH,
    mpp: float = MPP,
    source_mpp: float | None = None,
    overviews: Path | None = None,
) -> pd.DataFrame:
    """Crop every slide and plain image of a folder into patches and remember where each came from.

    Slides are cropped at `mpp` um/px, where they show tissue; plain images as they are, everywhere. Patches
    that are there already are not read again, so a run that was stopped goes on. Patches on a damaged part
    of a slide are left out, and told in one line on stderr at the end of the slide.

    Args:
        images: folder of slides and PNG, JPEG or TIFF images.
        data: where the patches `<image>_x<left>_y<top>` go, with `sources.csv` beside them.
        size: side of a patch, px.
        stride: distance between patches, px; the last of a row or column is moved back to the border.
        mpp: um/px to read slides at (see `nuclei.slides.slide.open_source`).
        source_mpp: um/px of the images that do not state it; None for plain images means "as they are".
        overviews: where a picture of each source goes (`patches.overview_name`), its longer side
            `places.OVERVIEW` px at most.

    Returns:
        One row a patch of these images: patch, source (file name), x, y (of the patch's upper left corner),
        mpp (um/px, NaN where unknown), width, height (of the source), content (what tells its file from
        another of that name); all in px at that mpp.
        `sources.csv` says the same, after the rows of patches of other images; it is also written when
        this raises, and then names the patches that were finished.

    Raises:
        InputError: no images, two of one name, a file that cannot be opened, one smaller than a patch,
            patches in `data` of another size, of the same image cut otherwise or of another image of its
            name (all found before anything is cut), a broken plain image, a disk that is full, or nothing
            but glass.
    """
    stems = _stems(_list_sources(Path(images)))
    before = _finished_before(Path(data))
    _check_size(Path(data), size)
    for path in stems.values():
        with open_source(path, mpp, source_mpp) as source:
            _check(source, size, stride, data, before)
    rows: list[Row] = []
    try:
        with tqdm(desc="cropping", unit="patch", total=0) as bar:
            for stem, path in stems.items():
                bar.set_postfix_str(path.name)
                with open_source(path, mpp, source_mpp) as source:
                    content = _content(path)
                    overview = overviews and Path(overviews) / overview_name(path.name, content)
                    places = find_places(source, size, stride, overview)
                    planned = [_row(source, stem, left, top, content) for left, top in places]
                    rows += planned
                    if source.is_slide:  # so that a run that is killed leaves word of the resolution
                        _write_table(data, before, rows)
                    _cut(source, Path(data), planned, size, bar)
    finally:
        rows = [row for row in rows if is_patch(Path(data) / row.patch)]
        if rows:
            _write_table(data, before, rows)
    if not rows:
        raise InputError(f"no patch could be cut from {images}/; the lines above say why")
    return _table(rows)


class Row(NamedTuple):
    """A row of sources.csv."""

    patch: str
    source: str
    x: int
    y: int
    mpp: float | None
    width: int
    height: int
    content: str


def _row(source: Source, stem: str, left: int, top: int, content: str) -> Row:
    mpp = None if source.mpp is None else round(source.mpp, 5)
    name = f"{stem}_x{left}_y{top}"
    return Row(name, source.path.name, left, top, mpp, source.width, source.height, content)


def _content(path: Path) -> str:
    """The size of a file in bytes, and a digest of its first HEAD bytes."""
    with path.open("rb") as file:
        return f"{path.stat().st_size}-{digest([file.read(HEAD)])}"


def _table(rows: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=Row._fields).astype({"mpp": float})


def _finished_before(data: Path) -> pd.DataFrame | None:
    """The rows that earlier runs left, of patches that are still there; None where there are none."""
    table = read_sources(data)
    if table is None:
        return None
    table = table[[is_patch(data / name) for name in table["patch"]]]
    return None if table.empty else table


def _write_table(data: Path, before: pd.DataFrame | None, rows: list[Row]) -> None:
    table = _table(rows)
    if before is not None:
        others = before[~before["patch"].isin(table["patch"])]
        table = table if others.empty else pd.concat([others, table], ignore_index=True)
    write_sources(data, table)


def _list_sources(images: Path) -> list[Path]:
    """The slides and plain images of a folder, without the files that belong to one of the slides."""
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


def _check_size(data: Path, size: int) -> None:
    """InputError where `data` holds patches of another size: one is read, whoever put it there."""
    patch = next(filter(is_patch, data.glob("*")), None)
    if patch is None:
        return
    height, width = read_patch(patch).shape[:2]
    if (height, width) != (size, size):
        raise InputError(
            f"{data}/ holds patches of {width} x {height} px, such as {patch.name}, and those to cut are "
            f"{size} x {size} px; pass --patch {width} or another --data"
        )


def _check(source: Source, size: int, stride: int, data: Path, before: pd.DataFrame | None) -> None:
    """InputError where `source` is smaller than a patch, or patches of another of its name, or of another
    grid, are there.
    """
    width, height = source.width, source.height
    if min(width, height) < size:
        at = "" if source.mpp is None else f" at {source.mpp:.3g} um/px"
        raise InputError(
            f"{source.path} is {width} x {height} px{at}, smaller than a patch of {size} px; take it out"
        )
    if before is None:
        return
    stem = source_stem(source.path.name)
    others = set(before["source"].dropna().astype(str)) - {source.path.name}
    for other in sorted(name for name in others if source_stem(name) == stem):
        raise InputError(
            f"{data}/ holds patches of {other}, and those of {source.path} would share their names; "
            "rename it or pass another --data"
        )
    if "width" not in before:  # an older version did not write it
        return
    cut = before[(before["source"] == source.path.name) & before["width"].notna()]
    if not cut.empty and tuple(cut[["width", "height"]].iloc[0]) != (width, height):
        raise InputError(
            f"{data}/ holds patches of another {source.path.name} of {cut['width'].iloc[0]:.0f} x "
            f"{cut['height'].iloc[0]:.0f} px, not {width} x {height} px, or cut with another --mpp; "
            "remove them or pass another --data"
        )
    if "content" in before and set(cut["content"].dropna()) - {_content(source.path)}:
        raise InputError(
            f"{data}/ holds patches of another {source.path.name}, or it was changed since they were cut; "
            "rename it, remove those patches or pass another --data"
        )
    on_grid = cut["x"].isin(starts(width, size, stride)) & cut["y"].isin(starts(height, size, stride))
    if not on_grid.all():
        raise InputError(
            f"{data}/ holds patches of {source.path.name} that were cut with another --stride than {stride}; "
            "pass that one, remove them or pass another --data"
        )


def _cut(source: Source, data: Path, rows: list[Row], size: int, bar: tqdm) -> None:
    """Write the patches that are not there yet; reading goes on while threads encode and write."""
    bar.total += len(rows)
    damaged: list[Row] = []

    def regions() -> Iterator[tuple[str, np.ndarray]]:
        for row in rows:
            bar.update()
            if is_patch(data / row.patch):
                continue
            try:
                yield row.patch, source.read(row.x, row.y, size, size)
            except UnreadableRegion:
                damaged.append(row)

    for _ in map_ahead(lambda region: write_patch(data, *region), regions(), WRITERS):
        pass
    if damaged:
        log.warning(
            f"{source.path}: {len(damaged)} of {len(rows)} patches lie on damaged parts of the file "
            f"(the first at x {damaged[0].x}, y {damaged[0].y}) and are left out"
        )
