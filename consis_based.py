"""Stage 1: which patches to annotate (two-stage clustering after Lou et al. 2022)."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.patches import is_annotated, list_patches
from nuclei.folders.tables import SELECTION, read_selection_table, read_sources, write_selection
from nuclei.io.files import write_settings
from nuclei.selection.budget import check_budget, patches_of_budget, pool_pixels
from nuclei.selection.feature_store import FeatureStore
from nuclei.selection.pool import read_features
from nuclei.selection.quarters import check_crops, place_quarters

# torch, scikit-learn, matplotlib and openslide are imported where they are used: --help and bad input need
# not wait for them.
if TYPE_CHECKING:
    from nuclei.selection.features import Extractor
    from nuclei.selection.two_stage import Selected

METHODS = Literal[
    "representative", "consistency", "random", "kmeans", "k-center", "typiclust", "facility-location"
]


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the patches to choose from; selected.csv is written here
    crops: Path | None = Path("data_30000_cut")  # where quarters of the patches go, by cluster; None: nowhere
    images: Path | None = None  # a folder of images and whole slides to crop into data first
    stride: int = 256  # px between crops of an image; matters with images only
    mpp: float = 0.25  # um per px at which slides are read; matters with images only
    source_mpp: float | None = None  # um per px of images and slides that do not say it themselves
    patch: int = 256  # px, the side of a patch
    method: METHODS = "representative"  # `consistency` is the paper's criterion; from `random` on, baselines
    k1: int = 12  # clusters of patches, so the number of patches to annotate
    budget: str | None = None  # instead of k1: a share of the pixels ("5%") or a number of patches ("12")
    k2: int = 4  # clusters of quarters within each cluster of patches
    round: int = 1  # from 2 on, what is annotated or was selected before counts as covered
    features: Literal["efficientnet_lite0", "resnet50"] = "efficientnet_lite0"  # resnet50 is downloaded
    exact_up_to: int = 50_000  # points; the two-stage criteria cluster larger sets by mini-batch KMeans
    seed: int = 0  # of the clustering
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    out: Path = Path("runs/selection")  # pictures of the selection, features kept for the next run


OVERVIEWS = "overviews"  # below `out`: a small picture of each source image


def main(settings: Settings) -> None:
    _check_settings(settings)
    data, size, out = settings.data, settings.patch, settings.out
    if settings.images is not None:
        from nuclei.slides.cropping import crop_images

        crop_images(
            settings.images,
            data,
            size,
            settings.stride,
            settings.mpp,
            settings.source_mpp,
            overviews=out / OVERVIEWS,
        )
    names, sources = list_patches(data), read_sources(data)
    count = settings.k1
    if settings.budget is not None:
        count = patches_of_budget(settings.budget, pool_pixels(names, sources, size), size)
    earlier = _earlier_rounds(data, settings.round)
    known = _covered(data, names, earlier, settings.round)
    _check_count(data, count, len(names) - len(known))

    with FeatureStore(out / "features", settings.features) as store:
        keys = _features(data, names, size, store, settings.device, settings.crops)
        chosen = _choose(settings, store, keys, count, known)

        if settings.crops is not None:
            _place(settings.crops, keys, chosen)
        table = _table(names, chosen, sources, settings.round)
        before = write_selection(data, pd.concat([earlier, table]) if len(earlier) else table)
        if before is not None:
            print(f"the selection that was there before is kept in {before}", file=sys.stderr)
        _draw(out, data, names, store, keys, chosen, table, sources, size)
        write_settings(out, asdict(settings))

    print(*table["patch"], sep="\n")
    print(
        f"Wrote {data}/selected.csv and {out}/contact_sheet.png. Next: annotate these {len(table)} patches "
        "(python annotations.py export), then run python main_train.py"
    )


def _check_settings(settings: Settings) -> None:
    if settings.patch < 64 or settings.patch % 2:
        raise InputError(f"--patch {settings.patch} must be even and at least 64 px")
    for name, smallest in (("stride", 1), ("k1", 1), ("k2", 1), ("round", 1), ("exact_up_to", 0)):
        if getattr(settings, name) < smallest:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {getattr(settings, name)} must be at least {smallest}")
    if settings.budget is not None:
        check_budget(settings.budget)
    if settings.crops is not None:
        if settings.crops.resolve() == settings.data.resolve():
            raise InputError(
                f"--crops and --data are both {settings.data}; the quarters need a folder of their own"
            )
        check_crops(settings.crops)


def _earlier_rounds(data: Path, number: int) -> pd.DataFrame:
    """The rows of selected.csv that rounds before `number` chose; none for the first round."""
    if number == 1:
        return pd.DataFrame(columns=["patch", "round"])
    table = read_selection_table(data)
    if "round" not in table:
        table.insert(1, "round", 1)
    if not table.empty and not pd.api.types.is_numeric_dtype(table["round"]):
        raise InputError(f"{data}/{SELECTION} has rounds that are not numbers; mend the table")
    # A row that somebody added by hand may have none.
    table["round"] = table["round"].fillna(1).astype(int)
    return table[table["round"] < number]


def _covered(data: Path, names: list[str], earlier: pd.DataFrame, number: int) -> list[int]:
    """Positions of the patches that are annotated or were selected in earlier rounds."""
    annotated = {name for name in names if is_annotated(data / name)}
    if number == 1:
        if annotated:
            print(
                f"{len(annotated)} patches are annotated already; --round 2 selects what they do not cover",
                file=sys.stderr,
            )
        return []
    covered = annotated | set(earlier["patch"])
    if not covered:
        raise InputError(f"{data}/ holds no annotated patch to go on from; leave out --round {number}")
    return [position for position, name in enumerate(names) if name in covered]


def _check_count(data: Path, count: int, free: int) -> None:
    if count > free:
        raise InputError(
            f"{data}/ holds {free} patches to choose from, fewer than K1 = {count}; "
            f"add patches or pass a smaller --k1, such as --k1 {max(1, free // 4)}"
        )


def _features(
    data: Path, names: list[str], size: int, store: FeatureStore, device: str, crops: Path | None
) -> list[bytes]:
    """Bring the features of all patches and quarters into the store; returns the keys of the patches."""
    had = len(store)

    def load_extractor() -> Extractor:
        from nuclei.selection.features import Extractor

        return Extractor(store.model, device)

    keys = read_features(data, names, size, store, load_extractor, crops)
    if had and len(store) == had:
        print(f"using the features of these patches kept in {store.folder}", file=sys.stderr)
    return keys


def _choose(
    settings: Settings, store: FeatureStore, keys: list[bytes], count: int, known: list[int]
) -> list[Selected]:
    from nuclei.selection.criteria import CRITERIA
    from nuclei.selection.two_stage import select, select_by

    pool = {"rows": store.rows(keys), "keys": keys, "seed": settings.seed, "known": known}
    if settings.method in CRITERIA:
        return select(
            store.patches,
            store.quarters,
            count,
            settings.k2,
            exact_up_to=settings.exact_up_to,
            criterion=settings.method,
            **pool,
        )
    return select_by(settings.method, store.patches, store.quarters, count, **pool)


def _place(crops: Path, keys: list[bytes], chosen: list[Selected]) -> None:
    """Lay out the quarters of the patches by cluster."""
    hexes = [key.hex() for key in keys]
    place_quarters(crops, [[hexes[i] for i in record.members] for record in chosen], set(hexes))


def _table(
    names: list[str], chosen: list[Selected], sources: pd.DataFrame | None, number: int
) -> pd.DataFrame:
    """The rows of selected.csv, with the place in the source image of patches that were cropped here."""
    columns = [name for name in ("source", "x", "y", "mpp") if sources is not None and name in sources]
    places = sources.set_index("patch")[columns].to_dict("index") if columns else {}
    nowhere = dict.fromkeys(columns)  # of a patch that was not cropped here
    rows = []
    for record in chosen:
        name = names[record.index]
        terms = {term: round(value, 4) for term, value in {"score": record.score, **record.terms}.items()}
        rows.append(
            {"patch": name, "round": number, "cluster": record.cluster, **terms, **places.get(name, nowhere)}
        )
    return pd.DataFrame(rows)


def _draw(
    out: Path,
    data: Path,
    names: list[str],
    store: FeatureStore,
    keys: list[bytes],
    chosen: list[Selected],
    table: pd.DataFrame,
    sources: pd.DataFrame | None,
    size: int,
) -> None:
    """The contact sheet, the map of the features, and the selected patches on each source image."""
    from nuclei.selection.report import write_contact_sheet, write_map, write_source_pictures

    write_contact_sheet(out / "contact_sheet.png", data, names, chosen)
    write_map(out / "map.png", store.patches, store.rows(keys), chosen)
    if sources is not None:
        write_source_pictures(out / "sources", out / OVERVIEWS, table, sources, size)


if __name__ == "__main__":
    run(
        main, Settings, "Choose the patches to annotate; edit the constants at the top or pass them as flags."
    )
