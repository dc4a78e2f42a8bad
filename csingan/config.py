"""How long and how finely to train: one dataclass and its presets. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass, replace

# The version of the drafts (`csingan.networks.initial_image`), from which models learn. Raise it where they
# change: models of before are then not taken for ones of now.
DRAFTS = 2


@dataclass(frozen=True)
class Schedule:
    """Everything the trained model depends on, next to the patch and the seed."""

    min_size: int  # px, side of the coarsest scale of a patch whose side is max_size
    max_size: int  # px; patches of other sizes get the same ratios
    scale_factor: float  # size of one scale as a share of the next finer one, about
    draft: str  # what the coarsest scale starts from: "collage" of the patch, or "flat" colours
    detail: bool  # whether the finer scales start from the draft's detail too
    channels: int  # width of the hidden layers
    top_channels: int  # and at the finest scale
    steps: tuple[int, int]  # generator steps at the coarsest and at the finest scale, graded in between
    critic_steps: int  # critic steps before each generator step
    layouts: int  # random layouts that the steps draw from
    batch_pixels: int  # a batch holds as many images as fit into this many px, at least one
    crop: int  # px; scales larger than this are trained on random crops
    learning_rate: float  # of Adam, at the start of each scale
    final_rate: float  # at its end, with a cosine in between
    penalty_weight: float  # of the gradient penalty
    penalty_every: int  # critic steps from one penalty to the next, which weighs that much more
    reconstruction_weight: float
    texture_weight: float  # of the distance between small neighbourhoods (`losses.texture_distance`)
    averaging: float  # share that the average of the generator's weights keeps at each step; 0 takes the last
    augment: bool  # whether the critics and the reconstruction see the patch turned and mirrored

    def scaled(self, effort: float) -> Schedule:
        """The same schedule with `effort` times the steps, at least one a scale."""
        first, last = (max(1, round(steps * effort)) for steps in self.steps)
        return replace(self, steps=(first, last))

    def steps_at(self, scale: int, scales: int) -> int:
        """Generator steps at one of `scales` scales; even ratios from the coarsest to the finest."""
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
        draft="flat",
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
    # About half a minute on two CPU cores; more steps made the samples worse (docs/measurements.md).
    "fast": Schedule(
        min_size=128,
        max_size=256,
        scale_factor=0.5,
        draft="collage",
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
