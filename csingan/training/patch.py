"""One patch on its way up the pyramid: what it is trained on at each scale, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csingan.config import DRAFTS, Schedule
from csingan.layouts.orientation import is_directed
from csingan.layouts.sampler import conditions
from csingan.networks import initial_image
from csingan.networks.models import Generator
from csingan.networks.pyramid import NOISE_CHANNELS, Pyramid, resize, scale_ratios, start_from
from csingan.training import checkpoint
from csingan.training.batches import Inputs, Tensors
from csingan.training.state import State, averaged_generator, first_state, steps_made
from nuclei.io.files import digest

RETRY_RATE = 0.5  # of the learning rate, after a divergence


@dataclass(frozen=True)
class Example:
    """What one CSinGAN is trained on.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image with at least one nucleus.
        layouts: random layouts to train on, (H, W) int32 each.
        folder: for the checkpoints `scale_<k>.safetensors`, k = 1 the coarsest.
    """

    image: np.ndarray
    labels: np.ndarray
    layouts: Sequence[np.ndarray]
    folder: Path


class Member:
    """Leads an example from scale to scale; `csingan.train` makes the steps.

    Args:
        example: what to train on.
        schedule: see `csingan.config.PRESETS`.
        seed: of the drafts, the first weights and the noise.
        device: where to train.
    """

    def __init__(self, example: Example, schedule: Schedule, seed: int, device: torch.device) -> None:
        self.example, self.schedule, self.seed, self.device = example, schedule, seed, device
        self.made_with = made_with(example, schedule, seed)
        ratios = scale_ratios(schedule.min_size, schedule.max_size, schedule.scale_factor)
        self.pyramid = Pyramid(
            ratios, initial_image.make(schedule.draft, example.image, example.labels), schedule.detail
        )
        self.inputs: Inputs
        self.state: State
        self._first: State  # of this scale
        self._directed = is_directed(example.image)
        self._scale = -1
        rng = np.random.default_rng(seed)
        drafts = [self.pyramid.draft(layout, rng) for layout in example.layouts]
        # At full size.
        self._patch = {
            "image": to_tensor([example.image], device),
            "layout": to_conditions([example.labels], device),
            "draft": to_tensor([self.pyramid.draft.patch], device),
        }
        self._pool = {
            "layout": to_conditions(example.layouts, device),
            "draft": to_tensor(drafts, device),
        }
        # Of the scale below.
        self._patch_below: Tensor | None = None
        self._pool_below: Tensor | None = None

    @property
    def steps(self) -> int:
        """Generator steps made at this scale."""
        return steps_made(self.state)

    @property
    def position(self) -> tuple[int, float]:
        """Members of one position can go on side by side."""
        return self.steps, float(self.state["rate"])

    def enter(self, scale: int, size: tuple[int, int]) -> None:
        """Get ready for a scale (from 0) of `size` (h, w): from its checkpoint where there is one."""
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
            each["base"] = start_from(lower, source["draft"], size, self.schedule.detail)
        self.inputs = Inputs(real, fake, self._directed)
        kept = checkpoint.load(self._checkpoint, self.made_with)
        width = self.schedule.channels_at(scale, len(self.pyramid.ratios))
        self._first = first_state(width, seed, below)
        self.state = self._first if kept is None else kept

    def keep(self, state: State) -> None:
        """Go on from `state` from now on, also after a kill."""
        self.state = state
        checkpoint.save(self._checkpoint, state, self.made_with)

    def retry(self, step: int) -> None:
        """Begin the scale again, with a smaller rate; FloatingPointError the second time, naming the step.

        The state that was kept last will not do: which one that is depends on the clock.
        """
        if self.state["rate"] < 1:
            raise FloatingPointError(
                f"scale {self._scale + 1}, step {step}: the loss is no longer a finite number, "
                f"nor is it at {RETRY_RATE:g} times the learning rate"
            )
        self.keep(self._first | {"rate": self._first["rate"] * RETRY_RATE})

    def leave(self) -> None:
        """Put the finished scale on top of the pyramid.

        It is frozen from here on, so what the next scale starts from is computed once. The patch is not
        rebuilt from the rebuilt one: the detail that a scale adds would then have to mend, by blurring,
        what the lower ones missed.
        """
        generator = Generator(self.schedule.channels_at(self._scale, len(self.pyramid.ratios)))
        generator.load_state_dict(averaged_generator(self.state))
        generator.to(self.device, memory_format=torch.channels_last)
        self.pyramid.add(generator, self.state["losses"])
        if len(self.pyramid.generators) < len(self.pyramid.ratios):
            rng = torch.Generator().set_state(self.state["rng"])
            self._patch_below = self.inputs.real["image"]
            self._pool_below = _run(generator, self.inputs.fake, rng)

    @property
    def _checkpoint(self) -> Path:
        return checkpoint.path_of(self.example.folder, self._scale)


def made_with(example: Example, schedule: Schedule, seed: int) -> dict:
    """What the trained model depends on, as it is kept in the checkpoints."""
    arrays = (example.image, example.labels, *example.layouts)
    pixels = digest(f"{array.shape} {array.dtype}".encode() + array.tobytes() for array in arrays)
    return {**asdict(schedule), "seed": seed, "drafts": DRAFTS, "patch, masks and layouts": pixels}


def to_tensor(images: Sequence[np.ndarray], device: torch.device | str) -> Tensor:
    """(H, W, 3) uint8 images -> (N, 3, H, W) float32 in -1..1."""
    pixels = np.stack(images).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)


def to_conditions(layouts: Iterable[np.ndarray], device: torch.device | str) -> Tensor:
    """(H, W) label images -> (N, 2, H, W) float32, see `csingan.layouts.sampler.conditions`."""
    return torch.from_numpy(np.stack([conditions(labels) for labels in layouts])).to(device)


@torch.no_grad()
def _run(generator: Generator, inputs: Tensors, rng: torch.Generator) -> Tensor:
    """The images of all `inputs`, one at a time, which bounds the memory."""
    images = []
    for base, layout in zip(inputs["base"].split(1), inputs["layout"].split(1), strict=True):
        noise = torch.randn(1, NOISE_CHANNELS, *base.shape[-2:], generator=rng).to(base.device)
        images.append(generator(noise, base, layout))
    return torch.cat(images)
