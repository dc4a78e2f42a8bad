"""Functions on datasets, images, masks and boxes under the names that Matterport's users know."""

from mrcnn.compat.absent import absent
from mrcnn.compat.arrays import batch_slice, resize
from mrcnn.compat.scores import compute_ap, compute_ap_range, compute_matches, compute_recall
from mrcnn.data.box_arrays import (
    apply_box_deltas,
    box_refinement,
    compute_iou,
    compute_overlaps,
    denorm_boxes,
    generate_anchors,
    generate_pyramid_anchors,
    non_max_suppression,
    norm_boxes,
    trim_zeros,
)
from mrcnn.data.dataset import Dataset
from mrcnn.data.mask_arrays import (
    compute_overlaps_masks,
    expand_mask,
    extract_bboxes,
    label_image,
    mini_mask,
    minimize_mask,
    paste_mask,
    unmold_mask,
)
from mrcnn.data.resizing import pad_to, resize_image, resize_mask
from mrcnn.modeling.pretrained import COCO, download_trained_weights

COCO_MODEL_URL = COCO.url


def __getattr__(name: str):
    raise absent(__name__, name)


__all__ = [
    "COCO_MODEL_URL",
    "Dataset",
    "apply_box_deltas",
    "batch_slice",
    "box_refinement",
    "compute_ap",
    "compute_ap_range",
    "compute_iou",
    "compute_matches",
    "compute_overlaps",
    "compute_overlaps_masks",
    "compute_recall",
    "denorm_boxes",
    "download_trained_weights",
    "expand_mask",
    "extract_bboxes",
    "generate_anchors",
    "generate_pyramid_anchors",
    "label_image",
    "mini_mask",
    "minimize_mask",
    "non_max_suppression",
    "norm_boxes",
    "pad_to",
    "paste_mask",
    "resize",
    "resize_image",
    "resize_mask",
    "trim_zeros",
    "unmold_mask",
]
