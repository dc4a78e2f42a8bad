"""Stage 3: label the unlabelled patches; learn from them, the annotated ones and the synthetic pairs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mrcnn import backend
from mrcnn.config import MPP
from mrcnn.inference import tta
from mrcnn.selftraining.rounds import MODEL, SelfTraining
from mrcnn.selftraining.settings import LIKELY, SURE, Labelling, Training
from mrcnn.selftraining.splits import collect
from mrcnn.selftraining.start import GENERATED, find, peak_rate
from nuclei import cluster
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.sources import resolution
from nuclei.io.files import check_can_hold_files, overlap


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the patches; the annotated ones are trained on, the others are labelled
    synthetic: Path | None = Path("data_synthetic")  # the synthetic pairs; None trains without them
    pseudo: Path = Path("data_pseudo")  # where the labelled patches go
    out: Path = Path("runs/mrcnn")  # weights, curves and pictures of every step
    start: str = GENERATED  # begin with: generated (weights that know nuclei), imagenet, or a model's folder
    generated: bool = True  # train on generated tissue too, so that what the start knows is not forgotten
    annotated: bool = True  # train on the annotated patches themselves too
    validation: int | None = None  # annotated patches not learnt, to choose weights by; None: 2, or one in 20
    rounds: int = 1  # how often to label the unlabelled patches and train; 0 trains without them
    steps: int = 300  # training steps after each labelling, and first where start is imagenet; in whole 25s
    batch: int = 4  # patches a step, of all sources together
    learning_rate: float | None = None  # its peak; None: 0.00025, or 0.001 from imagenet and without outlines
    views: int = 4  # turned and mirrored views of a patch that label it together, 1 to 8
    confidence: float | None = None  # smallest score of a pseudo label; None: 0.65, or 0.4 from imagenet
    agreement: float = 0.6  # smallest overlap of the views' outlines, a view that misses it counting 0, 0..1
    doubt: float = 0.15  # below it is background; between the two it is neither learnt nor unlearnt
    seed: int = 0  # of weights, batches and augmentation
    scheduler: str | None = None  # who labels: local:N for N processes, or the address of a Dask scheduler


def main(settings: Settings) -> None:
    _check(settings)
    began = time.monotonic()
    material = collect(
        settings.data,
        settings.synthetic,
        annotated=settings.annotated,
        validation=settings.validation,
        unlabelled=settings.rounds > 0,
        seed=settings.seed,
    )
    training = Training(
        settings.steps,
        settings.batch,
        settings.learning_rate or peak_rate(settings.start, outlines=not _has_no_outline(settings)),
        settings.seed,
        settings.start,
        settings.generated,
    )
    labelling = Labelling(settings.views, smallest_score(settings), settings.agreement, settings.doubt)
    mpp = resolution(settings.data) or MPP
    model = SelfTraining(
        material,
        settings.out,
        settings.pseudo,
        settings.rounds,
        training,
        labelling,
        mpp,
        settings.scheduler,
    ).run()
    print(f"the model is in {model}/")
    if settings.rounds:
        print(f"the labels of {len(material.unlabelled.names)} patches are in {settings.pseudo}/")
    print(f"next: python segment.py IMAGE... --model {model}")
    _write_report(settings, time.monotonic() - began)


def _write_report(settings: Settings, seconds: float) -> None:
    from nuclei.report.write import after_stage

    places = {name: getattr(settings, name) for name in ("data", "synthetic", "pseudo")}
    after_stage("model", settings.out, seconds, mrcnn=settings.out, **places)


def smallest_score(settings: Settings) -> float:
    """What a pseudo label needs: as asked for, or by who labels first."""
    if settings.confidence is not None:
        return settings.confidence
    return LIKELY if find(settings.start) is None else SURE


def _has_no_outline(settings: Settings) -> bool:
    """Whether only pseudo labels and generated tissue are learnt."""
    return settings.synthetic is None and not settings.annotated


def _check(settings: Settings) -> None:
    for name, smallest in (("rounds", 0), ("steps", 1), ("batch", 1), ("validation", 0)):
        value = getattr(settings, name)
        if value is not None and value < smallest:
            raise InputError(f"--{name} is {value}; it must be at least {smallest}")
    if settings.learning_rate is not None and not settings.learning_rate > 0:
        raise InputError(f"--learning-rate is {settings.learning_rate}; it must be above 0")
    tta.check(settings.views)
    cluster.check(settings.scheduler)
    find(settings.start)
    backend.check()
    if not 0 <= settings.doubt <= smallest_score(settings) <= 1:
        raise InputError(
            f"--doubt is {settings.doubt} and --confidence {smallest_score(settings)}; "
            "they must lie between 0 and 1, doubt not above confidence"
        )
    if not 0 <= settings.agreement <= 1:
        raise InputError(f"--agreement is {settings.agreement}; it must lie between 0 and 1")
    if _has_no_outline(settings) and (find(settings.start) is None or not settings.rounds):
        raise InputError(
            "nothing to train on: --synthetic is None and --no-annotated is set; give one of them, or "
            "--start with weights that know nuclei and label patches in at least one of --rounds"
        )
    for flag, folder in (("--data", settings.data), ("--synthetic", settings.synthetic)):
        if folder is not None and settings.out.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"--out {settings.out} lies in the patches of {flag}; give it a folder of its own"
            )
    check_can_hold_files(settings.out)
    if settings.rounds:
        check_can_hold_files(settings.pseudo)
        _check_pseudo(settings)


def _check_pseudo(settings: Settings) -> None:
    """InputError where the labelled patches, whose folder rounds empty, would lie among other things."""
    results = [f"{step}_{number}" for step in ("train", "label") for number in range(settings.rounds + 1)]
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


if __name__ == "__main__":
    run(main, Settings, __doc__)
