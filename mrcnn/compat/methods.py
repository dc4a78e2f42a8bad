"""Methods of `MaskRCNN` that only Matterport's users call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.compat.absent import absent
from mrcnn.compat.ground_truth import compose_image_meta, mold_image
from mrcnn.config import Config
from mrcnn.data.box_arrays import denorm_boxes, norm_boxes
from mrcnn.data.mask_arrays import unmold_mask
from mrcnn.inference.detection import mold
from mrcnn.modeling import weights
from mrcnn.modeling.network import Network


class MatterportMethods:
    """Under Matterport's names and with its arguments; see `mrcnn.model.MaskRCNN`."""

    config: Config
    keras_model: Network

    def __getattr__(self, name: str) -> Any:
        raise absent(type(self).__name__, name)

    def get_trainable_layers(self) -> list[keras.layers.Layer]:
        """The layers that have weights, wherever they are nested."""
        return list(weights.layers(self.keras_model).values())

    def find_trainable_layer(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """The layer itself: none is wrapped in another one here."""
        return layer

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Anchors (A, 4) float32, normalised, for images of `image_shape`, (height, width, ...) px."""
        height, width = image_shape[:2]
        return norm_boxes(self.keras_model.anchors(np.empty((1, height, width, 0))), (height, width))

    def mold_inputs(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images resized, padded and less MEAN_PIXEL.

        `detect` does this by itself; the network here takes images from which nothing was subtracted.

        Args:
            images: each (H, W, C) uint8.

        Returns:
            (N, h, w, C) float32, meta vectors (N, IMAGE_META_SIZE), and windows (N, 4) px.

        Raises:
            ValueError: the resized images are not of one size.
        """
        molded = [mold(image, self.config) for image in images]
        active = np.zeros(self.config.NUM_CLASSES, np.int32)
        metas = [
            compose_image_meta(0, image.shape, one.image.shape, one.window, one.scale, active)
            for image, one in zip(images, molded, strict=True)
        ]
        inputs = np.stack([mold_image(one.image, self.config) for one in molded])
        return inputs, np.stack(metas), np.array([one.window for one in molded])

    def unmold_detections(
        self,
        detections: np.ndarray,
        mrcnn_mask: np.ndarray,
        original_image_shape: Sequence[int],
        image_shape: Sequence[int],
        window: Sequence[int],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Detections of a molded image in the pixels of the image itself.

        Args:
            detections: (N, 6): y1, x1, y2, x2, normalised, class id (0 from the first empty place on), score.
            mrcnn_mask: (N, h, w, classes) 0..1.
            original_image_shape, image_shape: (height, width, channels) px, before and after molding.
            window: (y1, x1, y2, x2) px, of the image in the molded one.

        Returns:
            boxes (n, 4) int32 px, class ids (n,) int32, scores (n,) float32 and masks (H, W, n) bool, those
            without area left out.
        """
        filled = np.cumprod(detections[:, 4] > 0).astype(bool)
        class_ids = detections[filled, 4].astype(np.int32)
        y1, x1, y2, x2 = norm_boxes(np.asarray(window), (image_shape[0], image_shape[1]))
        size = np.array([y2 - y1, x2 - x1] * 2)
        boxes = (detections[filled, :4] - np.array([y1, x1] * 2)) / size
        shape = original_image_shape[0], original_image_shape[1]
        boxes = denorm_boxes(boxes, shape)
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        masks = mrcnn_mask[: len(class_ids)][np.arange(len(class_ids)), :, :, class_ids][real]
        full = [unmold_mask(mask, box, shape) for mask, box in zip(masks, boxes[real], strict=True)]
        stacked = np.stack(full, axis=-1) if full else np.zeros((*shape, 0), bool)
        return boxes[real], class_ids[real], detections[filled, 5][real].astype(np.float32), stacked
