"""Stage 1: choose the patches of a folder that are worth annotating, and show what they stand for."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nuclei.errors import InputError
from nuclei.folders.patches import PATCH, is_annotated, list_patches
from nuclei.folders.runs import Run
from nuclei.folders.selected import SELECTION, earlier_rounds, is_edited, put_selection, selected_rows
from nuclei.folders.sources import read_sources
from nuclei.io.files import check_can_hold_files, digest
from nuclei.selection.budget import patches_of_budget, pool_pixels
from nuclei.selection.elsewhere import take_features
from nuclei.selection.feature_store import FeatureStore
from nuclei.selection.pool import read_features
from nuclei.selection.quarters import KEPT, check_crops, place_quarters

# torch, scikit-learn and matplotlib are imported where they are used: bad input need not wait for them.
if TYPE_CHECKING:
    from nuclei.selection.features import Extractor
    from nuclei.selection.two_stage import Selected

FEATURES, OVERVIEWS = "features", "overviews"  # below `out`; they depend on patches and images alone
CONTACT_SHEET = "contact_sheet.png"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The patches that were chosen.

    Attributes:
        names: of the patches, in the order of their clusters.
        path: the table that names them: `<data>/selected.csv`; or `<out>/selected.csv` where somebody
            edited the other.
        is_new: whether they were chosen just now, not by an earlier run with the same settings.
    """

    names: list[str]
    path: Path
    is_new: bool


def choose_patches(
    data: Path,
    out: Path,
    k1: int = 12,
    *,
    budget: str | None = None,
    k2: int = 4,
    method: str = "consistency",
    number: int = 1,
    size: int = PATCH,
    features: str = "efficientnet_lite0",
    exact_up_to: int = 50_000,
    seed: int = 0,
    device: str = "auto",
    crops: Path | None = None,
    replace: bool = False,
    scheduler: str | None = None,
) -> Choice:
    """Choose patches and write `<data>/selected.csv`, pictures of the choice, and the quarters by cluster.

    A run that was stopped goes on, and one that was finished is not repeated while the patches and the
    settings are the same. What is replaced is kept in `replaced/` beside it.

    Args:
        data: the folder of patches.
        out: where the pictures go: contact_sheet.png, map.png and sources/; and the features, for later runs.
        k1: how many patches to choose: as many clusters of patches.
        budget: instead of `k1`: a share of the pixels ("5%") or a number of patches ("12").
        k2: clusters of quarters within each cluster of patches.
        method: of `criteria.CRITERIA` or `baselines.BASELINES`.
        number: of the round. From 2 on, what is annotated or was chosen in earlier rounds counts as covered.
        size: px, the side of all patches.
        features: the network, one of `feature_store.LENGTHS`.
        exact_up_to: patches beyond which the criteria cluster by mini-batch KMeans.
        seed: of everything random.
        device: for the network: auto, cpu, cuda, cuda:1, ...
        crops: where the quarters of the patches go, by cluster; None: nowhere.
        replace: also replace rows of selected.csv that somebody edited; otherwise the new table goes to
            `<out>/selected.csv`.
        scheduler: who takes the features; see `nuclei.cluster.workers`.

    Raises:
        InputError: no patches, fewer than asked for, a broken one or one of another size, or files of
            somebody else in `out` or `crops`.
    """
    data, out = Path(data), Path(out)
    check_folders(data, out, crops)
    names, sources = list_patches(data), read_sources(data)
    count = k1 if budget is None else patches_of_budget(budget, pool_pixels(names, sources, size), size)
    known = _covered(data, names, number)
    _check_count(data, count, len(names) - len(known))
    with FeatureStore(out / FEATURES, features) as store:
        keys = _bring_features(data, names, size, store, device, crops, scheduler)
        pool = Pool(data, names, sources, size, store, keys, known)
        how: dict = {"method": method, "count": count, "k2": k2, "exact_up_to": exact_up_to, "seed": seed}
        depends_on = how | pool.depends_on | {"round": number}
        run = Run(out, "selection", depends_on, cache=(FEATURES, OVERVIEWS))
        path = _finished(run, data, crops, number, replace)
        if path is not None:
            return Choice(run.facts["chosen"], path, is_new=False)
        chosen = _choose(pool, **how)
        table = _table(pool, chosen, number)
        run.begin()
        clusters = None if crops is None else _place(Path(crops), pool, chosen)
        path = put_selection(data, out, table, number, depends_on, replace)
        _draw(out, pool, chosen, table)
        rows = selected_rows(path.read_bytes(), number)
        run.finish(chosen=table["patch"].tolist(), selected=sorted(rows), clusters=clusters)
    return Choice(table["patch"].tolist(), path, is_new=True)


def check_folders(data: Path, out: Path, crops: Path | None) -> None:
    """InputError where results would go among files of somebody else, or cannot be written."""
    if crops is not None:
        if Path(crops).resolve() == Path(data).resolve():
            raise InputError(f"--crops and --data are both {data}; the quarters need a folder of their own")
        check_crops(crops)
    for folder in (data, out, *([] if crops is None else [crops])):
        check_can_hold_files(folder)
    Run(Path(out), "selection", {}, cache=(FEATURES, OVERVIEWS)).check()


@dataclass(frozen=True)
class Pool:
    """The patches to choose from."""

    data: Path
    names: list[str]
    sources: pd.DataFrame | None  # where they were cropped from
    size: int  # px
    store: FeatureStore
    keys: list[bytes]  # of the patches, in the store
    known: list[int]  # positions of those that are covered already

    @property
    def depends_on(self) -> dict:
        """What tells this pool from another one."""
        return {
            "features": self.store.model,
            "patch": self.size,
            "patches": self._sum_up(range(len(self.names))),
            "covered": self._sum_up(self.known),
        }

    def _sum_up(self, positions: Sequence[int]) -> str:
        parts = (f"{self.names[i]} {self.keys[i].hex()}\n".encode() for i in positions)
        return f"{len(positions)} ({digest(parts)})"


def _covered(data: Path, names: list[str], number: int) -> list[int]:
    """Positions of the patches that are annotated or were selected in earlier rounds."""
    annotated = {name for name in names if is_annotated(data / name)}
    if number == 1:
        if annotated:
            log.info(
                "%d patches are annotated already; --round 2 selects what they do not cover", len(annotated)
            )
        return []
    covered = annotated | set(earlier_rounds(data, number)["patch"])
    if not covered:
        raise InputError(f"{data}/ holds no annotated patch to go on from; leave out --round {number}")
    return [position for position, name in enumerate(names) if name in covered]


def _check_count(data: Path, count: int, free: int) -> None:
    if count > free:
        raise InputError(
            f"{data}/ holds {free} patches to choose from, fewer than K1 = {count}; "
            f"add patches or pass a smaller --k1, such as --k1 {max(1, free // 4)}"
        )


def _bring_features(
    data: Path,
    names: list[str],
    size: int,
    store: FeatureStore,
    device: str,
    crops: Path | None,
    scheduler: str | None,
) -> list[bytes]:
    """Bring the features of all patches and quarters into the store; returns the keys of the patches."""
    had = len(store)
    if scheduler is not None:
        take_features(data, names, size, store, device, crops, scheduler)

    def load_extractor() -> Extractor:
        from nuclei.selection.features import Extractor

        return Extractor(store.model, device)

    keys = read_features(data, names, size, store, load_extractor, crops)
    if had and len(store) == had:
        log.info("using the features of these patches kept in %s", store.folder)
    return keys


def _finished(run: Run, data: Path, crops: Path | None, number: int, replace: bool) -> Path | None:
    """The table that a run with the same settings wrote; None where something of it is missing or edited."""
    if not run.is_finished or not (run.folder / CONTACT_SHEET).exists():
        return None
    if crops is not None and not _is_placed(Path(crops), run.facts["clusters"], len(run.facts["chosen"])):
        return None
    edited = is_edited(data, number)
    path = (run.folder if edited else data) / SELECTION
    if edited and replace or not path.exists():
        return None
    return path if sorted(selected_rows(path.read_bytes(), number)) == run.facts["selected"] else None


def _choose(pool: Pool, method: str, count: int, k2: int, exact_up_to: int, seed: int) -> list[Selected]:
    from nuclei.selection.criteria import CRITERIA
    from nuclei.selection.two_stage import select, select_by

    store, rows = pool.store, pool.store.rows(pool.keys)
    shared: dict = {"seed": seed, "known": pool.known, "rows": rows, "keys": pool.keys}
    if method in CRITERIA:
        return select(
            store.patches, store.quarters, count, k2, exact_up_to=exact_up_to, criterion=method, **shared
        )
    return select_by(method, store.patches, store.quarters, count, **shared)


def _place(crops: Path, pool: Pool, chosen: list[Selected]) -> str:
    """Lay out the quarters of the patches by cluster; returns what tells this layout from another one."""
    keys = [key.hex() for key in pool.keys]
    clusters = [[keys[i] for i in record.members] for record in chosen]
    layout = digest([json.dumps([clusters, sorted(keys)]).encode()])
    if not _is_placed(crops, layout, len(clusters)):
        record = _layout(crops, layout)
        record.begin()
        place_quarters(crops, clusters, set(keys))
        record.finish()
    return layout


def _layout(crops: Path, layout: str) -> Run:
    return Run(crops / KEPT, "quarters", {"clusters": layout}, items=())


def _is_placed(crops: Path, layout: str | None, count: int) -> bool:
    """Whether the quarters lie there as they should, by cluster."""
    there = all((crops / str(cluster)).is_dir() for cluster in range(count))
    return there and layout is not None and _layout(crops, layout).is_finished


def _table(pool: Pool, chosen: list[Selected], number: int) -> pd.DataFrame:
    """The rows of selected.csv, with the place in the source image of patches that were cropped here."""
    sources = pool.sources
    columns = [name for name in ("source", "x", "y", "mpp") if sources is not None and name in sources]
    places: dict = {}
    if sources is not None and columns:
        places = sources.set_index("patch")[columns].to_dict("index")
    nowhere = dict.fromkeys(columns)  # of a patch that was not cropped here
    rows = []
    for record in chosen:
        name = pool.names[record.index]
        terms = {term: round(value, 4) for term, value in {"score": record.score, **record.terms}.items()}
        rows.append(
            {"patch": name, "round": number, "cluster": record.cluster, **terms, **places.get(name, nowhere)}
        )
    return pd.DataFrame(rows)


def _draw(out: Path, pool: Pool, chosen: list[Selected], table: pd.DataFrame) -> None:
    """The contact sheet, the map of the features, and the selected patches on each source image."""
    from nuclei.selection.report import write_contact_sheet, write_map, write_source_pictures

    write_contact_sheet(out / CONTACT_SHEET, pool.data, pool.names, chosen)
    write_map(out / "map.png", pool.store.patches, pool.store.rows(pool.keys), pool.names, chosen)
    if pool.sources is not None:
        sources = _of_latest_images(pool.sources)
        shown = table[table["patch"].isin(sources["patch"])]
        write_source_pictures(out / "sources", out / OVERVIEWS, shown, sources, pool.size)


def _of_latest_images(sources: pd.DataFrame) -> pd.DataFrame:
    """Without annotated patches of an image that another one of its name has replaced."""
    if "content" not in sources:
        return sources
    latest = sources.groupby("source")["content"].transform("last")
    return sources[(sources["content"] == latest) | latest.isna()]
