"""Train CSinGANs, one on each annotated patch, scale by scale, and draw samples from them.

Lou et al., "Which Pixel to Annotate" (IEEE TMI 2022), with the pyramid of SinGAN (Shaham et al., ICCV
2019) and the losses of WGAN-GP (Gulrajani et al., NeurIPS 2017).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from tqdm import tqdm

from csingan.config import PRESETS, Schedule
from csingan.networks.pyramid import NOISE_CHANNELS, Pyramid
from csingan.training import checkpoint
from csingan.training.patch import (
    Example,
    PatchTrainer,
    add_scale,
    empty_pyramid,
    to_conditions,
    to_tensor,
)
from csingan.training.scale import ScaleTrainer, work
from csingan.training.state import first_state, steps_made

__all__ = [
    "PRESETS",
    "Example",
    "Schedule",
    "load",
    "sample",
    "sample_scales",
    "train",
]

SAVE_EVERY = 10.0  # s from one checkpoint to the next, the most that a kill can cost


def train(
    examples: Sequence[Example],
    schedule: Schedule,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> list[Pyramid]:
    """Train one model on each example, all in one batch.

    Each example has its own weights, losses and random numbers, so its model is the one it would get alone,
    up to rounding. Checkpoints lie in the folders of the examples. Called again with the same arguments,
    training goes on from them and ends at the same models. Other arguments need another folder; only a
    checkpoint of another network is recognised here (`csingan.synthesis` keeps a record of them all).

    Args:
        examples: at least one, all images of one size.
        schedule: see `PRESETS`.
        seed: of the initial images, the first weights and the noise.
        device: where to train.
        progress: whether to show a bar on stderr.

    Returns:
        The models in the order of the examples, on `device`, with the losses of each scale in their
        attribute `losses`.

    Raises:
        ValueError: no nucleus in an example, or images of several sizes.
        InputError: a checkpoint is broken, or that of another network.
        FloatingPointError: a loss is no longer finite, even at a lower learning rate.
        MemoryError: the memory of the GPU is too small for all examples.
    """
    _check(examples)
    patches = [PatchTrainer(example, schedule, seed, torch.device(device)) for example in examples]
    sizes = patches[0].pyramid.sizes(examples[0].labels.shape)
    works = [
        schedule.steps_at(k, len(sizes)) * work(size, schedule.channels_at(k, len(sizes)), schedule)
        for k, size in enumerate(sizes)
    ]
    shown = {"bar_format": _BAR, "mininterval": 1, "disable": not progress}
    with _memory_errors(), tqdm(total=sum(works) * len(patches), **shown) as bar:
        for k, size in enumerate(sizes):
            title = f"scale {k + 1}/{len(sizes)} ({size[1]} x {size[0]} px)"
            _train_scale(patches, k, size, title, works[k], bar)
    return [patch.pyramid for patch in patches]


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left{postfix}"


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn PyTorch's error into Python's, so that callers need not import torch."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error


def load(example: Example, schedule: Schedule, device: str | torch.device = "cpu") -> Pyramid | None:
    """The model of an example that `train` has finished; None where a scale of it is not finished.

    Args:
        example: as for `train`; its layouts are not used.
        schedule: the one that it was trained with.
        device: where the model goes.

    Raises:
        InputError: a checkpoint is broken, or that of another network.
    """
    pyramid = empty_pyramid(example.image, example.labels, schedule)
    scales = len(pyramid.ratios)
    for scale in range(scales):
        first = first_state(schedule.channels_at(scale, scales), seed=0, below=None)
        state = checkpoint.load(checkpoint.path_of(example.folder, scale), first)
        if state is None or steps_made(state) < schedule.steps_at(scale, scales):
            return None
        add_scale(pyramid, state, schedule, device)
    return pyramid


def _check(examples: Sequence[Example]) -> None:
    shapes = {part.shape[:2] for each in examples for part in (each.image, each.labels, *each.layouts)}
    if len(shapes) != 1:
        raise ValueError(
            f"patches that train in one batch, and their layouts, have one size, not {sorted(shapes)}"
        )
    if not all(example.labels.any() for example in examples):
        raise ValueError("the label image holds no nucleus")


def _train_scale(
    patches: Sequence[PatchTrainer], k: int, size: tuple[int, int], title: str, work_of_scale: int, bar: tqdm
) -> None:
    """Train scale `k` of `size` (h, w) of all patches."""
    schedule, scales = patches[0].schedule, len(patches[0].pyramid.ratios)
    steps, channels = schedule.steps_at(k, scales), schedule.channels_at(k, scales)
    for patch in patches:
        patch.enter(k, size)
        # Steps of an earlier run; the remaining time follows from the steps of this one.
        bar.total -= work_of_scale * patch.steps // steps
    while left := [patch for patch in patches if patch.steps < steps]:
        group = [patch for patch in left if patch.position == left[0].position]
        _train_group(group, channels, steps, title, work_of_scale / steps, bar)
    for patch in patches:
        patch.leave()


def _train_group(
    group: Sequence[PatchTrainer], channels: int, steps: int, title: str, work_of_step: float, bar: tqdm
) -> None:
    """Train patches of one position in one batch, until the end of the scale or until one diverges."""
    trainer = ScaleTrainer(
        [patch.state for patch in group],
        [patch.inputs for patch in group],
        channels,
        group[0].schedule,
        steps,
        group[0].device,
    )
    kept = time.monotonic()
    while trainer.step < steps:
        losses = trainer.advance()
        diverged = ~losses.isfinite().all(dim=1)
        end = trainer.step == steps or bool(diverged.any())
        if end or time.monotonic() - kept >= SAVE_EVERY:
            for patch, state, bad in zip(group, trainer.states(), diverged, strict=True):
                patch.retry(trainer.step) if bad else patch.keep(state)
            kept = time.monotonic()
        distance, error = losses.mean(dim=0).tolist()
        bar.set_description_str(f"{title}, step {trainer.step}/{steps}", refresh=False)
        bar.set_postfix_str(f"distance {distance:.3f}, reconstruction {error:.4f}", refresh=False)
        bar.update(work_of_step * len(group))
        if diverged.any():
            bar.total += work_of_step * trainer.step * int(diverged.sum())  # these steps are made again
            return


def sample(pyramid: Pyramid, layouts: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Images for layouts of any size.

    Args:
        pyramid: from `train`.
        layouts: (H, W) int32 label images; they need not be of one size.
        seed: of the initial images and the noise; the same seed on the same device gives the same images.

    Returns:
        (H, W, 3) uint8 RGB images.
    """
    return [images[-1] for images in _sample_scales(pyramid, layouts, seed)]


def sample_scales(pyramid: Pyramid, labels: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """One sample at every scale: (h, w, 3) uint8 RGB images, coarse to fine."""
    return next(_sample_scales(pyramid, [labels], seed))


@torch.no_grad()
def _sample_scales(pyramid: Pyramid, layouts: Sequence[np.ndarray], seed: int) -> Iterator[list[np.ndarray]]:
    device = next(pyramid.parameters()).device
    rng, initial_rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    for labels in layouts:
        noises = [
            torch.randn(1, NOISE_CHANNELS, *size, generator=rng).to(device)
            for size in pyramid.sizes(labels.shape)
        ]
        initial = to_tensor([pyramid.initial_image(labels, initial_rng)], device)
        images = pyramid(to_conditions([labels], device), initial, noises)
        yield [_to_image(image[0]) for image in images]


def _to_image(tensor: torch.Tensor) -> np.ndarray:
    """(3, h, w) in about -1..1 -> (h, w, 3) uint8."""
    levels = (tensor.permute(1, 2, 0) + 1) * 127.5
    return levels.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
