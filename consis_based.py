"""Stage 1: which patches to annotate (two-stage clustering after Lou et al. 2022)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nuclei import cluster
from nuclei.cli import run
from nuclei.errors import InputError

if TYPE_CHECKING:
    from nuclei.selection.choose import Choice

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
    method: METHODS = "consistency"  # the paper's rule; `representative` is ours; the others, baselines
    k1: int = 12  # clusters of patches, so the number of patches to annotate
    budget: str | None = None  # instead of k1: a share of the pixels ("5%") or a number of patches ("12")
    k2: int = 4  # clusters of quarters within each cluster of patches
    round: int = 1  # from 2 on, what is annotated or was selected before counts as covered
    features: Literal["efficientnet_lite0", "resnet50"] = "efficientnet_lite0"  # resnet50 is downloaded
    exact_up_to: int = 50_000  # points; the two-stage criteria cluster larger sets by mini-batch KMeans
    seed: int = 0  # of the clustering
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    scheduler: str | None = None  # who takes features: local:N for N processes, or a Dask scheduler's address
    out: Path = Path("runs/selection")  # pictures of the selection, features kept for the next run
    replace: bool = False  # replace what a person edited or annotated, too; replaced/ keeps it


def main(settings: Settings) -> None:
    _check_settings(settings)
    began = time.monotonic()
    # They are slow to import: --help and wrong flags need not wait for them.
    from nuclei.selection.choose import OVERVIEWS, check_folders, choose_patches

    check_folders(settings.data, settings.out, settings.crops)
    if settings.images is not None:
        from nuclei.slides.cropping import crop_images

        crop_images(
            settings.images,
            settings.data,
            settings.patch,
            settings.stride,
            settings.mpp,
            settings.source_mpp,
            settings.out / OVERVIEWS,
            settings.replace,
        )
    choice = choose_patches(
        settings.data,
        settings.out,
        settings.k1,
        budget=settings.budget,
        k2=settings.k2,
        method=settings.method,
        number=settings.round,
        size=settings.patch,
        features=settings.features,
        exact_up_to=settings.exact_up_to,
        seed=settings.seed,
        device=settings.device,
        crops=settings.crops,
        replace=settings.replace,
        scheduler=settings.scheduler,
    )
    _report(choice, settings.data, settings.out)
    from nuclei.report.write import after_stage

    seconds = time.monotonic() - began
    after_stage("chosen", settings.out, seconds, data=settings.data, selection=settings.out)


def _check_settings(settings: Settings) -> None:
    if settings.patch < 64 or settings.patch % 2:
        raise InputError(f"--patch {settings.patch} must be even and at least 64 px")
    for name, smallest in (("stride", 1), ("k1", 1), ("k2", 1), ("round", 1), ("exact_up_to", 0)):
        if getattr(settings, name) < smallest:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {getattr(settings, name)} must be at least {smallest}")
    cluster.check(settings.scheduler)
    if settings.budget is not None:
        from nuclei.selection.budget import check_budget

        check_budget(settings.budget)
    if settings.device != "auto":
        from nuclei.devices import find_device

        find_device(settings.device)


def _report(choice: Choice, data: Path, out: Path) -> None:
    from nuclei.folders.selected import SELECTION
    from nuclei.selection.choose import CONTACT_SHEET

    print(*choice.names, sep="\n")
    made = f"{choice.path} and {out / CONTACT_SHEET}"
    done = f"Wrote {made}." if choice.is_new else f"Nothing to do: the same settings made {made} before."
    todo = (
        f"annotate these {len(choice.names)} patches (python annotations.py export), "
        "then run python main_train.py"
        if choice.path == data / SELECTION
        else f"compare them with {data / SELECTION}, which was edited by hand"
    )
    print(f"{done} Next: {todo}")


if __name__ == "__main__":
    run(
        main, Settings, "Choose the patches to annotate; edit the constants at the top or pass them as flags."
    )
