"""Stage 3: learn from the synthetic pairs, label the unlabelled patches, learn again."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from mrcnn import views
from nuclei import patches
from nuclei.errors import InputError
from nuclei.files import check_is_ours, is_finished, start, write_settings
from nuclei.script import run

# Keras and matplotlib are imported where they are used: --help and bad input need not wait.
if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the patches; the annotated ones are trained on, the others are labelled
    synthetic: Path | None = Path("data_synthetic")  # the synthetic pairs; None trains without them
    pseudo: Path = Path("data_pseudo")  # where the labelled patches go
    out: Path = Path("runs/mrcnn")  # weights, curves and pictures of every step
    annotated: bool = True  # train on the annotated patches themselves too
    rounds: int = 1  # how often to label the unlabelled patches and train again
    steps: int = 1000  # training steps before the first labelling, and again after each; in whole 25s
    batch: int = (
        2  # annotated patches a step; half as many synthetic and as many pseudo-labelled ones join them
    )
    learning_rate: float = 1e-3  # at its peak; over all rounds together it falls as one cosine
    views: int = 4  # turned and mirrored views of a patch that label it together, 1 to 8
    confidence: float = 0.4  # smallest score of a pseudo label, the mean of the views, 0..1
    doubt: float = 0.15  # below it is background; between the two it is neither learnt nor unlearnt
    seed: int = 0  # of weights, batches and augmentation


SHARES = {"annotated": 2, "synthetic": 1, "pseudo": 2}  # patches of each source in a batch, in proportion
OUTLINED = ("annotated", "synthetic")  # of pseudo labels only the places are learnt: outlines are a guess
STEPS_PER_EPOCH = 25  # an epoch here is only the distance between two backups
SHEET = 12  # patches on the picture of pseudo labels
MODEL = "model"  # the folder, within out, of the final model
LOGS = "logs"  # the folder, within that of a training, of its progress


def main(settings: Settings) -> None:
    _check(settings)
    annotated, unlabelled, digest = _sort_patches(settings.data)
    sources = _sources(settings, annotated)
    if settings.rounds:
        check_is_ours(settings.pseudo)
    made_with = {**asdict(settings), "annotation": digest}
    step = _train(settings, 0, sources, made_with, initial=None)
    for number in range(1, settings.rounds + 1):
        _label(settings, number, unlabelled, made_with, model=step)
        with_pseudo = {**sources, "pseudo": (settings.pseudo, unlabelled)}
        step = _train(settings, number, with_pseudo, made_with, initial=step)
    # The logs stay where they are: their checkpoint is many times larger than the model.
    shutil.copytree(step, settings.out / MODEL, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOGS))
    print(f"wrote the model to {settings.out / MODEL}/")
    if settings.rounds:
        print(f"and the labels of {len(unlabelled)} patches to {settings.pseudo}/")
    print(f"next: python segment.py IMAGE... --model {settings.out / MODEL}")


def _check(settings: Settings) -> None:
    for name, smallest in (("rounds", 0), ("steps", 1), ("batch", 1)):
        if getattr(settings, name) < smallest:
            raise InputError(f"--{name} is {getattr(settings, name)}; it must be at least {smallest}")
    views.check(settings.views)
    if not 0 <= settings.doubt <= settings.confidence <= 1:
        raise InputError(
            f"--doubt is {settings.doubt} and --confidence {settings.confidence}; "
            "they must lie between 0 and 1, doubt not above confidence"
        )
    if settings.synthetic is None and not settings.annotated:
        raise InputError(
            "nothing to train on: --synthetic is None and --no-annotated is set; give one of them"
        )


def _sort_patches(data: Path) -> tuple[list[str], list[str], str]:
    """Names of the annotated patches, their masks checked, of the others, and a digest of all masks."""
    names = patches.list_patches(data)
    annotated = [name for name in names if patches.is_annotated(data / name)]
    digest = hashlib.sha256()
    for name in annotated:
        digest.update(name.encode() + patches.read_masks(data / name).tobytes())
    return annotated, [name for name in names if name not in set(annotated)], digest.hexdigest()[:12]


def _sources(settings: Settings, annotated: list[str]) -> dict[str, tuple[Path, list[str]]]:
    """What to train on from the start: name -> folder and patches."""
    sources = {}
    if settings.annotated:
        if not annotated:
            raise InputError(
                f"no patch in {settings.data}/ is annotated; annotate those of selected.csv first"
            )
        sources["annotated"] = settings.data, annotated
    if settings.synthetic is not None:
        if not settings.synthetic.is_dir():
            raise InputError(f"{settings.synthetic}/ does not exist; run main_train.py first")
        sources["synthetic"] = settings.synthetic, patches.list_patches(settings.synthetic)
    return sources


def _train(settings: Settings, number: int, sources: dict, made_with: dict, initial: Path | None) -> Path:
    """Train step `number` on the sources, from the weights in `initial`; returns the step's folder."""
    folder = settings.out / f"train_{number}"
    counts = {source: len(names) for source, (_, names) in sources.items()}
    made_with = {**made_with, "round": number, "patches": counts}
    if is_finished(folder, made_with):
        print(f"{folder}/ is finished already")
        return folder
    print(f"{folder.name}: {', '.join(f'{count} {source}' for source, count in counts.items())} patches")
    start(folder, made_with)
    from mrcnn.augment import augment
    from mrcnn.data import PatchDataset
    from mrcnn.schedule import WarmUpAndDecay
    from nuclei.pictures import curves

    dataset = PatchDataset()
    for source, (names_folder, names) in sources.items():
        dataset.add_patches(names_folder, names, SHARES[source], outlined=source in OUTLINED)
    dataset.prepare()
    network = _network(
        settings, folder, _batch_size(settings.batch, sources), settings.seed + number, initial
    )
    epochs = math.ceil(settings.steps / network.config.STEPS_PER_EPOCH)
    steps = epochs * network.config.STEPS_PER_EPOCH
    rate = WarmUpAndDecay(settings.learning_rate, steps * (settings.rounds + 1), steps * number)
    try:
        losses = network.train(dataset, None, rate, epochs, augmentation=augment)
    except FloatingPointError as error:
        raise InputError(f"{folder}: {error} (--learning-rate {settings.learning_rate / 2:g})") from error
    network.save(folder)
    curves(folder / "losses.png", losses, f"epoch of {network.config.STEPS_PER_EPOCH} steps", "loss")
    write_settings(folder, made_with)
    return folder


def _batch_size(first: int, sources: Iterable[str]) -> int:
    """Patches in a batch of which `first` come from the first source."""
    shares = [SHARES[source] for source in sources]
    return round(first * sum(shares) / shares[0])


def _network(settings: Settings, folder: Path, batch: int, seed: int, initial: Path | None) -> MaskRCNN:
    """The network to train in `folder`: as it was left there, else with weights of `initial` or ImageNet."""
    from mrcnn.config import WEIGHTS, NucleusConfig
    from mrcnn.model import MaskRCNN

    config = NucleusConfig()
    config.IMAGES_PER_GPU = batch
    config.STEPS_PER_EPOCH = min(STEPS_PER_EPOCH, settings.steps)
    network = MaskRCNN("training", config, folder / LOGS, seed)
    try:
        network.load_weights(network.find_last())
    except FileNotFoundError:
        if initial is None:
            network.load_weights(network.get_imagenet_weights(), by_name=True)
        else:
            network.load_weights(initial / WEIGHTS)
    return network


def _label(settings: Settings, number: int, unlabelled: list[str], made_with: dict, model: Path) -> None:
    """Write what the model in `model` is confident of as masks of the unlabelled patches."""
    if not unlabelled:
        raise InputError(f"every patch in {settings.data}/ is annotated; use --rounds 0")
    folder = settings.out / f"label_{number}"
    made_with = {**made_with, "round": number, "patches": len(unlabelled)}
    if is_finished(folder, made_with):
        print(f"{folder}/ is finished already")
        return
    start(settings.pseudo, made_with)
    todo = [name for name in unlabelled if not patches.is_patch(settings.pseudo / name)]
    from mrcnn import model as modellib
    from mrcnn import tiles

    network = modellib.load(model, DETECTION_MIN_CONFIDENCE=settings.doubt)
    for name in tqdm(todo, desc=folder.name, unit="patch"):
        image = patches.read_patch(settings.data / name)
        labels, scores = tiles.segment(network, image, n_views=settings.views)
        sure = int((scores >= settings.confidence).sum())  # labels are numbered by falling score
        certain, undecided = np.where(labels <= sure, labels, 0), np.where(labels > sure, labels, 0)
        patches.write_patch(settings.pseudo, name, image, certain, scores[:sure], undecided)
    _draw_labels(settings.pseudo, unlabelled, folder)
    write_settings(folder, made_with)


def _draw_labels(pseudo: Path, names: list[str], folder: Path) -> None:
    """The pseudo labels over some of the patches, and how sure the network was."""
    from nuclei.formats import write_image
    from nuclei.pictures import caption, histogram, montage, outline

    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(SHEET, len(names))).astype(int)]
    tiles = [
        caption(outline(patches.read_patch(pseudo / name), patches.read_masks(pseudo / name)), name)
        for name in chosen
    ]
    write_image(folder / "pseudo_labels.png", montage(tiles, columns=4))
    scores = np.concatenate([patches.read_scores(pseudo / name) for name in names])
    histogram(folder / "confidence.png", scores, "confidence of a nucleus", f"nuclei ({len(scores)} kept)")


if __name__ == "__main__":
    run(main, Settings, __doc__)
