"""What every peer does around its training: patches in, label images out, what is finished kept.

Without `--longest` a peer is trained once. With it, `benchmarks.peers.search` first looks for the time and
the learning rate that suit the patches.

It runs in the peers' own environments: it may import of nuclei only what their requirements allow.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from benchmarks.peers.peer import Lesson, Peer
from benchmarks.peers.search import best_lesson
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.patches import is_annotated, list_patches, read_masks, read_patch
from nuclei.folders.runs import Run
from nuclei.io.files import write_json
from nuclei.io.images import list_images, read_image, write_labels

MODEL, TRIALS, RECORD = "model", "trials", "peer.json"


@dataclass(frozen=True)
class Settings:
    data: Path  # folder of patches; those with masks are trained on
    images: Path  # folder of the images to segment
    out: Path  # gets <image>.tif, the trained model and peer.json
    minutes: float = 36.0  # of training, wall clock
    longest: float | None = None  # minutes; search from `minutes` up to this for what suits the patches
    start: Path | None = None  # the `model` of an earlier run of this peer, to begin with
    seed: int = 0


def run_peer(peer: Peer, description: str) -> None:
    """The program of a peer: `main` with the settings of the command line."""
    run(lambda settings: main(settings, peer), Settings, description)


def main(settings: Settings, peer: Peer) -> None:
    """Train where that is not done, then segment the images that have no result yet.

    Raises:
        InputError: a package is missing, there is nothing to train on or to segment, or `settings.out` holds
            something else.
    """
    versions = installed(peer)
    if not settings.minutes > 0:
        raise InputError(f"--minutes is {settings.minutes:g}; it must be positive")
    if settings.start and not settings.start.is_dir():
        raise InputError(f"--start is {settings.start}; give the folder {MODEL}/ of an earlier run")
    images = images_to_segment(settings.images)
    names = annotated(settings.data)
    asked = {"peer": peer.name, **asdict(settings), "patches": names}
    del asked["images"], asked["out"]  # more images need no new training
    model = settings.out / MODEL
    run = Run(settings.out, "benchmark", asked)
    if run.is_finished:
        print(f"{model} is trained already")
    else:
        run.begin()
        _train(settings, peer, names, {"versions": versions, "weights": peer.weights, **asked})
        run.finish()
    _segment(settings.out, images, model, peer)


def installed(peer: Peer) -> dict[str, str]:
    """Versions of the peer's packages; InputError where one is not installed."""
    try:
        return {package: metadata.version(package) for package in peer.packages}
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed in this environment; make the one of "
            f"benchmarks/peers/requirements-{peer.name}.txt and run its python"
        ) from error


def annotated(data: Path) -> list[str]:
    """Names of the annotated patches in `data`, sorted; InputError where there is none."""
    names = [name for name in list_patches(data) if is_annotated(data / name)]
    if not names:
        raise InputError(f"{data}/ holds no annotated patch; put masks into <patch>/masks/")
    return names


def images_to_segment(folder: Path) -> list[Path]:
    """The image files in `folder`; InputError where there is none or two differ in the suffix alone."""
    images = list_images(folder)
    if len({path.stem for path in images}) < len(images):
        raise InputError(f"{folder} holds images that differ in their suffix alone; rename or remove some")
    return images


def _train(settings: Settings, peer: Peer, names: list[str], record: dict) -> None:
    pairs = [(read_patch(settings.data / name), read_masks(settings.data / name)) for name in names]
    if not any(labels.any() for _, labels in pairs):
        raise InputError(f"the annotated patches in {settings.data}/ hold no nucleus at all")
    lesson = Lesson(settings.minutes * 60, start=settings.start, seed=settings.seed)
    trials: list[dict] = []
    if settings.longest is not None:
        lesson, trials = best_lesson(peer, pairs, lesson, settings.longest * 60, settings.out / TRIALS)
    model = settings.out / MODEL
    model.mkdir(exist_ok=True)
    began = time.monotonic()
    record |= peer.train(model, pairs, lesson)
    record |= {"rate": lesson.rate, "trials": trials}
    record["training_minutes"] = round((time.monotonic() - began) / 60, 2)
    write_json(settings.out / RECORD, record)


def _segment(out: Path, images: list[Path], model: Path, peer: Peer) -> None:
    missing = [path for path in images if not (out / f"{path.stem}.tif").exists()]
    if not missing:
        print(f"{out} is finished: {len(images)} images are segmented")
        return
    segment = peer.load(model)
    for path in tqdm(missing, desc=f"{peer.name} segments", unit="image"):
        write_labels(out / f"{path.stem}.tif", segment(read_image(path)))
    print(f"{len(missing)} images segmented -> {out}; the training is described in {out / RECORD}")
