"""A tool under comparison: what it learns from, how it is trained once, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 RGB and labels (H, W) int32


@dataclass(frozen=True)
class Lesson:
    """How a peer is trained once."""

    seconds: float
    rate: float = 1.0  # times the learning rate that its authors recommend
    start: Path | None = None  # folder of a model of this peer; None: what it begins with by itself
    seed: int = 0

    def at_rate(self, rate: float) -> Lesson:
        return replace(self, rate=rate)

    def twice_as_long(self) -> Lesson:
        return replace(self, seconds=2 * self.seconds)


@dataclass(frozen=True)
class Peer:
    """A tool under comparison.

    Args:
        name: of its module, without `_peer`.
        packages: whose versions are recorded; InputError where one is not installed.
        weights: what the training starts from, for the record.
        train: (folder, pairs, lesson) -> what to record, with `steps`; leaves the model in `folder`.
        load: folder -> the trained model as a function, (H, W, 3) uint8 -> labels (H, W) integer.
    """

    name: str
    packages: tuple[str, ...]
    weights: str
    train: Callable[[Path, list[Pair], Lesson], dict]
    load: Callable[[Path], Callable[[np.ndarray], np.ndarray]]
