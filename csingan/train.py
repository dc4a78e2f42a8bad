"""Train one CSinGAN on one annotated patch, and draw samples from it.

Lou et al., "Which Pixel to Annotate" (IEEE TMI 2022); SinGAN (Shaham et al., ICCV 2019); WGAN-GP
(Gulrajani et al., NeurIPS 2017).
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from csingan.losses import gradient_penalty, scores
from csingan.masks import conditions, random_layout
from csingan.models import Critics, Generator, masked_images
from csingan.pyramid import NOISE_CHANNELS, Pyramid, random_noise, resize, scale_ratios
from nuclei.files import atomic_file


@dataclass(frozen=True)
class Schedule:
    """How long and how finely to train."""

    min_size: int  # side of the coarsest scale, px, of a patch whose side is max_size
    max_size: int  # px
    scale_factor: float  # size of one scale as a share of the next finer one
    channels: int  # width of the hidden layers at the lower scales
    top_channels: int  # and at the finest scale
    steps: tuple[int, int]  # generator steps at the coarsest and at the finest scale; even ratios between
    critic_steps: int  # critic steps before each generator step
    layouts: int  # random layouts that the steps draw from
    batch_pixels: int  # a batch holds as many images as fit into this many px, at least 1
    crop: int  # longest side that the networks are trained on, px; larger scales are cropped
    learning_rate: float  # at the start of a scale
    decay: float  # learning rate at the end of a scale, as a share of the start
    penalty_weight: float
    penalty_every: int  # critic steps between two gradient penalties; each then weighs that much more
    reconstruction_weight: float
    averaging: float  # share kept at each step by the running average of the generator's weights; 0: none
    augment: bool  # show the real pair turned and mirrored


PRESETS = {
    # The hyper-parameters of the authors: 500 epochs of 50 layouts at each of 128, 153, 182, 216, 256 px.
    "paper": Schedule(
        min_size=128, max_size=256, scale_factor=0.84, channels=32, top_channels=64,
        steps=(25000, 25000), critic_steps=3, layouts=50, batch_pixels=1, crop=256,
        learning_rate=5e-4, decay=0.1, penalty_weight=0.1, penalty_every=1, reconstruction_weight=10,
        averaging=0, augment=False,
    ),
    "fast": Schedule(
        min_size=32, max_size=256, scale_factor=0.6, channels=32, top_channels=32,
        steps=(300, 120), critic_steps=1, layouts=24, batch_pixels=16384, crop=128,
        learning_rate=2e-3, decay=0.1, penalty_weight=0.1, penalty_every=4, reconstruction_weight=10,
        averaging=0.95, augment=True,
    ),
}


@dataclass
class _Scale:
    """What one scale is trained on. Channels of `real`: image 3, layout 2, base 3, noise; of `pool`: layout, base."""

    real: Tensor  # (1, 8 + NOISE_CHANNELS, h, w)
    pool: Tensor  # (P, 5, h, w)


def train(image, labels, schedule, folder, seed, device="auto", progress=True, losses=None) -> Pyramid:
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    ratios = scale_ratios(schedule.min_size, schedule.max_size, schedule.scale_factor)
    pyramid = Pyramid(ratios).to(device)
    real = to_tensor(image).to(device)
    layout = torch.from_numpy(conditions(labels))[None].to(device)
    layouts_rng = np.random.default_rng(seed)
    pool = [conditions(random_layout(labels, layouts_rng)) for _ in range(schedule.layouts)]
    pool = torch.from_numpy(np.stack(pool)).to(device)
    below = (None, None)
    critics = None
    sizes = pyramid.sizes(image.shape[:2])
    for k, size in enumerate(sizes):
        rng = torch.Generator(device).manual_seed(seed * 1000 + k)
        torch.manual_seed(seed * 1000 + k)
        noise = random_noise(1, size, rng)
        data = _Scale(
            torch.cat([resize(real, size), resize(layout, size), pyramid.base(below[0], 1, size, device), noise], 1),
            torch.cat([resize(pool, size), pyramid.base(below[1], len(pool), size, device)], 1),
        )
        width = schedule.top_channels if k == len(sizes) - 1 else schedule.channels
        generator, critics = _networks(width, pyramid, critics)
        generator.to(device), critics.to(device)
        history = _train_scale(generator, critics, data, schedule, k, len(sizes), rng, progress)
        if losses is not None: losses.append(history)
        generator.requires_grad_(False)
        pyramid.generators.append(generator)
        with torch.no_grad():
            lay, base, _ = data.real[:, 3:5], data.real[:, 5:8], None
            r = generator(data.real[:, 8:], base, lay)
            f = torch.cat([generator(random_noise(1, size, rng), p[None, 2:], p[None, :2]) for p in data.pool])
        below = (r, f)
    return pyramid


def _networks(width, pyramid, critics):
    generator, fresh = Generator(width), Critics(width)
    if pyramid.generators:
        try:
            generator.load_state_dict(pyramid.generators[-1].state_dict())
            fresh.load_state_dict(critics.state_dict())
        except RuntimeError:
            pass
    return generator, fresh


def steps_at(schedule, k, count):
    a, b = schedule.steps
    return round(a * (b / a) ** (k / max(count - 1, 1)))


def _train_scale(generator, critics, data, schedule, k, count, rng, progress):
    steps = steps_at(schedule, k, count)
    optimizers = [torch.optim.Adam(net.parameters(), lr=schedule.learning_rate, betas=(0.5, 0.999)) for net in (generator, critics)]
    cur = [torch.optim.lr_scheduler.CosineAnnealingLR(o, steps, schedule.learning_rate * schedule.decay) for o in optimizers]
    average = copy.deepcopy(generator)
    history = []
    n_critic = 0
    bar = tqdm(range(steps), disable=not progress, desc=f"scale {k} {tuple(data.real.shape[-2:])}", mininterval=1)
    for step in bar:
        for _ in range(schedule.critic_steps):
            real = _draw(data.real, schedule, rng)
            fake = _draw(data.pool, schedule, rng)
            with torch.no_grad():
                generated = generator(random_noise(len(fake), fake.shape[-2:], rng), fake[:, 2:], fake[:, :2])
            rm, fm = real[:, 3:4], fake[:, :1]
            s = scores(critics, torch.cat([masked_images(real[:, :3], rm), masked_images(generated, fm)]), torch.cat([rm, fm]))
            sr, sf = s.chunk(2)
            loss = (sf - sr).mean(0).sum()
            wd = -loss.item()
            if n_critic % schedule.penalty_every == 0:
                loss = loss + schedule.penalty_weight * schedule.penalty_every * gradient_penalty(critics, real[:, :3], rm, generated, fm, rng).sum()
            n_critic += 1
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
        real = _draw(data.real, schedule, rng)
        fake = _draw(data.pool, schedule, rng)
        out = generator(
            torch.cat([random_noise(len(fake), fake.shape[-2:], rng), real[:, 8:]]),
            torch.cat([fake[:, 2:], real[:, 5:8]]),
            torch.cat([fake[:, :2], real[:, 3:5]]),
        )
        generated, rebuilt = out.chunk(2)
        critics.requires_grad_(False)
        adv = -scores(critics, masked_images(generated, fake[:, :1]), fake[:, :1]).mean(0).sum()
        critics.requires_grad_(True)
        rec = (rebuilt - real[:, :3]).square().mean()
        loss = adv + schedule.reconstruction_weight * rec
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        for c in cur: c.step()
        with torch.no_grad():
            for a, p in zip(average.parameters(), generator.parameters()):
                a.lerp_(p, 1 - min(schedule.averaging, (step + 1) / (step + 10)))
        history.append((wd, adv.item(), rec.item()))
        if step % 10 == 0: bar.set_postfix(wd=f"{wd:.3f}", rec=f"{rec.item():.4f}")
    generator.load_state_dict(average.state_dict())
    return history


def _draw(source, schedule, rng):
    height, width = source.shape[-2:]
    h, w = min(height, schedule.crop), min(width, schedule.crop)
    out = []
    for _ in range(max(1, round(schedule.batch_pixels / (h * w)))):
        i = int(torch.randint(len(source), (), generator=rng, device=rng.device))
        y = int(torch.randint(height - h + 1, (), generator=rng, device=rng.device))
        x = int(torch.randint(width - w + 1, (), generator=rng, device=rng.device))
        t = source[i, :, y:y + h, x:x + w]
        if schedule.augment:
            q = int(torch.randint(8, (), generator=rng, device=rng.device))
            if h == w: t = torch.rot90(t, q % 4, (1, 2))
            if q >= 4: t = t.flip(2)
        out.append(t)
    return torch.stack(out)


def to_tensor(image):
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def to_image(t):
    return ((t.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def sample(pyramid, layouts, seed):
    device = next(pyramid.parameters()).device
    rng = torch.Generator(device).manual_seed(seed)
    res = []
    for labels in layouts:
        noises = [random_noise(1, s, rng) for s in pyramid.sizes(labels.shape)]
        res.append(to_image(pyramid(torch.from_numpy(conditions(labels))[None].to(device), noises)[-1][0]))
    return res
