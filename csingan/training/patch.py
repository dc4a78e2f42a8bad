"""The training of one patch, scale by scale: its inputs, its state and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csingan.config import Schedule
from csingan.layouts.orientation import is_directed
from csingan.layouts.sampler import conditions
from csingan.networks import initial_image
from csingan.networks.models import Generator
from csingan.networks.pyramid import NOISE_CHANNELS, Pyramid, resize, scale_ratios, start_from
from csingan.training import checkpoint
from csingan.training.batches import Inputs, Tensors
from csingan.training.state import State, averaged_generator, first_state, steps_made

RETRY_RATE = 0.5  # of the learning rate, after a divergence


@dataclass(frozen=True)
class Example:
    """What one CSinGAN is trained on.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image with at least one nucleus.
        layouts: random layouts to train on, (H, W) int32 each.
        folder: for the checkpoints `scale_<k>.safetensors`, k = 1 the coarsest; of this training alone.
    """

    image: np.ndarray
    labels: np.ndarray
    layouts: Sequence[np.ndarray]
    folder: Path


class PatchTrainer:
    """Prepares an example for each scale in turn; `csingan.train` makes the steps.

    Args:
        example: what to train on.
        schedule: see `csingan.config.PRESETS`.
        seed: of the initial images, the first weights and the noise.
        device: where to train.
    """

    def __init__(self, example: Example, schedule: Schedule, seed: int, device: torch.device) -> None:
        self.example, self.schedule, self.seed, self.device = example, schedule, seed, device
        self.pyramid = empty_pyramid(example.image, example.labels, schedule)
        self.inputs: Inputs
        self.state: State
        self._first: State  # of this scale
        self._directed = is_directed(example.image)
        self._scale = -1
        rng = np.random.default_rng(seed)
        initial = [self.pyramid.initial_image(layout, rng) for layout in example.layouts]
        # At full size.
        self._patch = {
            "image": to_tensor([example.image], device),
            "layout": to_conditions([example.labels], device),
            "initial": to_tensor([self.pyramid.initial_image.patch], device),
        }
        self._pool = {
            "layout": to_conditions(example.layouts, device),
            "initial": to_tensor(initial, device),
        }
        # Of the scale below.
        self._patch_below: Tensor | None = None
        self._pool_below: Tensor | None = None

    @property
    def steps(self) -> int:
        """Number of generator steps made at this scale."""
        return steps_made(self.state)

    @property
    def position(self) -> tuple[int, float]:
        """Steps and learning rate; patches of the same position can train in one batch."""
        return self.steps, float(self.state["rate"])

    def enter(self, scale: int, size: tuple[int, int]) -> None:
        """Begin a scale (from 0) of `size` (h, w), or go on from its checkpoint."""
        below = self.state if scale else None
        self._scale = scale
        seed = self.seed * 1000 + 2 * scale  # another one at each scale
        rng = torch.Generator().manual_seed(seed + 1)
        real = {
            "image": resize(self._patch["image"], size),
            "noise": torch.randn(1, NOISE_CHANNELS, *size, generator=rng).to(self.device),
        }
        fake: Tensors = {}
        for each, source, lower in (
            (real, self._patch, self._patch_below),
            (fake, self._pool, self._pool_below),
        ):
            each["layout"] = resize(source["layout"], size)
            each["base"] = start_from(lower, source["initial"], size, self.schedule.detail)
        self.inputs = Inputs(real, fake, self._directed)
        width = self.schedule.channels_at(scale, len(self.pyramid.ratios))
        self._first = first_state(width, seed, below)
        kept = checkpoint.load(self._checkpoint, self._first)
        self.state = self._first if kept is None else kept

    def keep(self, state: State) -> None:
        """Go on from `state`, also after a kill."""
        self.state = state
        checkpoint.save(self._checkpoint, state)

    def retry(self, step: int) -> None:
        """Begin the scale again at a lower learning rate; FloatingPointError the second time.

        It does not go on from the last checkpoint, since the clock decides which step that is of.
        """
        if self.state["rate"] < 1:
            raise FloatingPointError(
                f"scale {self._scale + 1}, step {step}: the loss is no longer a finite number, "
                f"nor is it at {RETRY_RATE:g} times the learning rate"
            )
        self.keep(self._first | {"rate": self._first["rate"] * RETRY_RATE})

    def leave(self) -> None:
        """Add the finished scale to the pyramid.

        It is frozen from now on, so the images that the next scale starts from are computed once. The next
        scale rebuilds the patch from the patch itself at this scale, not from its reconstruction: otherwise
        it would have to correct the errors of the scales below, and would blur.
        """
        generator = add_scale(self.pyramid, self.state, self.schedule, self.device)
        if len(self.pyramid.generators) < len(self.pyramid.ratios):
            rng = torch.Generator().set_state(self.state["rng"])
            self._patch_below = self.inputs.real["image"]
            self._pool_below = _run(generator, self.inputs.fake, rng)

    @property
    def _checkpoint(self) -> Path:
        return checkpoint.path_of(self.example.folder, self._scale)


def empty_pyramid(image: np.ndarray, labels: np.ndarray, schedule: Schedule) -> Pyramid:
    """The pyramid of a patch before any scale is trained: image (H, W, 3) uint8, labels (H, W) int32."""
    ratios = scale_ratios(schedule.min_size, schedule.max_size, schedule.scale_factor)
    return Pyramid(ratios, initial_image.make(schedule.initial_image, image, labels), schedule.detail)


def add_scale(pyramid: Pyramid, state: State, schedule: Schedule, device: torch.device | str) -> Generator:
    """Add the next scale, in its final state, to a pyramid; returns its generator."""
    generator = Generator(schedule.channels_at(len(pyramid.generators), len(pyramid.ratios)))
    generator.load_state_dict(averaged_generator(state))
    generator.to(device).to(memory_format=torch.channels_last)
    pyramid.add(generator, state["losses"])
    return generator


def to_tensor(images: Sequence[np.ndarray], device: torch.device | str) -> Tensor:
    """(H, W, 3) uint8 images -> (N, 3, H, W) float32 in -1..1."""
    pixels = np.stack(images).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)


def to_conditions(layouts: Iterable[np.ndarray], device: torch.device | str) -> Tensor:
    """(H, W) label images -> (N, 2, H, W) float32, see `csingan.layouts.sampler.conditions`."""
    return torch.from_numpy(np.stack([conditions(labels) for labels in layouts])).to(device)


@torch.no_grad()
def _run(generator: Generator, inputs: Tensors, rng: torch.Generator) -> Tensor:
    """The images of all `inputs`, one at a time to limit memory."""
    images = []
    for base, layout in zip(inputs["base"].split(1), inputs["layout"].split(1), strict=True):
        noise = torch.randn(1, NOISE_CHANNELS, *base.shape[-2:], generator=rng).to(base.device)
        images.append(generator(noise, base, layout))
    return torch.cat(images)
