"""What Matterport's implementation has and this one has not: what to use instead."""

from __future__ import annotations

INSTEAD = {
    "ancestor": "keras_model.get_layer(name): there is no symbolic graph to search",
    "build": "keras_model: the constructor builds it",
    "compile": "train, which compiles",
    "run_graph": "keras_model(images), or its methods look, propose, classify and segment",
    "anchors": "keras_model.anchors(images), in px, or get_anchors(image_shape), normalised",
    "checkpoint_path": "find_last() or log_dir",
    "detect_molded": "detect, which takes images of any size",
    "data_generator": "mrcnn.data.loader.Batches(dataset, config), whose items are the batches of training",
    "DataGenerator": "mrcnn.data.loader.Batches(dataset, config), whose items are the batches of training",
    "build_rpn_targets": "mrcnn.training.targets.anchor_targets",
    "generate_random_rois": "the network's own proposals",
    "build_detection_targets": "mrcnn.training.targets.roi_targets",
    "mold_mask": "minimize_mask: in Matterport's code it does nothing",
}


def absent(owner: str, name: str) -> AttributeError:
    """The error for an attribute that `owner` has not."""
    hint = f"; use {INSTEAD[name]}" if name in INSTEAD else ""
    return AttributeError(f"{owner} has no attribute {name!r}{hint}")
