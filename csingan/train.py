"""Train one CSinGAN on one annotated patch, scale by scale, and draw samples from it.

Lou et al., "Which Pixel to Annotate" (IEEE TMI 2022), with the pyramid of SinGAN (Shaham et al., ICCV
2019) and the losses of WGAN-GP (Gulrajani et al., NeurIPS 2017).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from csingan import draft
from csingan.direction import is_directed, nucleus_rotation
from csingan.masks import conditions, random_layout
from csingan.models import Critics, Generator
from csingan.pyramid import Pyramid, random_noise, resize, scale_ratios
from csingan.scale import ScaleTrainer, Tensors
from csingan.schedule import PRESETS, Schedule
from nuclei.errors import InputError
from nuclei.files import atomic_file

__all__ = ["PRESETS", "Schedule", "find_device", "sample", "sample_scales", "train"]


def train(
    image: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    folder: Path,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Pyramid:
    """Train on one annotated patch.

    Each finished scale is kept in `folder`. Called again with the same arguments, training goes on at
    the first scale that is missing there, and ends at the same model.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image with at least one nucleus.
        schedule: see `PRESETS`.
        folder: for the checkpoints `scale_<k>.safetensors`, k = 1 the coarsest.
        seed: of the layouts, the first weights and the noise.
        device: where to train.
        progress: whether to report on stderr.

    Returns:
        The model, on `device`, with the losses of each scale in its attribute `losses`.

    Raises:
        ValueError: `labels` holds no nucleus.
        FloatingPointError: a loss is no longer a finite number.
    """
    device = torch.device(device)
    pyramid, patch, pool = _prepare(image, labels, schedule, seed, device)
    fingerprint = _fingerprint(image, labels, schedule, seed)

    critics = None
    sizes = pyramid.sizes(labels.shape)
    for k, size in enumerate(sizes):
        path = Path(folder) / f"scale_{k + 1}.safetensors"
        rng = torch.Generator(device).manual_seed(_scale_seed(seed, k))
        real, fake = _inputs(patch, pool, size, rng)
        width = schedule.top_channels if k == len(sizes) - 1 else schedule.channels
        generator, critics = _networks(width, pyramid, critics, _scale_seed(seed, k), device)
        losses = _load(path, fingerprint, generator, critics)
        if losses is None:
            title = f"scale {k + 1}/{len(sizes)} ({size[1]} x {size[0]} px)"
            trainer = ScaleTrainer(generator, critics, schedule, rng, is_directed(image))
            losses = trainer.run(real, fake, schedule.steps_at(k, len(sizes)), title, progress)
            _save(path, fingerprint, generator, critics, losses)
        elif progress:
            tqdm.write(f"scale {k + 1}/{len(sizes)} is finished in {path}, kept", file=sys.stderr)
        pyramid.add(generator, losses)
        if k + 1 < len(sizes):
            # Frozen from here on, so what the next scale starts from is computed once. The patch is not
            # rebuilt from the rebuilt one: the detail that a scale adds would then have to mend, by
            # blurring, what the lower ones missed.
            patch["below"] = real["image"]
            pool["below"] = _run(generator, fake, rng.manual_seed(_scale_seed(seed, k) + 1))
    return pyramid


def _prepare(
    image: np.ndarray, labels: np.ndarray, schedule: Schedule, seed: int, device: torch.device
) -> tuple[Pyramid, Tensors, Tensors]:
    """A pyramid without scales; the patch and the random layouts at full size, and what lies `below` each."""
    rng = np.random.default_rng(seed)
    rotate = nucleus_rotation(image)
    layouts = [random_layout(labels, rng, rotate=rotate) for _ in range(schedule.layouts)]
    ratios = scale_ratios(schedule.min_size, schedule.max_size, schedule.scale_factor)
    pyramid = Pyramid(ratios, draft.make(schedule.draft, image, labels))
    patch = {
        "image": _to_tensor([image], device),
        "layout": _to_conditions([labels], device),
        "below": _to_tensor([pyramid.draft.patch], device),
    }
    drafts = [pyramid.draft(layout, rng) for layout in layouts]
    pool = {"layout": _to_conditions(layouts, device), "below": _to_tensor(drafts, device)}
    return pyramid, patch, pool


def sample(pyramid: Pyramid, layouts: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Images for layouts of any size.

    Args:
        pyramid: from `train`.
        layouts: (H, W) int32 label images; they need not be of one size.
        seed: of the noise; the same seed on the same device gives the same images.

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
    rng, drafts_rng = torch.Generator(device).manual_seed(seed), np.random.default_rng(seed)
    for labels in layouts:
        noises = [random_noise(1, size, rng) for size in pyramid.sizes(labels.shape)]
        drafts = _to_tensor([pyramid.draft(labels, drafts_rng)], device)
        images = pyramid(_to_conditions([labels], device), drafts, noises)
        yield [_to_image(image[0]) for image in images]


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one. InputError where it cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used ({reason}); use --device auto or cpu") from error


def _inputs(
    patch: Tensors, pool: Tensors, size: tuple[int, int], rng: torch.Generator
) -> tuple[Tensors, Tensors]:
    """What a scale is trained on: the real patch and the pool of random layouts (see `ScaleTrainer.run`)."""
    real = {"image": resize(patch["image"], size), "noise": random_noise(1, size, rng)}
    fake = {}
    for each, source in ((real, patch), (fake, pool)):
        each["layout"], each["base"] = resize(source["layout"], size), resize(source["below"], size)
    return real, fake


@torch.no_grad()
def _run(generator: Generator, inputs: Tensors, rng: torch.Generator) -> Tensor:
    """The images of all `inputs`, one at a time, which bounds the memory."""
    pairs = zip(inputs["base"].split(1), inputs["layout"].split(1), strict=True)
    return torch.cat(
        [generator(random_noise(1, base.shape[-2:], rng), base, layout) for base, layout in pairs]
    )


def _networks(
    width: int, pyramid: Pyramid, critics: Critics | None, seed: int, device: torch.device
) -> tuple[Generator, Critics]:
    """The networks of the next scale; they start as those of the scale below where the width is the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, fresh = Generator(width), Critics(width)
    if critics is not None and critics.width == width:
        generator.load_state_dict(pyramid.generators[-1].state_dict())
        fresh.load_state_dict(critics.state_dict())
    # About twice as fast on a CPU.
    return tuple(net.to(device, memory_format=torch.channels_last) for net in (generator, fresh))


def _scale_seed(seed: int, scale: int) -> int:
    """Each scale has its own random numbers, so that a resumed run draws the same ones."""
    return seed * 1000 + 2 * scale


def _to_tensor(images: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """(H, W, 3) uint8 images -> (N, 3, H, W) float32 in -1..1."""
    pixels = np.stack(images).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)


def _to_image(tensor: Tensor) -> np.ndarray:
    """(3, h, w) in about -1..1 -> (h, w, 3) uint8."""
    levels = (tensor.permute(1, 2, 0) + 1) * 127.5
    return levels.round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _to_conditions(layouts: Iterable[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack([conditions(labels) for labels in layouts])).to(device)


def _fingerprint(image: np.ndarray, labels: np.ndarray, schedule: Schedule, seed: int) -> str:
    """What a checkpoint must have been made from to be used again."""
    digest = hashlib.sha256(json.dumps([asdict(schedule), seed, image.shape]).encode())
    digest.update(image.tobytes())
    digest.update(labels.astype(np.int32).tobytes())
    return digest.hexdigest()


def _save(path: Path, fingerprint: str, generator: Generator, critics: Critics, losses: Tensor) -> None:
    parts = {"generator": generator.state_dict(), "critics": critics.state_dict(), "": {"losses": losses}}
    tensors = {
        f"{part}.{name}".lstrip("."): tensor.contiguous()
        for part, state in parts.items()
        for name, tensor in state.items()
    }
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"fingerprint": fingerprint})


def _load(path: Path, fingerprint: str, generator: Generator, critics: Critics) -> Tensor | None:
    """Fill the networks from a checkpoint; returns its losses, None where it is missing or another run's."""
    try:
        with safe_open(path, "pt") as checkpoint:
            if checkpoint.metadata() != {"fingerprint": fingerprint}:
                return None
            tensors = {name: checkpoint.get_tensor(name) for name in checkpoint.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return None
    for name, network in (("generator", generator), ("critics", critics)):
        prefix = f"{name}."
        network.load_state_dict(
            {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        )
    return tensors["losses"]
