"""The settings of the experiment, its runs in their order, and what they share."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from mrcnn.selftraining.start import GENERATED, IMAGENET
from nuclei.experiment import Tissue
from nuclei.io.locks import locked

RUN = "run.json"  # written last into the folder of a run: it is finished
ROWS = {
    "label_free": "label-free: Otsu, watershed",
    "start_weights": "start weights, no label",
    "self_trained": "start weights, self-trained on unlabelled patches",
    "self_trained_target": "start weights, self-trained on the test images, unlabelled",
    "annotated_only": "annotated patches only",
    "synthetic": "+ synthetic pairs",
    "transplants": "+ transplants: annotated nuclei on unlabelled backgrounds",
    "whole_method": "+ pseudo labels: the whole method",
    "whole_method_target": "the whole method, pseudo labels in the test images",
    "paper_rule_alone": "annotated patches only, by the paper's rule",
    "random_patches_alone": "annotated patches only, random ones",
    "paper_rule": "the whole method, patches of the paper's rule",
    "random_patches": "the whole method, random patches",
    "full_supervision": "full supervision",
    "annotated_only_imagenet": "annotated patches only, from ImageNet's weights",
    "full_supervision_imagenet": "full supervision, from ImageNet's weights",
}
UNTRAINED = ("label_free", "start_weights")
FROM_IMAGENET = ("annotated_only_imagenet", "full_supervision_imagenet")
FULL = ("full_supervision", "full_supervision_imagenet")
WITHOUT_LABELS = ("self_trained", "self_trained_target")  # beginning with the labels of the start weights
ON_TARGET = ("self_trained_target", "whole_method_target")  # unlabelled are the images to be segmented
SELF_TRAINED = (  # with pseudo labels
    *WITHOUT_LABELS, "whole_method", "whole_method_target", "paper_rule", "random_patches",
)  # fmt: skip
CHOSEN_OTHERWISE = ("paper_rule_alone", "random_patches_alone")  # annotated patches only
WITHOUT_PAIRS = (*FULL, "annotated_only", *CHOSEN_OTHERWISE, "annotated_only_imagenet", *WITHOUT_LABELS)
PEERS = {
    "stardist": "StarDist",
    "torchvision": "torchvision's Mask R-CNN",
    "cellpose": "Cellpose",
    "instanseg": "InstanSeg",
}
IMAGENET_PEERS = ("torchvision",)  # pip installs none for the others
# What is the method, and what the data? Each peer also learns our generated tissue: alone, and first.
NO_LABEL = {f"{peer}_no_label": peer for peer in PEERS}
PRETRAINED = {f"{peer}_pretrained": peer for peer in PEERS}
TOOLS = {**{peer: peer for peer in PEERS}, **NO_LABEL, **PRETRAINED}  # the tool of a row
STANDARD = "representative"  # the method of all rows but those that are named after another one
METHODS = {
    "paper_rule": "consistency", "paper_rule_alone": "consistency",
    "random_patches": "random", "random_patches_alone": "random",
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path]  # annotated images: images/, labels/ and splits.json
    minutes: float = 60  # of a training of ours on this device; of the shortest one of a peer
    longest: float | None = 60  # minutes that a training of a peer may take, as long as a doubling helps;
    # None: one training of `minutes`, at the learning rate that the peer's authors recommend
    pretraining: float = 60  # minutes of a peer on our generated tissue; `make weights` takes about as long
    steps: int | None = None  # of a training; None: as fit into the minutes
    budget: int = 12  # annotated patches in the first table
    budgets: tuple[int, ...] = (3, 6, 12, 24)  # in the second
    seeds: int = 2  # runs of every row
    draws: int = 3  # of random patches
    weights: str = GENERATED  # what our trainings begin with: generated, imagenet, or a model's folder
    full_steps: int = 6000  # of full supervision, which has twenty times as many patches to learn from
    imagenet_steps: int = 3000  # of the rows that begin with ImageNet's weights, which need more of them
    rounds: int = 1  # of pseudo labels in the whole method
    batch: int = 4  # patches a step
    samples: int = 16  # synthetic pairs a patch
    transplants: int = 192  # further pairs of the row of that name
    effort: float = 1.0  # multiplies the training steps of the GANs
    views: int = 4  # turned and mirrored views of a tile that are averaged, 1 to 8
    peers: tuple[str, ...] = tuple(PEERS)  # other tools; `make peers` installs them
    kept: Path | None = None  # scores.csv of runs made elsewhere with these settings: they are not repeated
    out: Path = Path("runs/label_efficiency")  # every run, results.json, results.md, plots and overlays


@dataclass(frozen=True)
class Run:
    """One training, or none, and its scores."""

    row: str  # of ROWS, or a peer
    budget: int  # annotated patches; 0: none or all
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row}_{self.budget}_{self.seed}"

    @property
    def method(self) -> str:
        """How the patches are chosen: a `--method` of stage 1."""
        return METHODS.get(self.row, STANDARD)


@dataclass(frozen=True)
class Plan:
    """What all runs share."""

    settings: Settings
    where: Tissue
    steps: int  # of each training, but for those with more to learn

    def steps_of(self, run: Run) -> int:
        """Training steps of a run of ours, of all rounds together."""
        if run.row in UNTRAINED:
            return 0
        if run.row in FROM_IMAGENET:
            return self.settings.imagenet_steps
        if run.row in FULL:
            return self.settings.full_steps
        return self.trainings_of(run) * self.steps

    def trainings_of(self, run: Run) -> int:
        """How often a run of ours trains: after each labelling, and first where the start knows no nuclei."""
        rounds = self.settings.rounds if run.row in SELF_TRAINED else 0
        return rounds + (not rounds or self.settings.weights == IMAGENET)

    def stages(self, run: Run) -> Path:
        """The folder of stages 1 and 2 of a run; those with the same patches share it."""
        return self.settings.out / "chosen" / f"{run.method}_{run.budget}_{run.seed}"


def list_runs(settings: Settings) -> list[Run]:
    """All runs, the most important ones first."""
    once = [Run(row, 0, 0) for row in UNTRAINED]
    ours = ("annotated_only", "synthetic", "whole_method")
    random = [Run("random_patches", settings.budget, draw) for draw in range(settings.draws)]

    def of_seed(seed: int) -> list[Run]:
        return [
            *(Run(row, settings.budget, seed) for row in ours),
            Run("full_supervision", 0, seed),
            *(Run(peer, settings.budget, seed) for peer in settings.peers),
        ]

    first = [*once, *of_seed(0), *random, *(Run(row, settings.budget, 0) for row in WITHOUT_LABELS)]
    others = [each for seed in range(1, settings.seeds) for each in of_seed(seed)]
    budgets = [
        Run(row, budget, seed)
        for seed in range(settings.seeds)
        for budget in settings.budgets
        for row in (*ours, "whole_method_target", *METHODS)
    ]
    paper = [Run("paper_rule", settings.budget, seed) for seed in range(settings.seeds)]
    imagenet = [
        Run(row, 0 if row in FULL else settings.budget, seed)
        for seed in range(settings.seeds)
        for row in FROM_IMAGENET
    ]
    generated = [Run(f"{peer}_no_label", 0, 0) for peer in settings.peers]
    generated += [
        Run(f"{peer}_pretrained", settings.budget, seed)
        for seed in range(settings.seeds)
        for peer in settings.peers
    ]
    transplants = [
        Run("transplants", budget, seed) for seed in range(settings.seeds) for budget in settings.budgets
    ]
    return list(dict.fromkeys(first + others + paper + budgets + imagenet + generated + transplants))


@contextlib.contextmanager
def turn(out: Path, what: Path | str, wait: bool = True) -> Iterator[bool]:
    """As `locked`: work at `what`, a folder within `out` or a name, that no other process has begun.

    A program that was started by `held` counts, even where the process that started it was killed.
    """
    with locked(_lock(out, what), wait) as ours:
        if not ours:
            yield False
            return
        with locked(_lock_of_program(out, what), wait) as idle:
            pass
        yield idle


def held(out: Path, what: Path | str) -> list[str]:
    """What a command begins with so that its program keeps the turn at `what` until it ends."""
    lock = _lock_of_program(out, what)
    return [sys.executable, "-m", "benchmarks.label_efficiency.hold", str(lock.resolve())]


def _lock(out: Path, what: Path | str) -> Path:
    return out / "locks" / (what.relative_to(out) if isinstance(what, Path) else what)


def _lock_of_program(out: Path, what: Path | str) -> Path:
    lock = _lock(out, what)
    return lock.with_name(f"{lock.name}.program")


def title(row: str) -> str:
    """What a row is called in tables and plots."""
    if row not in TOOLS:
        return ROWS[row]
    peer = PEERS[TOOLS[row]]
    if row in NO_LABEL:
        return f"{peer}, our generated tissue alone"
    if row in PRETRAINED:
        return f"{peer}, our generated tissue first"
    return f"{peer} from {'ImageNet' if row in IMAGENET_PEERS else 'random'} weights"


def in_order(rows: Iterable[str]) -> list[str]:
    """The rows as the table has them; peers, by name, come last."""
    return [row for row in ROWS if row in rows] + sorted(set(rows) - ROWS.keys())
