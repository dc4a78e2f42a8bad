"""Train one CSinGAN on one annotated patch, scale by scale, and draw samples from it.

Lou et al., "Which Pixel to Annotate" (IEEE TMI 2022), with the pyramid of SinGAN (Shaham et al., ICCV
2019) and the losses of WGAN-GP (Gulrajani et al., NeurIPS 2017).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

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
    layouts_rng = np.random.default_rng(seed)
    rotate = nucleus_rotation(image)
    layouts = [random_layout(labels, layouts_rng, rotate=rotate) for _ in range(schedule.layouts)]
    ratios = scale_ratios(schedule.min_size, schedule.max_size, schedule.scale_factor)
    pyramid = Pyramid(ratios, _typical_colours(image, labels)).to(device)
    patch = {"image": _to_tensor(image).to(device), "layout": _to_conditions([labels], device)}
    pool = {"layout": _to_conditions(layouts, device)}
    fingerprint = _fingerprint(image, labels, schedule, seed)

    critics = None
    sizes = pyramid.sizes(labels.shape)
    for k, size in enumerate(sizes):
        path = Path(folder) / f"scale_{k + 1}.safetensors"
        rng = torch.Generator(device).manual_seed(_scale_seed(seed, k))
        real, fake = _inputs(pyramid, patch, pool, size, sizes[k - 1] if k else None, rng)
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
            # Frozen from here on, so what the next scale starts from is computed once.
            pool["below"] = _run(generator, fake, rng.manual_seed(_scale_seed(seed, k) + 1))
    return pyramid


def sample(pyramid: Pyramid, layouts: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Images for layouts of any size.

    Args:
        pyramid: from `train`.
        layouts: (H, W) int32 label images; they need not be of one size.
        seed: of the noise; the same seed on the same device gives the same images.

    Returns:
        (H, W, 3) uint8 RGB images.
    """
    rng = torch.Generator(pyramid.colours.device).manual_seed(seed)
    return [_sample_scales(pyramid, labels, rng)[-1] for labels in layouts]


def sample_scales(pyramid: Pyramid, labels: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """One sample as every scale leaves it: (h, w, 3) uint8 RGB images, coarse to fine."""
    return _sample_scales(pyramid, labels, torch.Generator(pyramid.colours.device).manual_seed(seed))


@torch.no_grad()
def _sample_scales(pyramid: Pyramid, labels: np.ndarray, rng: torch.Generator) -> list[np.ndarray]:
    noises = [random_noise(1, size, rng) for size in pyramid.sizes(labels.shape)]
    images = pyramid(_to_conditions([labels], rng.device), noises)
    return [_to_image(image[0]) for image in images]


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
    pyramid: Pyramid,
    patch: Tensors,
    pool: Tensors,
    size: tuple[int, int],
    below: tuple[int, int] | None,
    rng: torch.Generator,
) -> tuple[Tensors, Tensors]:
    """What a scale is trained on: the real patch and the pool of random layouts (see `ScaleTrainer.run`).

    The real image is rebuilt from the real image at the size of the scale `below`, not from the rebuilt
    one: the detail that a scale adds then does not have to mend, by blurring, what the lower ones missed.
    """
    real = {name: resize(tensor, size) for name, tensor in patch.items()}
    fake = {"layout": resize(pool["layout"], size)}
    if below is None:
        real["base"], fake["base"] = pyramid.start(real["layout"]), pyramid.start(fake["layout"])
    else:
        real["base"] = resize(resize(patch["image"], below), size)
        fake["base"] = resize(pool["below"], size)
    real["noise"] = random_noise(1, size, rng)
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


def _typical_colours(image: np.ndarray, labels: np.ndarray) -> Tensor:
    """(2, 3) float32 in -1..1: the median colours of the background and of the nuclei."""
    pixels = image.astype(np.float32) / 127.5 - 1
    parts = (pixels[labels == 0], pixels[labels > 0])
    return torch.from_numpy(np.stack([np.median(part if len(part) else pixels, axis=0) for part in parts]))


def _to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in -1..1."""
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


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
