"""Seconds of one system's steps, in a process of its own: `python -m benchmarks.stage3.speed SYSTEM TASK`.

SYSTEM is torchvision, or the Keras backend of ours: tensorflow, torch, jax. TASK is train or detect. Both
systems have a ResNet-50 with random weights, frozen batch norm and a feature pyramid, the same anchors, as
many proposals, regions and detections, and the same two images of generated tissue with their nuclei. A
detection includes the masks at the size of the image. One JSON line out: seconds of each step, seconds to
the first one from a standing start, peak memory in MB.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from nuclei import tissue

SIDE, BATCH = 256, 2  # px, images
SCALES = (16, 32, 64, 128, 256)  # px
RATIOS = (0.5, 1.0, 2.0)
CANDIDATES = 2000  # boxes a pyramid level before suppression
PROPOSALS, ROIS, POSITIVES = 1000, 200, 0.33
DETECTIONS = 100
STEPS = 5  # timed


def examples() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (SIDE, SIDE, 3) uint8 and label images of tissue crowded enough to fill the positive regions."""
    return [tissue.generate("lymphoid", SIDE, seed) for seed in range(BATCH)]


def torchvision_step(task: str) -> Callable[[], object]:
    """The step of torchvision's Mask R-CNN to be timed."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = _torchvision_network().to(device)
    pairs = examples()
    images = [torch.tensor(image).permute(2, 0, 1).float().div(255).to(device) for image, _ in pairs]
    if task == "detect":
        network.eval()

        def detect():
            with torch.inference_mode():
                return [{name: value.cpu() for name, value in one.items()} for one in network(images)]

        return detect
    targets = [_torchvision_target(labels, device) for _, labels in pairs]
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4)

    def train():
        optimizer.zero_grad()
        loss = sum(network(images, targets).values())
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def _torchvision_network():
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5
    )
    return MaskRCNN(
        backbone,
        num_classes=2,
        min_size=SIDE,
        max_size=SIDE,
        rpn_anchor_generator=AnchorGenerator(tuple((s,) for s in SCALES), (RATIOS,) * len(SCALES)),
        rpn_pre_nms_top_n_train=CANDIDATES,
        rpn_pre_nms_top_n_test=CANDIDATES,
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_batch_size_per_image=ROIS,
        box_positive_fraction=POSITIVES,
        box_score_thresh=0.0,
        box_detections_per_img=DETECTIONS,
    )


def _torchvision_target(labels: np.ndarray, device) -> dict:
    """A label image as torchvision wants it."""
    import torch

    masks = torch.tensor(labels[None] == np.arange(1, labels.max() + 1)[:, None, None])
    pixels = [torch.where(mask) for mask in masks]
    boxes = torch.tensor([[x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in pixels]).float()
    target = {"boxes": boxes, "masks": masks.byte(), "labels": torch.ones(len(masks), dtype=torch.int64)}
    return {name: value.to(device) for name, value in target.items()}


def our_step(task: str) -> Callable[[], object]:
    """The step of our network to be timed, on the backend of the environment."""
    from mrcnn.config import Config
    from mrcnn.model import MaskRCNN

    class Equal(Config):
        NAME = "equal"
        NUM_CLASSES = 2
        BACKBONE = "resnet50"
        IMAGE_RESIZE_MODE = "square"
        IMAGE_MIN_DIM = IMAGE_MAX_DIM = SIDE
        CELL_CENTRED = True
        RPN_CHANNELS = 256
        RPN_ANCHOR_SCALES, RPN_ANCHOR_RATIOS = SCALES, RATIOS
        PRE_NMS_LIMIT = CANDIDATES * 5 // 2
        POST_NMS_ROIS_TRAINING = POST_NMS_ROIS_INFERENCE = PROPOSALS
        TRAIN_ROIS_PER_IMAGE, ROI_POSITIVE_RATIO = ROIS, POSITIVES
        DETECTION_MAX_INSTANCES = DETECTIONS
        DETECTION_MIN_CONFIDENCE = 0.0
        DETECTION_ABOVE_BACKGROUND = False
        DETECTION_NMS_THRESHOLD = 0.5
        LEARNING_RATE = 1e-4
        GRADIENT_CLIP_NORM = None  # torchvision has none
        MAX_GT_INSTANCES = 128

    model = MaskRCNN("training" if task == "train" else "inference", Equal(), "unused")
    if task == "detect":
        images = [image for image, _ in examples()]
        return lambda: model.detect(images)
    from mrcnn.data.loader import Batches

    (batch,) = Batches(_dataset(), model.config)[0]
    model.set_trainable(".*", verbose=0)
    trainer = model._trainer(Equal.LEARNING_RATE)
    return lambda: trainer.train_on_batch(batch)


def _dataset():
    """The examples as a dataset of our network."""
    from mrcnn.utils import Dataset

    class Tissue(Dataset):
        def load_image(self, image_id):
            return self.image_info[image_id]["pair"][0]

        def load_mask(self, image_id):
            labels = self.image_info[image_id]["pair"][1]
            numbers = np.arange(1, labels.max() + 1)
            return labels[..., None] == numbers, np.ones(len(numbers), np.int32)

    dataset = Tissue()
    dataset.add_class("tissue", 1, "nucleus")
    for number, pair in enumerate(examples()):
        dataset.add_image("tissue", number, path=None, pair=pair)
    dataset.prepare()
    return dataset


def main(system: str, task: str) -> None:
    start = time.perf_counter()
    if system == "torchvision":
        step = torchvision_step(task)
    else:
        os.environ["KERAS_BACKEND"] = system
        step = our_step(task)
    step()
    first = time.perf_counter() - start
    step()
    seconds = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        step()
        seconds.append(round(time.perf_counter() - begin, 4))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "first_step_s": round(first, 1), "peak_mb": round(peak)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
