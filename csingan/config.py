"""The settings of training (`Schedule`, with its presets) and of random layouts. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass, replace

SMALLEST = 64  # px, the side of a patch or of a sample


@dataclass(frozen=True)
class LayoutOptions:
    """How random layouts differ from the annotated patch; see `csingan.layouts.sampler.LayoutSampler`."""

    density: tuple[float, float] = (0.8, 1.2)  # range of the share of nuclei, as multiples of the real one
    touching: float | None = None  # share of nuclei that touch another one; None: the real one
    gap: int = 1  # px between nuclei that do not touch
    scale: tuple[float, float] = (0.9, 1.1)  # range of the change of a nucleus's diameter


@dataclass(frozen=True)
class Schedule:
    """Everything that the trained model depends on, besides the patch, its layouts and the seed."""

    min_size: int  # px, side of the coarsest scale of a patch whose side is max_size
    max_size: int  # px; patches of other sizes get the same ratios
    scale_factor: float  # size of one scale as a share of the next finer one, about
    initial_image: str  # what the coarsest scale starts from: "collage" of the patch, or "flat" colours
    detail: bool  # whether the finer scales start from the detail of the initial image too
    channels: int  # width of the hidden layers
    top_channels: int  # and at the finest scale
    steps: tuple[int, int]  # generator steps at the coarsest and at the finest scale, interpolated in between
    critic_steps: int  # critic steps before each generator step
    layouts: int  # random layouts that the steps draw from
    batch_pixels: int  # a batch holds as many images as fit into this many px, at least one
    crop: int  # px; scales larger than this are trained on random crops
    learning_rate: float  # of Adam, at the start of each scale
    final_rate: float  # at its end, with a cosine in between
    penalty_weight: float  # of the gradient penalty
    penalty_every: int  # critic steps from one penalty to the next; its weight grows by this factor
    reconstruction_weight: float
    texture_weight: float  # of the distance between small neighbourhoods (`losses.texture_distance`)
    averaging: float  # decay of the moving average of the generator's weights; 0: no averaging
    augment: bool  # whether the patch is turned and mirrored for the critics and the reconstruction

    def scaled(self, effort: float) -> Schedule:
        """The same schedule with `effort` times the steps, at least one a scale."""
        first, last = (max(1, round(steps * effort)) for steps in self.steps)
        return replace(self, steps=(first, last))

    def steps_at(self, scale: int, scales: int) -> int:
        """Generator steps at one of `scales` scales, in geometric progression from coarse to fine."""
        first, last = self.steps
        return round(first * (last / first) ** (scale / max(scales - 1, 1)))

    def channels_at(self, scale: int, scales: int) -> int:
        """Width of the hidden layers at one of `scales` scales."""
        return self.top_channels if scale == scales - 1 else self.channels


PRESETS = {
    # The authors' values: 500 epochs of 50 layouts at each of 128, 153, 182, 216 and 256 px. For a GPU.
    "paper": Schedule(
        min_size=128,
        max_size=256,
        scale_factor=0.84,
        initial_image="flat",
        detail=False,
        channels=32,
        top_channels=64,
        steps=(25000, 25000),
        critic_steps=3,
        layouts=50,
        batch_pixels=1,
        crop=256,
        learning_rate=5e-4,
        final_rate=5e-5,
        penalty_weight=0.1,
        penalty_every=1,
        reconstruction_weight=10,
        texture_weight=0,
        averaging=0,
        augment=False,
    ),
    # About 40 s on two quiet CPU cores; more steps made the samples worse (docs/measurements.md).
    "fast": Schedule(
        min_size=128,
        max_size=256,
        scale_factor=0.5,
        initial_image="collage",
        detail=True,
        channels=24,
        top_channels=24,
        steps=(100, 60),
        critic_steps=3,
        layouts=24,
        batch_pixels=8192,
        crop=96,
        learning_rate=5e-4,
        final_rate=5e-5,
        penalty_weight=0.1,
        penalty_every=4,
        reconstruction_weight=50,
        texture_weight=50,
        averaging=0.95,
        augment=True,
    ),
}
# A step a scale changes little: the pairs are the collages that `fast` begins with. So far the network of
# stage 3 has learnt as much from them (docs/measurements.md).
PRESETS["collage"] = replace(PRESETS["fast"], steps=(1, 1), layouts=1)
