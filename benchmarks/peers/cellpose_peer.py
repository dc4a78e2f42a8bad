"""Cellpose 3, trained from random weights as documented: `python -m benchmarks.peers.cellpose_peer`.

Source: Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nature Methods 2021.
The recipe is that of `cellpose --train --all_channels --pretrained_model None`: pip does not install its
weights, nor those of Cellpose 4, which its documentation only fine-tunes.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers.common import run_peer
from benchmarks.peers.peer import Lesson, Pair, Peer
from nuclei.errors import InputError

NAME = "cellpose"
MODELS = "models"  # where Cellpose saves
RECIPE = {"SGD": True, "learning_rate": 0.2, "weight_decay": 1e-5, "batch_size": 8}
DIAMETER = 30.0  # px, that nuclei are scaled to; the default
MIN_NUCLEI = 5  # Cellpose leaves images with fewer out
EPOCH = 16  # images in an epoch, or all if they are fewer: a trial of a thousand would take all of the time
TRIAL_EPOCHS = 2


def train(folder: Path, pairs: list[Pair], lesson: Lesson) -> dict:
    """Fit for as many epochs as the time allows, counted beforehand: the learning rate follows their number.

    Where the machine has become slower meanwhile, the last epochs are left out. Cellpose seeds its own choice
    of crops; its seed decides the first weights.
    """
    import torch
    from cellpose import dynamics
    from cellpose.train import train_seg

    _log_to_stdout()
    end = time.monotonic() + lesson.seconds
    pairs = [(image, labels) for image, labels in pairs if len(np.unique(labels)) > MIN_NUCLEI]
    if not pairs:
        raise InputError(f"Cellpose needs a patch with at least {MIN_NUCLEI} nuclei; annotate one")
    # Channels first: of images that it turns itself, Cellpose keeps two channels.
    images = [image.transpose(2, 0, 1) for image, _ in pairs]
    labels = [labels for _, labels in pairs]
    flows = dynamics.labels_to_flows(labels, device=_model(None).device)
    recipe = {**RECIPE, "learning_rate": RECIPE["learning_rate"] * lesson.rate}

    def fit(epochs: int, where: Path) -> int:
        torch.manual_seed(lesson.seed)
        network = _model(lesson.start).net
        steps = count_until(network, end)
        options = {"n_epochs": epochs, "save_path": where, "model_name": NAME}
        options |= {"nimg_per_epoch": min(len(images), EPOCH), "min_train_masks": MIN_NUCLEI}
        try:
            train_seg(network, images, flows, **options, **recipe)
        except TimeIsUp:
            network.save_model(where / MODELS / NAME)
        return len(steps)

    an_epoch = seconds_an_epoch(fit)  # takes time too
    epochs = max(1, int((end - time.monotonic()) / an_epoch))
    steps = fit(epochs, folder)
    if not steps:
        raise InputError(f"{lesson.seconds:g} s are over before Cellpose has begun; raise --minutes")
    return {"steps": steps, "epochs_planned": epochs, "patches_used": len(images)}


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The trained model; images are scaled by the mean diameter of the nuclei that it was trained on."""
    model = _model(folder)
    return lambda image: model.eval(image, channel_axis=2)[0]


class TimeIsUp(Exception):
    """Ends a training, which Cellpose has no way to stop."""


def count_until(network, end: float) -> list[float]:
    """Make every forward pass of a torch module add the time to the list returned, and raise after `end`."""
    times = []

    def note(*_) -> None:
        now = time.monotonic()
        if now > end:
            raise TimeIsUp
        times.append(now)

    network.register_forward_pre_hook(note)
    return times


def seconds_an_epoch(fit: Callable[[int, Path], object]) -> float:
    """By the difference of two trials, without what a training does once; another before them warms up."""
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for epochs in (1, 1, 1 + TRIAL_EPOCHS):
            began = time.monotonic()
            fit(epochs, Path(folder))
            times.append(time.monotonic() - began)
    return max(times[-1] - times[-2], 0.01) / TRIAL_EPOCHS


def _model(trained: Path | None):
    """Cellpose with the weights of a training; None: random ones."""
    import torch
    from cellpose.models import CellposeModel

    gpu, weights = torch.cuda.is_available(), str(trained / MODELS / NAME) if trained else False
    return CellposeModel(gpu=gpu, pretrained_model=weights, diam_mean=DIAMETER, nchan=3)


def _log_to_stdout() -> None:
    """Cellpose logs its losses every ten epochs."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    logging.getLogger("cellpose.train").setLevel(logging.INFO)


PEER = Peer(NAME, ("cellpose", "torch"), "random", train, load)

if __name__ == "__main__":
    run_peer(PEER, __doc__)
