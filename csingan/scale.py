"""Train the generator and the critics of one scale."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR
from tqdm import tqdm

from csingan.losses import gradient_penalty, scores, texture_distance
from csingan.models import masked_images
from csingan.pyramid import random_noise
from csingan.schedule import Schedule

Tensors = dict[str, Tensor]  # (N, C, h, w) each, alike but for C


class ScaleTrainer:
    """Alternates critic and generator steps at one scale.

    Args:
        generator: maps noise, base and layout to images.
        critics: maps masked images to one map a critic.
        schedule: rates, weights and batches.
        rng: source of every random choice, on the device of the networks.
        directed: whether the tissue runs in one direction, so that it may be turned by half a turn only.
    """

    def __init__(
        self,
        generator: nn.Module,
        critics: nn.Module,
        schedule: Schedule,
        rng: torch.Generator,
        directed: bool,
    ) -> None:
        self.generator, self.critics = generator, critics
        self.average = copy.deepcopy(generator).requires_grad_(False)
        self.schedule, self.rng, self.directed = schedule, rng, directed
        self.optimizers = [
            Adam(network.parameters(), lr=schedule.learning_rate, betas=(0.5, 0.999))
            for network in (generator, critics)
        ]

    def run(self, real: Tensors, fake: Tensors, steps: int, title: str, progress: bool) -> Tensor:
        """Train; the generator ends with its averaged weights.

        Args:
            real: the annotated patch at this scale: image, layout, base and the fixed noise that
                rebuilds it, one of each.
            fake: the random layouts and their bases.
            steps: generator steps.
            title: heads the progress bar.
            progress: whether to show it.

        Returns:
            (steps, 2): the critics' estimate of the Wasserstein distance, summed over the three, and
            the reconstruction error (mean square, colours in -1..1).
        """
        schedule = self.schedule
        rates = [CosineAnnealingLR(each, steps, schedule.final_rate) for each in self.optimizers]
        losses = torch.zeros(steps, 2)
        bar = tqdm(range(steps), title, unit="step", leave=False, mininterval=1, disable=not progress)
        for step in bar:
            for turn in range(schedule.critic_steps):
                penalise = (step * schedule.critic_steps + turn) % schedule.penalty_every == 0
                distance = self.critic_step(self._draw(real), self._draw(fake), penalise)
            error = self.generator_step(self._draw(real), self._draw(fake))
            self._average(step)
            for rate in rates:
                rate.step()
            losses[step] = torch.stack([distance, error]).cpu()
            if not losses[step].isfinite().all():
                raise FloatingPointError(f"{title}, step {step + 1}: the loss is no longer a finite number")
            bar.set_postfix_str(
                f"distance {losses[step, 0]:.3f}, reconstruction {losses[step, 1]:.4f}", refresh=False
            )
        self.generator.load_state_dict(self.average.state_dict())
        return losses

    def critic_step(self, real: Tensors, fake: Tensors, penalise: bool) -> Tensor:
        """Widen the gap between the scores of real and generated images; returns that gap."""
        schedule = self.schedule
        with torch.no_grad():
            generated = self.generator(self._noise(fake), fake["base"], fake["layout"])
        real_mask, fake_mask = real["layout"][:, :1], fake["layout"][:, :1]
        gap = (
            scores(self.critics, masked_images(real["image"], real_mask), real_mask).mean(dim=0)
            - scores(self.critics, masked_images(generated, fake_mask), fake_mask).mean(dim=0)
        ).sum()
        loss = -gap
        if penalise:
            penalty = gradient_penalty(
                self.critics, real["image"], real_mask, generated, fake_mask, self.rng
            ).sum()
            loss = loss + schedule.penalty_weight * schedule.penalty_every * penalty
        self._update(1, loss)
        return gap.detach()

    def generator_step(self, real: Tensors, fake: Tensors) -> Tensor:
        """Please the critics, match the texture, rebuild the real image; returns the error of the latter."""
        count = len(fake["layout"])
        images = self.generator(
            torch.cat([self._noise(fake), real["noise"]]),
            torch.cat([fake["base"], real["base"]]),
            torch.cat([fake["layout"], real["layout"]]),
        )
        mask = fake["layout"][:, :1]
        self.critics.requires_grad_(False)
        adversarial = -scores(self.critics, masked_images(images[:count], mask), mask).mean(dim=0).sum()
        error = (images[count:] - real["image"]).square().mean()
        loss = adversarial + self.schedule.reconstruction_weight * error
        if self.schedule.texture_weight:
            distance = texture_distance(
                images[:count], fake["layout"], real["image"], real["layout"], self.rng
            )
            loss = loss + self.schedule.texture_weight * distance
        self._update(0, loss)
        self.critics.requires_grad_(True)
        return error.detach()

    def _update(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()

    def _average(self, step: int) -> None:
        # The first steps move far, so they are forgotten sooner.
        keep = min(self.schedule.averaging, step / (step + 10))
        for average, weight in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            average.lerp_(weight.detach(), 1 - keep)

    def _noise(self, fake: Tensors) -> Tensor:
        count, _, height, width = fake["layout"].shape
        return random_noise(count, (height, width), self.rng)

    def _draw(self, source: Tensors) -> Tensors:
        """A batch: random items, the same random crop and turn in each of their tensors."""
        schedule = self.schedule
        items, _, height, width = source["layout"].shape
        rows, columns = min(height, schedule.crop), min(width, schedule.crop)
        batch: dict[str, list[Tensor]] = {name: [] for name in source}
        for _ in range(max(1, schedule.batch_pixels // (rows * columns))):
            item, top, left = (self._below(n) for n in (items, height - rows + 1, width - columns + 1))
            # Half a turn keeps the direction of fibres, and the shape of what is not square.
            turns = self._below(4) if rows == columns and not self.directed else 2 * self._below(2)
            mirrored = self._below(2) and not self.directed
            for name, tensor in source.items():
                view = tensor[item, :, top : top + rows, left : left + columns]
                if schedule.augment:
                    view = torch.rot90(view, turns, (1, 2))
                    view = view.flip(2) if mirrored else view
                batch[name].append(view)
        return {
            name: torch.stack(views).contiguous(memory_format=torch.channels_last)
            for name, views in batch.items()
        }

    def _below(self, limit: int) -> int:
        return int(torch.randint(limit, (), generator=self.rng, device=self.rng.device))
