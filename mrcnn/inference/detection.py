"""From images of any size to the network's input, and its answers back to the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from mrcnn.config import Config
from mrcnn.data.examples import enlargement, on_canvas
from mrcnn.data.mask_arrays import extract_bboxes, paste_mask
from mrcnn.data.resizing import resize_image, resize_planes
from mrcnn.inference import tiling
from mrcnn.inference.predictor import Predictor


@dataclass(frozen=True)
class Molded:
    """An image as the network sees it, and where the image lies in it."""

    image: np.ndarray  # (H, W, 3)
    window: tuple[int, int, int, int]  # (y1, x1, y2, x2) px, of the image in its padding
    scale: float  # px of the window per px of the image


def mold(image: np.ndarray, config: Config) -> Molded:
    """Resize and pad an image (H, W, 3) as IMAGE_RESIZE_MODE says; "crop" is for `mrcnn.inference.tiling`."""
    resized, window, scale, _, _ = resize_image(
        image, config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, config.IMAGE_MIN_SCALE, config.IMAGE_RESIZE_MODE
    )
    if any(side % 64 for side in resized.shape[:2]):
        raise ValueError(
            f"an image of {resized.shape[0]} x {resized.shape[1]} px cannot be halved six times; "
            "use IMAGE_RESIZE_MODE 'pad64', 'square' or 'crop'"
        )
    y1, x1, y2, x2 = window
    return Molded(on_canvas(resized[y1:y2, x1:x2], resized.shape[:2], y1, x1), window, scale)


def detect(predictor: Predictor, images, verbose: int) -> list[dict[str, np.ndarray]]:
    """As `MaskRCNN.detect`."""
    channels = predictor.config.IMAGE_CHANNEL_COUNT
    for image in images:
        if image.ndim != 3 or image.shape[2] != channels:
            raise ValueError(f"an image is (height, width, {channels}), not {image.shape}")
    bar = tqdm(total=len(images), desc="detecting", unit="image", disable=not verbose)
    results: list[dict[str, np.ndarray]] = []
    with bar:
        while len(results) < len(images):
            first = len(results)
            if predictor.config.IMAGE_RESIZE_MODE == "crop":
                results.append(_in_tiles(predictor, images[first]))
            else:
                results += _together(predictor, images[first : first + predictor.config.BATCH_SIZE])
            bar.update(len(results) - first)
    return results


def _together(predictor: Predictor, images) -> list[dict[str, np.ndarray]]:
    """Detections in the first of these images, and in those after it that have its shape once resized."""
    molded = [mold(image, predictor.config) for image in images]
    same = [one for one in molded if one.image.shape == molded[0].image.shape]
    if len(same) < len(molded):
        same = molded[:1]
    found = predictor.predict(np.stack([one.image for one in same]))
    return [_unmold(*pair) for pair in zip(found, same, images[: len(same)], strict=True)]


def _unmold(found: dict, molded: Molded, image: np.ndarray) -> dict[str, np.ndarray]:
    """What was found in the padded image, in the pixels of the image itself."""
    shape = image.shape[:2]
    top, left = molded.window[:2]
    boxes = (found["boxes"] - np.array([top, left, top, left], np.float32)) / np.float32(molded.scale)
    masks = np.zeros((*shape, len(boxes)), bool)
    for number, (mask, box) in enumerate(zip(found["masks"], boxes, strict=True)):
        window, row, column = paste_mask(mask, box, shape)
        masks[row : row + window.shape[0], column : column + window.shape[1], number] = window
    rois = np.clip(np.round(boxes), 0, np.tile(shape, 2)).astype(np.int32)
    # Padding holds no objects, whatever the network sees there.
    real = (rois[:, 2] > rois[:, 0]) & (rois[:, 3] > rois[:, 1])
    result = {"rois": rois, "class_ids": found["class_ids"], "scores": found["scores"]}
    return {**{name: values[real] for name, values in result.items()}, "masks": masks[:, :, real]}


def _in_tiles(predictor: Predictor, image: np.ndarray) -> dict[str, np.ndarray]:
    """Detections in an image of any size, each pixel in at most one mask."""
    shape, scale = image.shape[:2], enlargement(predictor.config)
    if scale != 1:
        larger = round(shape[0] * scale), round(shape[1] * scale)
        image = resize_planes(image, larger, cv2.INTER_LINEAR)
    instances = tiling.find_instances(predictor, image, tiling.OVERLAP, None, 1)
    labels, kept = tiling.resolve_overlaps(instances, image.shape[:2])
    if scale != 1:
        labels = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    shown = np.setdiff1d(labels, 0)  # shrinking may leave nothing of the smallest
    masks = labels[..., None] == shown
    return {
        "rois": extract_bboxes(masks),
        "class_ids": np.array([kept[label - 1].class_id for label in shown], np.int32),
        "scores": np.array([kept[label - 1].score for label in shown], np.float32),
        "masks": masks,
    }
