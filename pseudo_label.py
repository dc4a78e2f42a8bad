"""Stage 3: learn from the synthetic pairs, label the unlabelled patches, learn again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from mrcnn import backend
from mrcnn.config import WEIGHTS, NucleusConfig, fingerprint
from mrcnn.inference import tta
from mrcnn.selftraining import splits
from mrcnn.selftraining.splits import Source
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.pairs import check_folder
from nuclei.io.files import (
    atomic_folder,
    changes,
    check_can_hold_files,
    check_is_ours,
    digest,
    is_finished,
    overlap,
    start,
    write_settings,
)

# Keras and matplotlib are imported where they are used: --help and bad input need not wait.
if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN
    from mrcnn.selftraining.patch_dataset import PatchDataset
    from mrcnn.selftraining.validation import Validation


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the patches; the annotated ones are trained on, the others are labelled
    synthetic: Path | None = Path("data_synthetic")  # the synthetic pairs; None trains without them
    pseudo: Path = Path("data_pseudo")  # where the labelled patches go
    out: Path = Path("runs/mrcnn")  # weights, curves and pictures of every step
    annotated: bool = True  # train on the annotated patches themselves too
    validation: int | None = None  # annotated patches not learnt, to choose weights by; None: 2, or one in 20
    rounds: int = 1  # how often to label the unlabelled patches and train again
    steps: int = 1000  # training steps before the first labelling, and again after each; in whole 25s
    batch: int = 4  # patches a step, of all sources together
    learning_rate: float = 1e-3  # at its peak; over all rounds together it falls as one cosine
    views: int = 4  # turned and mirrored views of a patch that label it together, 1 to 8
    confidence: float = 0.4  # smallest score of a pseudo label, the mean of the views, 0..1
    agreement: float = 0.6  # smallest overlap of the views' outlines, a view that misses it counting 0, 0..1
    doubt: float = 0.15  # below it is background; between the two it is neither learnt nor unlearnt
    seed: int = 0  # of weights, batches and augmentation


SHARES = {"annotated": 3, "synthetic": 1, "pseudo": 1}  # patches of each source in a batch, in proportion
OUTLINED = ("annotated", "synthetic")  # of pseudo labels only the places are learnt: outlines are a guess
STEPS_PER_EPOCH = 25  # from one backup and validation to the next; all steps are rounded up to whole epochs
LEARNT_WITH = ("rounds", "steps", "batch", "learning_rate", "seed")  # the settings a training depends on
LABELLED_WITH = ("views", "confidence", "agreement", "doubt")  # and those of a labelling before it
OF_A_ROUND = ("round", "model")  # what differs between the rounds of a run, which share the folder of labels
STEPS = ("train", "label")  # of a round; each has a folder, within out, with the number of the round
MODEL = "model"  # the folder, within out, of the final model
LOGS = "logs"  # the folder, within that of a training, of its progress


@dataclass(frozen=True)
class Material:
    """All patches of a run."""

    learnt: dict[str, Source]  # from the start, by the names of SHARES
    validation: Source
    unlabelled: Source


def main(settings: Settings) -> None:
    _check(settings)
    material = _collect(settings)
    _check_folders(settings, material)
    step = _train(settings, material, 0, model=None)
    for number in range(1, settings.rounds + 1):
        step = _train(settings, material, number, model=step)
    with atomic_folder(settings.out / MODEL) as model:
        # The logs stay where they are: their checkpoint is many times larger than the model.
        shutil.copytree(step, model, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOGS))
    print(f"wrote the model to {settings.out / MODEL}/")
    if settings.rounds:
        print(f"and the labels of {len(material.unlabelled.names)} patches to {settings.pseudo}/")
    print(f"next: python segment.py IMAGE... --model {settings.out / MODEL}")


def _check(settings: Settings) -> None:
    for name, smallest in (("rounds", 0), ("steps", 1), ("batch", 1), ("validation", 0)):
        value = getattr(settings, name)
        if value is not None and value < smallest:
            raise InputError(f"--{name} is {value}; it must be at least {smallest}")
    if not settings.learning_rate > 0:
        raise InputError(f"--learning-rate is {settings.learning_rate}; it must be above 0")
    tta.check(settings.views)
    backend.check()
    if not 0 <= settings.doubt <= settings.confidence <= 1:
        raise InputError(
            f"--doubt is {settings.doubt} and --confidence {settings.confidence}; "
            "they must lie between 0 and 1, doubt not above confidence"
        )
    if not 0 <= settings.agreement <= 1:
        raise InputError(f"--agreement is {settings.agreement}; it must lie between 0 and 1")
    if settings.synthetic is None and not settings.annotated:
        raise InputError(
            "nothing to train on: --synthetic is None and --no-annotated is set; give one of them"
        )
    for flag, folder in (("--data", settings.data), ("--synthetic", settings.synthetic)):
        if folder is not None and settings.out.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"--out {settings.out} lies in the patches of {flag}; give it a folder of its own"
            )
    if settings.rounds:
        _check_pseudo(settings)


def _check_pseudo(settings: Settings) -> None:
    """InputError where the labelled patches, whose folder rounds empty, would lie among other things."""
    results = [f"{step}_{number}" for step in STEPS for number in range(settings.rounds + 1)]
    others = {
        "--data": [settings.data],
        "--synthetic": [] if settings.synthetic is None else [settings.synthetic],
        "--out": [settings.out / name for name in (MODEL, *results)],
    }
    for flag, folders in others.items():
        for folder in folders:
            if overlap(settings.pseudo, folder):
                raise InputError(
                    f"--pseudo {settings.pseudo} and {folder} of {flag} overlap; give the labelled patches "
                    "a folder of their own"
                )


def _collect(settings: Settings) -> Material:
    """The patches of a run, all of them looked at: a broken one shows before anything slow starts."""
    annotated, unlabelled = splits.sort_patches(settings.data)
    if settings.rounds and not unlabelled.names:
        raise InputError(f"every patch in {settings.data}/ is annotated; use --rounds 0")
    if settings.annotated and not annotated.names:
        raise InputError(f"no patch in {settings.data}/ is annotated; annotate those of selected.csv first")
    annotated.check()  # first: a patch that cannot be read is not one that has changed
    learnt_from, validation = splits.hold_back(annotated, settings.validation, settings.seed)
    learnt = {"annotated": learnt_from} if settings.annotated else {}
    if settings.synthetic is not None:
        check_folder(settings.synthetic, settings.data, annotated.names)
        learnt["synthetic"] = splits.synthetic_pairs(settings.synthetic, validation)
        learnt["synthetic"].check()
    if settings.rounds:
        unlabelled.check(masks=False)
    return Material(learnt, validation, unlabelled)


def _check_folders(settings: Settings, material: Material) -> None:
    """InputError for folders of other settings: they show before anything slow starts, all at once."""
    stale = {}
    for number in range(settings.rounds + 1):
        made_with = _made_with(settings, material, number)
        for name in (f"{step}_{number}" for step in STEPS):
            stale[settings.out / name] = changes(settings.out / name, made_with, besides=("model",))
    if settings.rounds:
        check_can_hold_files(settings.pseudo)
        check_is_ours(settings.pseudo)
        made_with = _labelled_by(settings, made_with)
        stale[settings.pseudo] = changes(settings.pseudo, made_with, besides=OF_A_ROUND)
    stale = {folder: changed for folder, changed in stale.items() if changed}
    if stale:
        if (settings.out / MODEL).exists() and any(folder.parent == settings.out for folder in stale):
            stale[settings.out / MODEL] = ""
        raise InputError(
            f"made with other settings ({next(iter(stale.values()))}): {', '.join(map(str, stale))}; delete "
            "these to make them anew, name another --out and --pseudo, or run with the old settings"
        )


def _labelled_by(settings: Settings, made_with: dict) -> dict:
    """What is kept of a step in the folder of labels, which runs into other folders may share."""
    return {**made_with, "out": settings.out}


def _made_with(settings: Settings, material: Material, number: int, model: Path | None = None) -> dict:
    """All that the result of step `number`, which begins with `model`, depends on."""
    names = LEARNT_WITH + (LABELLED_WITH if number else ())
    used = {**material.learnt, "validation": material.validation}
    if number:
        used["unlabelled"] = material.unlabelled
    return {
        **{name: getattr(settings, name) for name in names},
        "shares": SHARES,
        "outlined": OUTLINED,
        "network": digest([json.dumps(_config(settings).to_dict()).encode()]),
        "round": number,
        "model": model and fingerprint(model),
        "patches": {name: source.fingerprint for name, source in used.items()},
    }


def _train(settings: Settings, material: Material, number: int, model: Path | None) -> Path:
    """Train step `number`, with the labels and the weights of `model`, if any; returns the step's folder."""
    folder = settings.out / f"train_{number}"
    made_with = _made_with(settings, material, number, model)
    finished = is_finished(folder, made_with)
    # The labels of the last round are a result too; those of the others are replaced by it.
    if model is not None and (not finished or number == settings.rounds):
        _label(settings, number, material.unlabelled, made_with, model)
    if finished:
        print(f"{folder}/ is finished already")
        return folder
    learnt = material.learnt
    if model is not None:
        learnt = {**learnt, "pseudo": Source(settings.pseudo, material.unlabelled.names)}
    print(f"{folder.name}: reads {', '.join(map(str, learnt.values()))}, writes {folder}/")
    start(folder, made_with)
    from mrcnn.data.augment import augment
    from mrcnn.selftraining.validation import Validation
    from mrcnn.training.learning_rate import WarmUpAndDecay

    network = _network(settings, folder, (settings.seed + number) % 2**32, model)
    read = patches.read_patch, patches.read_masks
    pairs = {name: tuple(one(settings.data / name) for one in read) for name in material.validation.names}
    best = Validation(network, list(pairs.values()))
    epochs = math.ceil(settings.steps / network.config.STEPS_PER_EPOCH)
    steps = epochs * network.config.STEPS_PER_EPOCH
    rate = WarmUpAndDecay(settings.learning_rate, steps * (settings.rounds + 1), steps * number)
    callbacks = [best] if pairs else []
    try:
        losses = network.train(
            _dataset(learnt), None, rate, epochs, augmentation=augment, custom_callbacks=callbacks
        )
    except FloatingPointError as error:
        gentler = f"--learning-rate {settings.learning_rate / 2:g}, with another --out and --pseudo"
        raise InputError(f"{folder}: {error} ({gentler})") from error
    _finish(folder, network, losses, best, pairs)
    write_settings(folder, made_with)
    return folder


def _dataset(learnt: dict[str, Source]) -> PatchDataset:
    """The patches of all sources, each with its share of a batch."""
    from mrcnn.selftraining.patch_dataset import PatchDataset

    dataset = PatchDataset()
    for name, source in learnt.items():
        dataset.add_patches(source.folder, source.names, SHARES[name], outlined=name in OUTLINED)
    dataset.prepare()
    return dataset


def _finish(folder: Path, network: MaskRCNN, losses: dict, best: Validation, pairs: dict) -> None:
    """Write the weights of a training, the best ones where there is a validation, and its pictures."""
    from mrcnn.selftraining import report
    from mrcnn.selftraining.validation import best_epoch
    from nuclei.pictures import curves

    epoch = f"epoch of {network.config.STEPS_PER_EPOCH} steps"
    curves(folder / "losses.png", losses, epoch, "loss")
    if pairs:
        best.restore()
        scores = best.scores
        chosen = best_epoch(scores)
        print(f"{folder.name}: AJI {scores[chosen]:.3f} on the {len(pairs)} validation patches, ", end="")
        print(f"by the weights after {chosen * network.config.STEPS_PER_EPOCH} steps")
        curves(folder / "validation.png", {"validation": list(scores.values())}, epoch, "AJI")
        report.draw_validation(folder / "validation_patches.png", pairs, best.find())
    network.save(folder)


def _config(settings: Settings) -> NucleusConfig:
    config = NucleusConfig()
    config.IMAGES_PER_GPU = settings.batch
    config.STEPS_PER_EPOCH = min(STEPS_PER_EPOCH, settings.steps)
    return config


def _network(settings: Settings, folder: Path, seed: int, initial: Path | None) -> MaskRCNN:
    """The network to train in `folder`: as it was left there, else with weights of `initial` or ImageNet."""
    from mrcnn.model import MaskRCNN

    network = MaskRCNN("training", _config(settings), folder / LOGS, seed)
    try:
        network.load_weights(network.find_last())
    except FileNotFoundError:
        if initial is None:
            network.load_weights(network.get_imagenet_weights(), by_name=True)
        else:
            network.load_weights(initial / WEIGHTS)
    return network


def _label(settings: Settings, number: int, unlabelled: Source, made_with: dict, model: Path) -> None:
    """Write what the model in `model` is confident of as masks of the unlabelled patches."""
    folder = settings.out / f"label_{number}"
    finished = is_finished(folder, made_with)
    start(settings.pseudo, _labelled_by(settings, made_with), replaces=OF_A_ROUND)
    todo = [name for name in unlabelled.names if not patches.is_patch(settings.pseudo / name)]
    if finished and not todo:
        print(f"{folder}/ is finished already")
        return
    print(f"{folder.name}: reads {model}/ and {unlabelled}, writes {settings.pseudo}/ and {folder}/")
    from mrcnn import model as modellib
    from mrcnn.selftraining import pseudo_labels, report

    network = modellib.load(model, DETECTION_MIN_CONFIDENCE=settings.doubt)
    limits = pseudo_labels.Limits(settings.confidence, settings.agreement)
    for name in tqdm(todo, desc=folder.name, unit="patch"):
        image = patches.read_patch(settings.data / name)
        labels = pseudo_labels.label(network, image, limits, settings.views)
        patches.write_patch(
            settings.pseudo, name, image, labels.certain, labels.scores, undecided=labels.undecided
        )
    report.draw_labels(folder, settings.pseudo, unlabelled.names, settings.confidence)
    write_settings(folder, made_with)


if __name__ == "__main__":
    run(main, Settings, __doc__)
