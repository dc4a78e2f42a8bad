"""The dataset interface that Matterport's users know, and small functions on masks and boxes (NumPy)."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np


class Dataset:
    """Images with instance masks; subclass it and override `load_image` and `load_mask`.

    Call `add_class` and `add_image` for everything there is, then `prepare` once.
    """

    def __init__(self):
        self.image_info: list[dict] = []
        self.class_info: list[dict] = [{"source": "", "id": 0, "name": "BG"}]  # background comes first

    def add_class(self, source: str, class_id: int, class_name: str) -> None:
        """Register a class; naming it twice changes nothing."""
        if any(info["source"] == source and info["id"] == class_id for info in self.class_info):
            return
        self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(self, source: str, image_id, path, **kwargs) -> None:
        """Register an image; further keywords are kept in its `image_info`."""
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def prepare(self) -> None:
        """Number classes and images; call after the last `add_image`."""
        self.num_classes = len(self.class_info)
        self.class_ids = np.arange(self.num_classes)
        self.class_names = [info["name"] for info in self.class_info]
        self.num_images = len(self.image_info)
        self.image_ids = np.arange(self.num_images)

    def image_reference(self, image_id: int) -> str:
        """What to call an image in a message: its path."""
        return str(self.image_info[image_id]["path"])

    def load_image(self, image_id: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        raise NotImplementedError

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Masks (H, W, N) bool and their class ids (N,) int32."""
        raise NotImplementedError

    def load_labels(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The masks as one label image (H, W) int32, 0 background and 1..N, and their class ids (N,) int32.

        This is what training reads. Where masks overlap, the pixel goes to the later one.
        """
        masks, class_ids = self.load_mask(image_id)
        return (masks * np.arange(1, masks.shape[2] + 1)).max(axis=2, initial=0).astype(np.int32), class_ids


def extract_bboxes(masks: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) int32 (y1, x1, y2, x2), ends exclusive, of masks (H, W, N); an empty mask gets zeros."""
    boxes = np.zeros((masks.shape[2], 4), np.int32)
    for number in range(masks.shape[2]):
        rows = np.flatnonzero(masks[:, :, number].any(axis=1))
        columns = np.flatnonzero(masks[:, :, number].any(axis=0))
        if rows.size:
            boxes[number] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes


def compute_overlaps(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4), (y1, x1, y2, x2); 0 for empty ones."""
    first = np.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    last = np.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    shared = np.prod(np.clip(last - first, 0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (boxes1, boxes2)]
    union = areas[0][:, None] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros(shared.shape, np.float64), where=union > 0)


def paste_mask(mask: np.ndarray, box: Iterable[float], shape: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """Resample a small mask inside its box, nothing rounded, only as far as the image goes.

    Args:
        mask: (h, w) float in 0..1, filling the box.
        box: (y1, x1, y2, x2) px, float.
        shape: (height, width) of the image, px.

    Returns:
        the mask inside the smallest window of whole pixels around the box, bool, and the window's first
        row and column; the window is empty where the box lies outside the image.
    """
    y1, x1, y2, x2 = (float(value) for value in box)
    top, left = max(int(np.floor(y1)), 0), max(int(np.floor(x1)), 0)
    bottom, right = min(int(np.ceil(y2)), shape[0]), min(int(np.ceil(x2)), shape[1])
    if bottom <= top or right <= left:
        return np.zeros((0, 0), bool), top, left
    scale_y, scale_x = mask.shape[0] / (y2 - y1), mask.shape[1] / (x2 - x1)
    # Pixel centre (x + 0.5) of the window -> cell centre of the small mask.
    to_mask = np.array(
        [
            [scale_x, 0, (left + 0.5 - x1) * scale_x - 0.5],
            [0, scale_y, (top + 0.5 - y1) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    window = cv2.warpAffine(
        mask.astype(np.float32),
        to_mask,
        (right - left, bottom - top),
        flags=flags,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return window >= 0.5, top, left
