"""A stand-in for the network that finds what is dark, at once and without TensorFlow."""

from types import SimpleNamespace

import cv2
import numpy as np

SIDE = 128  # px; slides are seen in tiles of twice that


class Stub:
    """Finds each dark spot of a tile as one object, its score by its place in the tile's pixels."""

    config = SimpleNamespace(IMAGE_SHAPE=(SIDE, SIDE, 3), DETECTION_MIN_CONFIDENCE=0.4)

    def predict(self, images: np.ndarray, times: float) -> list[dict[str, np.ndarray]]:
        return [self._look(image) for image in images]

    def _look(self, image: np.ndarray) -> dict[str, np.ndarray]:
        dark = (image[..., 0] < 150).astype(np.uint8)
        count, labels, sizes, _ = cv2.connectedComponentsWithStats(dark, connectivity=4)
        boxes, masks, scores = [], [], []
        for number in range(1, count):
            left, top, width, height, area = sizes[number]
            if area < 12:
                continue
            spot = (labels[top : top + height, left : left + width] == number).astype(np.float32)
            boxes.append((top, left, top + height, left + width))
            masks.append(cv2.resize(spot, (28, 28), interpolation=cv2.INTER_LINEAR))
            scores.append(0.5 + 0.4 * min(area / 400, 1))
        found = len(boxes)
        return {
            "boxes": np.array(boxes, np.float32).reshape(found, 4),
            "masks": np.array(masks, np.float32).reshape(found, 28, 28),
            "scores": np.array(scores, np.float32),
            "class_ids": np.ones(found, np.int32),
        }
