"""What a change of the training is worth, without a look at a test image; one JSON line out.

    python -m benchmarks.stage3.folds FOLDER --patches 12 --steps 600
    python -m benchmarks.stage3.folds FOLDER --network TRAIN_ROIS_PER_IMAGE=128 --out runs/folds_rois

FOLDER is laid out as `benchmarks.annotated_images` says. Some of its training images are held out; the others
give the annotated patches. The network is scored on the held-out images, whole, and on the patches that it
learnt: the difference says whether it fits too little or too much. With `--rounds` the unlabelled patches are
those of the held-out images. The same command goes on with a training that was cut short.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks import annotated_images
from benchmarks.annotated_images import Pair
from mrcnn.config import NucleusConfig
from mrcnn.selftraining.rounds import SelfTraining
from mrcnn.selftraining.settings import SURE, Labelling, Training
from mrcnn.selftraining.splits import Material, Source
from mrcnn.selftraining.start import GENERATED, peak_rate
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.evaluation.metrics import aji, panoptic_quality
from nuclei.folders import patches
from nuclei.folders.patches import PATCH
from nuclei.folders.runs import Run
from nuclei.io.files import read_json, write_json

Found = dict[str, tuple[np.ndarray, np.ndarray]]  # labels and scores of each image
THRESHOLDS = (0.25, 0.35, 0.4, 0.5, 0.65)  # smallest scores of a nucleus


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path]  # annotated images: images/, labels/ and splits.json
    held_out: int = 4  # training images that are scored and not learnt
    patches: int | None = 12  # annotated, of the other images in turn; 0: none; None: all there are
    steps: int = 600  # of training, in each round
    rounds: int = 0  # of pseudo labels on the held-out images
    confidence: float = SURE  # smallest score of a pseudo label
    start: str = GENERATED  # what the training begins with: generated, imagenet, or a model's folder
    learning_rate: float | None = None  # at its peak; None: as suits the start
    network: tuple[str, ...] = ()  # attributes of the network's configuration: NAME=VALUE
    views: tuple[int, ...] = (1, 4)  # turned and mirrored views that are averaged, each scored by itself
    seed: int = 0  # of the patches and the training
    out: Path = Path("runs/folds")


def main(settings: Settings) -> None:
    configure(settings.network)
    learnt, held = split(settings.folder, settings.held_out)
    record = Run(settings.out, "benchmark", asdict(settings))
    if not record.is_finished:
        record.begin()
        chosen = dict(choose(learnt, settings.patches, settings.seed))
        model = _train(settings, chosen, held)
        write_json(settings.out / "figures.json", _figures(settings, model, chosen, held))
        record.finish()
    print(json.dumps(read_json(settings.out / "figures.json")))


def configure(network: tuple[str, ...]) -> None:
    """Set attributes of the network's configuration for this process; InputError for what it has not."""
    for each in network:
        name, _, value = each.partition("=")
        if not (name.isupper() and hasattr(NucleusConfig, name)):
            raise InputError(f"--network {each}: the configuration has no {name}; see mrcnn/config.py")
        try:
            setattr(NucleusConfig, name, ast.literal_eval(value))
        except (SyntaxError, ValueError) as error:
            raise InputError(f"--network {each}: give a number, a tuple, True, False or None") from error


def split(folder: Path, held_out: int) -> tuple[dict[str, Pair], dict[str, Pair]]:
    """The training images to learn and those to score, spread evenly over the list.

    Raises:
        InputError: as `annotated_images.read_training`, or none would be left.
    """
    stems, _ = annotated_images.read_splits(folder)
    if not 0 < held_out < len(stems):
        raise InputError(
            f"--held-out is {held_out}; of {len(stems)} training images hold out 1 or more, not all"
        )
    images = annotated_images.read_training(folder, len(stems))
    held = [stems[i] for i in np.linspace(0, len(stems) - 1, held_out + 2).round().astype(int)[1:-1]]
    return {stem: images[stem] for stem in stems if stem not in held}, {stem: images[stem] for stem in held}


def choose(images: Mapping[str, Pair], count: int | None, seed: int) -> Iterator[tuple[str, Pair]]:
    """Random patches, an image after the other, until there are `count`; None: all."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(list(cut(stem, pair))).tolist() for stem, pair in images.items()]
    every = {name: pair for stem, whole in images.items() for name, pair in cut(stem, whole).items()}
    in_turn = [order[turn] for turn in range(max(map(len, orders))) for order in orders if turn < len(order)]
    for name in in_turn if count is None else in_turn[:count]:
        yield name, every[name]


def cut(stem: str, pair: Pair) -> dict[str, Pair]:
    """The patches of an image that lie side by side, by name; what is left at its edges belongs to none."""
    image, labels = pair
    corners = [(y, x) for y in range(0, len(labels), PATCH) for x in range(0, labels.shape[1], PATCH)]
    windows = {f"{stem}_{y}_{x}": np.s_[y : y + PATCH, x : x + PATCH] for y, x in corners}
    whole = {name: window for name, window in windows.items() if labels[window].shape == (PATCH, PATCH)}
    return {name: (image[window], labels[window]) for name, window in whole.items()}


def at_threshold(labels: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Of (H, W) labels 1..N with scores (N,) those whose score is at least the threshold."""
    return np.where(np.concatenate([[False], scores >= threshold])[labels], labels, 0)


def _train(settings: Settings, chosen: Mapping[str, Pair], held: Mapping[str, Pair]) -> Path:
    data, unlabelled = settings.out / "annotated", settings.out / "unlabelled"
    for name, pair in chosen.items():
        patches.write_patch(data, name, *pair)
    targets = {name: pair for stem, whole in held.items() for name, pair in cut(stem, whole).items()}
    for name, (image, _) in targets.items():
        patches.write_patch(unlabelled, name, image)
    nothing = Source(settings.out, [])
    return SelfTraining(
        Material(
            {"annotated": Source(data, sorted(chosen))} if chosen else {},
            validation=nothing,
            unlabelled=Source(unlabelled, sorted(targets)) if settings.rounds else nothing,
        ),
        settings.out / "mrcnn",
        settings.out / "pseudo",
        rounds=settings.rounds,
        training=Training(
            settings.steps,
            learning_rate=settings.learning_rate or peak_rate(settings.start, outlines=settings.patches != 0),
            seed=settings.seed,
            start=settings.start,
        ),
        labelling=Labelling(confidence=settings.confidence),
    ).run()


def _figures(settings: Settings, model: Path, chosen: Mapping[str, Pair], held: Mapping[str, Pair]) -> dict:
    """Scores of held-out images and learnt patches: of which, by views, by threshold."""
    from mrcnn import model as modellib
    from mrcnn.inference import tiling

    predictor = modellib.load(model, DETECTION_MIN_CONFIDENCE=THRESHOLDS[0]).predictor
    figures: dict = {}
    for which, pairs in {"held_out": held, "learnt": chosen}.items():
        for views in settings.views if pairs else ():
            found: Found = {
                name: tiling.segment(predictor, image, progress=name, n_views=views)
                for name, (image, _) in pairs.items()
            }
            figures.setdefault(which, {})[f"{views} views"] = {
                str(threshold): _mean_scores(pairs, found, threshold) for threshold in THRESHOLDS
            }
    return figures


def _mean_scores(pairs: Mapping[str, Pair], found: Found, threshold: float) -> dict[str, float]:
    rows = []
    for name, (_, truth) in pairs.items():
        labels = at_threshold(*found[name], threshold)
        rows.append((aji(truth, labels), *panoptic_quality(truth, labels)))
    return dict(zip(("aji", "dq", "sq", "pq"), np.mean(rows, axis=0).round(4).tolist(), strict=True))


if __name__ == "__main__":
    run(main, Settings, __doc__)
