"""The training steps of one scale, for one patch or for several in one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Adam

from csingan.config import Schedule
from csingan.networks.losses import LINES, gradient_penalty, scores, texture_distance
from csingan.networks.models import CRITICS, Networks, masked_images
from csingan.networks.pyramid import NOISE_CHANNELS
from csingan.training.batches import Inputs, Tensors, crop_size, draw
from csingan.training.randomness import Randomness
from csingan.training.state import State, join, split, steps_made


class ScaleTrainer:
    """Alternates critic and generator steps.

    Args:
        states: of each patch, all after the same number of steps and at the same learning rate.
        inputs: of each patch, all of one size.
        channels: width of the hidden layers.
        schedule: rates, weights and batches.
        steps: generator steps of the whole scale.
        device: where to train.
    """

    def __init__(
        self,
        states: Sequence[State],
        inputs: Sequence[Inputs],
        channels: int,
        schedule: Schedule,
        steps: int,
        device: torch.device | str,
    ) -> None:
        self.schedule, self.steps, self.inputs = schedule, steps, inputs
        self.step = steps_made(states[0])
        self._rate = states[0]["rate"]
        self._losses = [[state["losses"]] for state in states]
        generators = [torch.Generator() for _ in states]
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state["rng"])
        self._random = Randomness(generators, device)

        networks = Networks(channels, len(states)).to(device)
        self.networks, self.generator, self.critics = networks, networks.generator, networks.critics
        self._optimizers = [
            Adam(network.parameters(), betas=(0.5, 0.999)) for network in (self.generator, self.critics)
        ]
        updates = (self.step, self.step * schedule.critic_steps)
        join(states, networks, self._optimizers, updates)

    def states(self) -> list[State]:
        """The current state of each patch, copied."""
        return [
            state | {"rng": generator.get_state(), "losses": torch.cat(losses), "rate": self._rate}
            for state, generator, losses in zip(
                split(self.networks, self._optimizers), self._random.generators, self._losses, strict=True
            )
        ]

    def advance(self) -> Tensor:
        """Make one generator step, after those of the critics.

        Returns:
            (patches, 2) on the CPU: the critics' estimate of the Wasserstein distance, summed over the
            three, and the reconstruction error (mean square, colours in -1..1).
        """
        schedule = self.schedule
        for optimizer in self._optimizers:
            optimizer.param_groups[0]["lr"] = float(self._rate) * _cosine(schedule, self.step / self.steps)
        for turn in range(schedule.critic_steps):
            penalise = (self.step * schedule.critic_steps + turn) % schedule.penalty_every == 0
            distance = self.critic_step(self._draw("real"), self._draw("fake"), penalise)
        error = self.generator_step(self._draw("real"), self._draw("fake"))
        self._average()
        self.step += 1
        losses = torch.stack([distance, error], dim=1).cpu()
        for kept, row in zip(self._losses, losses.split(1), strict=True):
            kept.append(row)
        return losses

    def critic_step(self, real: Tensors, fake: Tensors, penalise: bool) -> Tensor:
        """Widen the gap between the scores of real and generated images; returns the gap, (patches,)."""
        with torch.no_grad():
            generated = self.generator(self._noise(fake), fake["base"], fake["layout"])
        images = torch.cat([real["image"], generated])
        masks = _masks(torch.cat([real["layout"], fake["layout"]]))
        of_real, of_fake = scores(self.critics, masked_images(images, masks), masks).split(
            [len(real["image"]), len(generated)]
        )
        gap = (of_real.mean(dim=0) - of_fake.mean(dim=0)).unflatten(0, (-1, len(CRITICS))).sum(dim=1)
        loss = -gap.sum()
        if penalise:
            share = self._random.uniform((len(generated), 1, 1, 1))
            penalty = gradient_penalty(
                self.critics, real["image"], _masks(real["layout"]), generated, _masks(fake["layout"]), share
            ).sum()
            loss = loss + self.schedule.penalty_weight * self.schedule.penalty_every * penalty
        self._update(1, loss)
        return gap.detach()

    def generator_step(self, real: Tensors, fake: Tensors) -> Tensor:
        """Lower the three losses of the generator; returns the reconstruction error, (patches,)."""
        schedule, count = self.schedule, len(fake["layout"])
        images = self.generator(
            torch.cat([self._noise(fake), real["noise"]]),
            torch.cat([fake["base"], real["base"]]),
            torch.cat([fake["layout"], real["layout"]]),
        )
        mask = _masks(fake["layout"])
        self.critics.requires_grad_(False)
        loss = -scores(self.critics, masked_images(images[:count], mask), mask).mean(dim=0).sum()
        error = (images[count:] - real["image"]).square().unflatten(1, (-1, 3)).mean(dim=(0, 2, 3, 4))
        loss = loss + schedule.reconstruction_weight * error.sum()
        if schedule.texture_weight:
            distance = texture_distance(
                images[:count], fake["layout"], real["image"], real["layout"], self._random.normal(LINES, 0)
            )
            loss = loss + schedule.texture_weight * distance.sum()
        self._update(0, loss)
        self.critics.requires_grad_(True)
        return error.detach()

    def _update(self, which: int, loss: Tensor) -> None:
        self._optimizers[which].zero_grad()
        loss.backward()
        self._optimizers[which].step()

    def _average(self) -> None:
        # The first steps move far, so they count for less.
        keep = min(self.schedule.averaging, self.step / (self.step + 10))
        pairs = zip(self.networks.average.parameters(), self.generator.parameters(), strict=True)
        for average, weight in pairs:
            average.lerp_(weight.detach(), 1 - keep)

    def _noise(self, fake: Tensors) -> Tensor:
        count, _, height, width = fake["layout"].shape
        return self._random.normal((count, NOISE_CHANNELS, height, width))

    def _draw(self, which: str) -> Tensors:
        return draw(self.inputs, which, self.schedule, self._random.generators)


def work(size: tuple[int, int], channels: int, schedule: Schedule) -> int:
    """The duration of a step at a scale of `size` (h, w), in arbitrary units."""
    rows, columns = crop_size(size, schedule)
    return max(rows * columns, schedule.batch_pixels) * channels


def _masks(layout: Tensor) -> Tensor:
    """(N, patches * 2, h, w) conditions -> the mask of each patch, (N, patches, h, w)."""
    return layout[:, ::2]


def _cosine(schedule: Schedule, done: float) -> float:
    """The learning rate after the share `done`, 0..1, of the steps of a scale."""
    first, last = schedule.learning_rate, schedule.final_rate
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
