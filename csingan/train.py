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
from csingan.networks.pyramid import NOISE_CHANNELS, Pyramid, scale_ratios
from csingan.training import checkpoint
from csingan.training.patch import Example, Member, made_with, to_conditions, to_tensor
from csingan.training.scale import ScaleTrainer, work

__all__ = [
    "PRESETS",
    "Example",
    "Schedule",
    "check_checkpoints",
    "sample",
    "sample_scales",
    "train",
]

SAVE_EVERY = 10.0  # s from one checkpoint to the next, all that a kill can cost


def train(
    examples: Sequence[Example],
    schedule: Schedule,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> list[Pyramid]:
    """Train one model on each example, all of them side by side in one batch.

    Each has its own weights, losses and random numbers, so that it comes out as it would alone, but for
    rounding. Checkpoints are kept in the folders of the examples. Called again with the same arguments,
    training goes on at the scale and step where it was, and ends at the same models.

    Args:
        examples: at least one, all images of one size.
        schedule: see `PRESETS`.
        seed: of the drafts, the first weights and the noise.
        device: where to train.
        progress: whether to show a bar on stderr.

    Returns:
        The models in the order of the examples, on `device`, with the losses of each scale in their
        attribute `losses`.

    Raises:
        ValueError: no nucleus in an example, or images of several sizes.
        InputError: a checkpoint is broken, or of other settings.
        FloatingPointError: a loss is no longer a finite number, nor is it with a smaller learning rate.
        MemoryError: that of a GPU is too small for them all.
    """
    _check(examples)
    check_checkpoints(examples, schedule, seed)
    members = [Member(example, schedule, seed, torch.device(device)) for example in examples]
    sizes = members[0].pyramid.sizes(examples[0].labels.shape)
    works = [
        schedule.steps_at(k, len(sizes)) * work(size, schedule.channels_at(k, len(sizes)), schedule)
        for k, size in enumerate(sizes)
    ]
    shown = {"bar_format": _BAR, "mininterval": 1, "disable": not progress}
    with _memory_errors(), tqdm(total=sum(works) * len(members), **shown) as bar:
        for k, size in enumerate(sizes):
            steps = schedule.steps_at(k, len(sizes))
            title = f"scale {k + 1}/{len(sizes)} ({size[1]} x {size[0]} px)"
            for member in members:
                member.enter(k, size)
                # Made before; the time left follows from what is made now.
                bar.total -= works[k] * member.steps // steps
            while left := [member for member in members if member.steps < steps]:
                group = [member for member in left if member.position == left[0].position]
                _train_group(group, schedule.channels_at(k, len(sizes)), steps, title, works[k] / steps, bar)
            for member in members:
                member.leave()
    return [member.pyramid for member in members]


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left{postfix}"


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn the error of PyTorch into Python's, which its users can name without it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error


def check_checkpoints(examples: Sequence[Example], schedule: Schedule, seed: int) -> None:
    """Raise InputError where a checkpoint of an example is broken, or was made with other settings."""
    scales = len(scale_ratios(schedule.min_size, schedule.max_size, schedule.scale_factor))
    for example in examples:
        checkpoint.check(example.folder, scales, made_with(example, schedule, seed))


def _check(examples: Sequence[Example]) -> None:
    shapes = {part.shape[:2] for each in examples for part in (each.image, each.labels, *each.layouts)}
    if len(shapes) != 1:
        raise ValueError(
            f"patches that train together, and their layouts, have one size, not {sorted(shapes)}"
        )
    if not all(example.labels.any() for example in examples):
        raise ValueError("the label image holds no nucleus")


def _train_group(
    group: Sequence[Member], channels: int, steps: int, title: str, work_of_step: float, bar: tqdm
) -> None:
    """Train members of one position side by side, until the end of the scale or until one diverges."""
    trainer = ScaleTrainer(
        [member.state for member in group],
        [member.inputs for member in group],
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
            for member, state, bad in zip(group, trainer.states(), diverged, strict=True):
                member.retry(trainer.step) if bad else member.keep(state)
            kept = time.monotonic()
        distance, error = losses.mean(dim=0).tolist()
        bar.set_description_str(f"{title}, step {trainer.step}/{steps}", refresh=False)
        bar.set_postfix_str(f"distance {distance:.3f}, reconstruction {error:.4f}", refresh=False)
        bar.update(work_of_step * len(group))
        if diverged.any():
            bar.total += work_of_step * trainer.step * int(diverged.sum())  # these are to be made again
            return


def sample(pyramid: Pyramid, layouts: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Images for layouts of any size.

    Args:
        pyramid: from `train`.
        layouts: (H, W) int32 label images; they need not be of one size.
        seed: of the drafts and the noise; the same seed on the same device gives the same images.

    Returns:
        (H, W, 3) uint8 RGB images.
    """
    return [images[-1] for images in _sample_scales(pyramid, layouts, seed)]


def sample_scales(pyramid: Pyramid, labels: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """One sample as every scale leaves it: (h, w, 3) uint8 RGB images, coarse to fine."""
    return next(_sample_scales(pyramid, [labels], seed))


@torch.no_grad()
def _sample_scales(pyramid: Pyramid, layouts: Sequence[np.ndarray], seed: int) -> Iterator[list[np.ndarray]]:
    device = next(pyramid.parameters()).device
    rng, drafts_rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    for labels in layouts:
        noises = [
            torch.randn(1, NOISE_CHANNELS, *size, generator=rng).to(device)
            for size in pyramid.sizes(labels.shape)
        ]
        drafts = to_tensor([pyramid.draft(labels, drafts_rng)], device)
        images = pyramid(to_conditions([labels], device), drafts, noises)
        yield [_to_image(image[0]) for image in images]


def _to_image(tensor: torch.Tensor) -> np.ndarray:
    """(3, h, w) in about -1..1 -> (h, w, 3) uint8."""
    levels = (tensor.permute(1, 2, 0) + 1) * 127.5
    return levels.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
