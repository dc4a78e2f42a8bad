"""What training begins with: the start weights that come along, ImageNet, or a model of one's own.

The start weights saw nothing but generated tissue; `mrcnn/start_weights/README.md` is their card.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mrcnn.config import WEIGHTS, find_model, fingerprint
from nuclei.errors import InputError

FOLDER = Path(__file__).resolve().parents[1] / "start_weights"
FINGERPRINT = FOLDER / "fingerprint.txt"
GENERATED, IMAGENET = "generated", "imagenet"
# Peaks of the learning rate: where there is much to learn, and where a few outlines must not make the network
# forget what other nuclei look like.
RATE, GENTLE_RATE = 1e-3, 2.5e-4
MODEL = Path("runs/mrcnn/model")  # where stage 3 leaves its model

log = logging.getLogger(__name__)


def start_weights() -> Path:
    """The folder of the start weights, a model as `MaskRCNN.save` writes it.

    Raises:
        InputError: they are missing, or not those that belong to this version.
    """
    there = FINGERPRINT.exists() and (FOLDER / WEIGHTS).exists()
    if not there or fingerprint(FOLDER) != FINGERPRINT.read_text(encoding="utf-8").strip():
        raise InputError(
            f"{FOLDER / WEIGHTS} is missing or not the file that belongs to this version; "
            f"get it again with git checkout -- {FOLDER}, or make it anew with make weights"
        )
    return FOLDER


def find(start: str | Path) -> Path | None:
    """The folder of the model to begin with; None for ImageNet's weights.

    Args:
        start: "generated", "imagenet", or the folder of a model.

    Raises:
        InputError: the folder holds no model, or the start weights are broken.
    """
    if str(start) == IMAGENET:
        return None
    if str(start) == GENERATED:
        return start_weights()
    if not (Path(start) / WEIGHTS).exists():
        raise InputError(
            f"--start is {start}; give {GENERATED}, {IMAGENET}, or the folder of a model (with {WEIGHTS})"
        )
    find_model(Path(start))
    return Path(start)


def peak_rate(start: str | Path, outlines: bool = True) -> float:
    """The peak of the learning rate that suits a start.

    Args:
        start: as in `find`.
        outlines: whether outlines are learnt; False: pseudo labels alone, which teach only places.
    """
    return GENTLE_RATE if outlines and str(start) != IMAGENET else RATE


def trained_or_start(model: Path) -> Path:
    """The folder of the model to use: the start weights as long as stage 3 has not made MODEL.

    Raises:
        InputError: the start weights are broken.
    """
    return model if model != MODEL or model.exists() else start_weights()


def warn_of_start(model: Path) -> None:
    """Log a warning where the model that outlines nuclei is the start weights."""
    if model == FOLDER:
        log.warning(
            "no model trained yet (%s/): outlines by the start weights, which saw no real tissue", MODEL
        )


def describe(start: str | Path) -> str:
    """What to call it in a record: the same words mean the same weights."""
    folder = find(start)
    return IMAGENET if folder is None else fingerprint(folder)
