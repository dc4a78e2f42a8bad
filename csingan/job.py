"""What stage 2 makes of one patch: a model, synthetic pairs and their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csingan.config import PRESETS, LayoutOptions, Schedule
from csingan.inputs import Task
from csingan.layouts.orientation import nucleus_rotation
from csingan.layouts.sampler import LayoutSampler
from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.folders.pairs import ANNOTATION, Pairs, are_complete, pairs_of
from nuclei.folders.runs import Run
from nuclei.io.files import digest

if TYPE_CHECKING:
    from csingan.train import Example

PICTURES = ("random_masks", "samples.png", "scales.png")  # of the pairs, beside the model


@dataclass(frozen=True, eq=False)
class Job:
    """A patch, its settings (see `csingan.synthesis.synthesise`) and its results.

    Attributes:
        task: the patch.
        folder: where its model and its pictures go.
        synthetic: where its pairs go, with those of other patches.
    """

    task: Task
    folder: Path
    synthetic: Path
    samples: int
    size: int | None
    preset: str
    effort: float
    layout: LayoutOptions
    seed: int

    @property
    def schedule(self) -> Schedule:
        """Of the training."""
        return PRESETS[self.preset].scaled(self.effort)

    @cached_property
    def model(self) -> Run:
        """The trained model."""
        return Run(self.folder, "gan", self._trained_with)

    @cached_property
    def pairs(self) -> Pairs:
        """The synthetic pairs."""
        names = list(self.task.masks) or [f"{self.task.name}_{n}" for n in range(self.samples)]
        return pairs_of(self.synthetic, self.task.name, names, self._drawn_with)

    @cached_property
    def pictures(self) -> Run:
        """The pictures of the pairs, beside the model."""
        return Run(self.folder, "pairs", self._drawn_with, PICTURES, "pictures.json")

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.model.is_finished and are_complete(self.pairs) and self.pictures.is_finished

    @property
    def plan(self) -> str:
        """What of an earlier run is reused, what is made anew, and why; "" where there was none."""
        state = self.model.state
        if state == "stale":
            return f"the model is trained anew ({self.model.changes})"
        if state == "finished":
            why = f" ({self.pairs.changes})" if self.pairs.changes else ""
            return f"the trained model is reused, new pairs are drawn from it{why}"
        return "the interrupted training goes on" if state == "begun" else ""

    @cached_property
    def _trained_with(self) -> dict:
        """What the model depends on. Its layouts are random only where none of the right size are given."""
        task, given = self.task, self.task.masks_of_its_size
        return {
            "preset": self.preset,
            "schedule": digest([repr(PRESETS[self.preset]).encode()]),  # its values may be edited
            "effort": self.effort,
            "seed": self.seed,
            "image": _digest([task.image]),
            "nuclei": _digest([task.labels]),
            **({"random_masks": _digest(given)} if given else asdict(self.layout)),
            "nuclei_of_others": f"{len(task.more)} patches ({_digest(task.more)})" if task.more else "none",
        }

    @cached_property
    def _drawn_with(self) -> dict:
        """What the pairs depend on."""
        drawn_with = {**self._trained_with, "model_version": runs.VERSIONS["gan"]}
        if self.task.annotation:
            drawn_with[ANNOTATION] = self.task.annotation
        if self.task.masks:
            names = [name.encode() for name in self.task.masks]
            return drawn_with | {"masks": digest([*names, _digest(self.task.masks.values()).encode()])}
        return drawn_with | {"samples": self.samples, "size": self.size}

    def check(self) -> None:
        """InputError where layouts are impossible, or files that no run has made are in the way."""
        for run in (self.model, self.pairs, self.pictures):
            run.check()
        if not self.model.is_finished:
            self.training_layouts()  # all of them: the last one may be the one that does not fit
        self.sample_layouts()

    def training_layouts(self) -> list[np.ndarray]:
        """The given layouts of the size of the patch, or random ones."""
        return self.task.masks_of_its_size or self._random_layouts(self.schedule.layouts, self.seed)

    def sample_layouts(self) -> list[np.ndarray]:
        """The given layouts, or random ones: others than those of the training."""
        given = list(self.task.masks.values())
        return given or self._random_layouts(self.samples, [self.seed, 1], self.size)

    def _random_layouts(self, count: int, seed: int | list[int], side: int | None = None) -> list[np.ndarray]:
        """Layouts (side, side) int32, or of the size of the patch; InputError where none fits."""
        rng, task = np.random.default_rng(seed), self.task
        try:
            sampler = LayoutSampler(
                task.labels, task.more, rotate=nucleus_rotation(task.image), **asdict(self.layout)
            )
            return [sampler(rng, (side, side) if side else None) for _ in range(count)]
        except ValueError as error:
            raise InputError(f"{task.name}: {error}") from error

    def example(self, layouts: Sequence[np.ndarray] = ()) -> Example:
        """What the model is trained on."""
        from csingan.train import Example

        return Example(self.task.image, self.task.labels, layouts, self.folder / "checkpoints")


def _digest(arrays: Iterable[np.ndarray]) -> str:
    return digest(f"{array.shape}".encode() + array.tobytes() for array in arrays)
