"""Batches: random crops of the inputs of a scale, turned and mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csingan.config import Schedule
from csingan.training.randomness import below

Tensors = dict[str, Tensor]  # (N, C, h, w) each, alike but for C


@dataclass(frozen=True)
class Inputs:
    """What one scale of a patch is trained on."""

    real: Tensors  # of the annotated patch: image, layout, base, and the noise from which it is rebuilt
    fake: Tensors  # the random layouts and their bases
    directed: bool  # whether the tissue runs in one direction, so that only half turns are allowed


def draw(
    inputs: Sequence[Inputs], which: str, schedule: Schedule, generators: Sequence[torch.Generator]
) -> Tensors:
    """A batch of the `real` or the `fake` inputs of several patches, concatenated along the channels."""
    batches = [
        _draw_one(getattr(each, which), each.directed, schedule, generator)
        for each, generator in zip(inputs, generators, strict=True)
    ]
    return {
        name: torch.cat([batch[name] for batch in batches], dim=1).contiguous(
            memory_format=torch.channels_last
        )
        for name in batches[0]
    }


def crop_size(size: tuple[int, int], schedule: Schedule) -> tuple[int, int]:
    """(h, w) of the crops at a scale of `size`, in px."""
    return min(size[0], schedule.crop), min(size[1], schedule.crop)


def batch_count(size: tuple[int, int], schedule: Schedule) -> int:
    """Images in a batch at a scale of `size`."""
    rows, columns = crop_size(size, schedule)
    return max(1, schedule.batch_pixels // (rows * columns))


def _draw_one(source: Tensors, directed: bool, schedule: Schedule, generator: torch.Generator) -> Tensors:
    """Random items, with the same crop and turn for all of their tensors."""
    items, _, height, width = source["layout"].shape
    rows, columns = crop_size((height, width), schedule)
    batch: dict[str, list[Tensor]] = {name: [] for name in source}
    for _ in range(batch_count((height, width), schedule)):
        item, top, left = (below(n, generator) for n in (items, height - rows + 1, width - columns + 1))
        # Half a turn keeps the direction of fibres, and the shape of what is not square.
        turns = below(4, generator) if rows == columns and not directed else 2 * below(2, generator)
        mirrored = below(2, generator) and not directed
        for name, tensor in source.items():
            view = tensor[item, :, top : top + rows, left : left + columns]
            if schedule.augment:
                view = torch.rot90(view, turns, (1, 2))
                view = view.flip(2) if mirrored else view
            batch[name].append(view)
    return {name: torch.stack(views) for name, views in batch.items()}
