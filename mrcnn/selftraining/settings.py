"""How stage 3 trains and labels: the settings of a round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mrcnn.selftraining import start


@dataclass(frozen=True)
class Training:
    """How a network is trained in each round."""

    steps: int = 300  # in each round
    batch: int = 4  # patches a step
    learning_rate: float = start.GENTLE_RATE  # at its peak; over all rounds together it falls as one cosine
    seed: int = 0  # of weights, batches and augmentation
    start: str | Path = start.GENERATED  # what the first round begins with; see `mrcnn.selftraining.start`
    generated: bool = True  # whether to learn from generated tissue too


LIKELY = 0.4  # smallest score of a pseudo label, where outlines were learnt; below it about half are none
SURE = 0.65  # the same where the start weights label, which report more nuclei than there are


@dataclass(frozen=True)
class Labelling:
    """When a detection in an unlabelled patch is believed; see `mrcnn.selftraining.pseudo_labels`."""

    views: int = 4  # of test-time augmentation, 1 to 8
    confidence: float = LIKELY  # smallest score of a pseudo label, 0..1
    agreement: float = 0.6  # smallest overlap of the views' outlines, 0..1
    doubt: float = 0.15  # below this score is background; in between is an ignore region
