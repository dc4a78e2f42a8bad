import inspect

import pytest

from mrcnn import utils

# What scripts written for Matterport's implementation call, with their positional arguments.
PUBLIC = {
    "extract_bboxes": "mask",
    "compute_iou": "box boxes box_area boxes_area",
    "compute_overlaps": "boxes1 boxes2",
    "compute_overlaps_masks": "masks1 masks2",
    "non_max_suppression": "boxes scores threshold",
    "apply_box_deltas": "boxes deltas",
    "box_refinement": "box gt_box",
    "resize_image": "image min_dim max_dim min_scale mode",
    "resize_mask": "mask scale padding crop",
    "minimize_mask": "bbox mask mini_shape",
    "expand_mask": "bbox mini_mask image_shape",
    "unmold_mask": "mask bbox image_shape",
    "generate_anchors": "scales ratios shape feature_stride anchor_stride",
    "generate_pyramid_anchors": "scales ratios feature_shapes feature_strides anchor_stride",
    "norm_boxes": "boxes shape",
    "denorm_boxes": "boxes shape",
    "trim_zeros": "x",
    "compute_matches": "gt_boxes gt_class_ids gt_masks pred_boxes pred_class_ids pred_scores pred_masks "
    "iou_threshold score_threshold",
    "compute_ap": "gt_boxes gt_class_ids gt_masks pred_boxes pred_class_ids pred_scores pred_masks "
    "iou_threshold",
    "compute_ap_range": "gt_box gt_class_id gt_mask pred_box pred_class_id pred_score pred_mask "
    "iou_thresholds verbose",
    "compute_recall": "pred_boxes gt_boxes iou",
    "download_trained_weights": "coco_model_path verbose",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_have_the_names_that_users_know(name):
    assert list(inspect.signature(getattr(utils, name)).parameters) == PUBLIC[name].split()


def test_every_public_name_is_there():
    assert set(PUBLIC) | {"Dataset"} <= set(utils.__all__)
    assert all(hasattr(utils, name) for name in utils.__all__)
