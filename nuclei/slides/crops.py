"""The crops that earlier runs left among the patches, and what becomes of each under the settings of now."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from nuclei.errors import InputError
from nuclei.folders.patches import is_annotated, is_patch, read_patch, source_stem
from nuclei.folders.runs import REPLACED, set_aside
from nuclei.folders.sources import SOURCES_BEGUN, read_sources, write_sources
from nuclei.slides.places import grid

log = logging.getLogger(__name__)


class Crop(NamedTuple):
    """A row of sources.csv: a patch, and where it was cut from. An older version left some values out."""

    patch: str
    source: str  # file name of the image
    x: int  # px of the upper left corner, at `mpp`
    y: int
    mpp: float | None  # um/px, where it is known
    width: int | None  # px of the whole image at `mpp`
    height: int | None
    content: str | None  # tells the image file from another one of its name
    folder: str | None  # that held the image


class Image(NamedTuple):
    """A slide or plain image as the settings of now see it."""

    path: Path
    is_slide: bool
    width: int  # px at `mpp`
    height: int
    mpp: float | None  # um/px
    content: str  # tells the file from another one of its name
    folder: str
    overview: Path | None  # where a small picture of it goes

    def crops(self, places: Iterable[tuple[int, int]]) -> list[Crop]:
        """The patches with these upper left corners, px."""
        stem, source = source_stem(self.path.name), self.path.name
        of_image = (self.mpp, self.width, self.height, self.content, self.folder)
        return [Crop(f"{stem}_x{left}_y{top}", source, left, top, *of_image) for left, top in places]


@dataclass
class Earlier:
    """The crops of earlier runs, by what becomes of them."""

    stay: list[Crop] = field(default_factory=list)
    current: list[Crop] = field(default_factory=list)  # of those, the ones that would be cut the same now
    outdated: dict[str, list[Crop]] = field(default_factory=dict)  # those that go, by the reason
    taken: set[str] = field(default_factory=set)  # names of all other patches that are there


def read_crops(data: Path) -> list[Crop]:
    """The rows of sources.csv; none where there is no such table."""
    table = read_sources(data)
    if table is None:
        return []
    table = table.reindex(columns=Crop._fields).astype(object)
    rows = table.where(table.notna(), None).itertuples(index=False)
    return [_with_integers(Crop._make(row)) for row in rows]


def _with_integers(crop: Crop) -> Crop:
    """A column with gaps is read as floats."""
    pixels: dict = {name: getattr(crop, name) for name in ("x", "y", "width", "height")}
    whole: dict = {name: int(value) for name, value in pixels.items() if value is not None}
    return crop._replace(**whole)


def as_table(crops: Sequence[Crop]) -> pd.DataFrame:
    """One row a crop, with the columns of `Crop`; `mpp` is NaN where it is unknown."""
    return pd.DataFrame(crops, columns=Crop._fields).astype({"mpp": float})


def write_crops(data: Path, earlier: Sequence[Crop], crops: Sequence[Crop] = ()) -> None:
    """Write sources.csv: those of `earlier` whose names are not among `crops`, then these."""
    names = {crop.patch for crop in crops}
    write_sources(data, as_table([*(crop for crop in earlier if crop.patch not in names), *crops]))


def note_crops(data: Path, crops: Sequence[Crop]) -> None:
    """Tell the next run, should this one be killed, which patches are not the user's: cut or about to be."""
    write_sources(data, as_table(crops), SOURCES_BEGUN)


def sort_crops(
    data: Path, images: Mapping[str, Image], folder: str, size: int, stride: int, replace: bool = False
) -> Earlier:
    """What becomes of the crops that earlier runs left in `data`; nothing is changed yet.

    Outdated are the crops of images that are gone from `folder` or have changed, and those that the
    settings of now do not cut. Annotated ones stay where their size and resolution are those of now.

    Args:
        data: the folder of patches.
        images: by the first part of their patches' names (`patches.source_stem`).
        folder: that holds the images, absolute.
        size: side of a patch, px.
        stride: distance between patches, px.
        replace: annotated crops of another size or resolution are outdated like any other.

    Raises:
        InputError: there are such crops, without `replace`, or patches of another size that were not cut
            from these images.
    """
    earlier, misfits = Earlier(taken=_patches(data)), []
    judged: set[str] = set()
    for (source, its_folder), crops in _by_source(read_crops(data)).items():
        image = images.get(source_stem(source))
        if image is None and its_folder != folder:
            earlier.stay += crops
            continue
        judged |= {crop.patch for crop in crops}
        same_size = _size(data / crops[0].patch) == (size, size)
        places = set(grid(image.width, image.height, size, stride)) if image else set()
        for crop in crops:
            why, fits = _judge(crop, image, same_size, places)
            if why is None:
                earlier.current.append(crop)
            if why is None or fits and is_annotated(data / crop.patch):
                earlier.stay.append(crop)
            elif replace or not is_annotated(data / crop.patch):
                earlier.outdated.setdefault(why, []).append(crop)
            else:
                misfits.append(crop.patch)
    _check_size(data, earlier.taken - judged, size)
    if misfits:
        raise InputError(
            f"{data}/ holds annotated patches cut at another size or resolution ({len(misfits)}, such "
            f"as {misfits[0]}); name another --data, or pass --replace: {data}/{REPLACED}/ then keeps them"
        )
    earlier.taken -= {crop.patch for crop in chain(earlier.current, *earlier.outdated.values())}
    return earlier


def set_outdated_aside(data: Path, earlier: Earlier) -> None:
    """Move the outdated crops to a dated name, and say why in one line."""
    gone = list(chain(*earlier.outdated.values()))
    # A row leaves sources.csv before its patch goes.
    note_crops(data, [*earlier.stay, *gone])
    write_crops(data, earlier.stay)
    if gone:
        aside = set_aside(data / crop.patch for crop in gone)
        reasons = "; ".join(f"{len(group)} {why}" for why, group in earlier.outdated.items())
        log.info("the patches that are not cut any more are now in %s: %s", aside, reasons)


def _judge(
    crop: Crop, image: Image | None, same_size: bool, places: Collection[tuple[int, int]]
) -> tuple[str | None, bool]:
    """Why a crop is outdated, None if it is not, and whether its size and resolution are those of now."""
    if image is None:
        return f"of {crop.source}, which is gone", same_size
    if crop.source != image.path.name or crop.content not in (None, image.content):
        return f"of an earlier {crop.source}", same_size and crop.mpp == image.mpp
    same_scale = crop.width is None or (crop.width, crop.height) == (image.width, image.height)
    if same_size and same_scale and (crop.x, crop.y) in places:
        return None, True
    return "cut with another --stride, --patch, --mpp or --source-mpp", same_size and same_scale


def _by_source(crops: Iterable[Crop]) -> dict[tuple[str, str | None], list[Crop]]:
    """The crops of each image file, by its name and folder."""
    groups: dict[tuple[str, str | None], list[Crop]] = {}
    for crop in crops:
        groups.setdefault((crop.source, crop.folder), []).append(crop)
    return groups


def _size(patch: Path) -> tuple[int, int]:
    """Height and width, px."""
    return read_patch(patch).shape[:2]


def _patches(data: Path) -> set[str]:
    """The names of all patches in a folder that may be absent."""
    return {path.name for path in data.glob("*") if is_patch(path)}


def _check_size(data: Path, others: Collection[str], size: int) -> None:
    """InputError where patches that were not cut from these images have another size: one is read."""
    if not others:
        return
    name = min(others)
    height, width = _size(data / name)
    if (height, width) != (size, size):
        raise InputError(
            f"{data}/ holds patches of {width} x {height} px, such as {name}, and those to cut are "
            f"{size} x {size} px; pass --patch {width} or another --data"
        )
