"""A notebook of a user of Matterport's Mask R-CNN that looks at a model: detections, proposals, weights.

python -m tests.matterport.inspect_model FOLDER WEIGHTS
"""

import random
import sys

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.model import log
from tests.matterport import balloon

DEVICE = "/cpu:0"
MODEL_DIR = "logs"
LAYER_TYPES = ["Conv2D", "Dense", "Conv2DTranspose"]

config = balloon.InferenceConfig()


def get_ax(rows=1, cols=1, size=4):
    _, ax = plt.subplots(rows, cols, figsize=(size * cols, size * rows))
    return ax


def load(dataset_dir, weights_path):
    dataset = balloon.BalloonDataset()
    dataset.load_balloon(dataset_dir, "val")
    dataset.prepare()
    with tf.device(DEVICE):
        model = modellib.MaskRCNN(mode="inference", model_dir=MODEL_DIR, config=config)
    model.load_weights(weights_path, by_name=True)
    return dataset, model


def detect(dataset, model, image_id):
    """One image: what is found, drawn and scored."""
    truth = modellib.load_image_gt(dataset, config, image_id, use_mini_mask=False)
    image, image_meta, gt_class_id, gt_bbox, gt_mask = truth
    info = dataset.image_info[image_id]
    print(f"image ID: {info['source']}.{info['id']} ({image_id}) {dataset.image_reference(image_id)}")
    r = model.detect([image], verbose=1)[0]
    found = r["rois"], r["class_ids"], r["scores"], r["masks"]
    names = dataset.class_names
    visualize.display_instances(
        image, found[0], found[3], found[1], names, found[2], ax=get_ax(), title="Predictions"
    )
    given = gt_bbox, gt_class_id, gt_mask
    visualize.display_differences(
        image, *given, *found, names, ax=get_ax(), show_box=False, iou_threshold=0.5, score_threshold=0.5
    )
    AP, precisions, recalls, overlaps = utils.compute_ap(*given, *found)
    visualize.plot_precision_recall(AP, precisions, recalls)
    visualize.plot_overlaps(gt_class_id, r["class_ids"], r["scores"], overlaps, names)
    return AP, utils.compute_ap_range(*given, *found, verbose=0), overlaps


def compute_batch_ap(dataset, model, image_ids):
    APs = []
    for image_id in image_ids:
        image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
            dataset, config, image_id, use_mini_mask=False
        )
        r = model.detect([image], verbose=0)[0]
        AP, precisions, recalls, overlaps = utils.compute_ap(
            gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
        )
        APs.append(AP)
    return np.mean(APs)


def anchors_of(model, image_shape):
    """Normalised, as the model returns them, and in px."""
    normalised = model.get_anchors(image_shape)
    return normalised, utils.denorm_boxes(normalised, image_shape[:2])


def refined(anchors, deltas):
    """Boxes that the network moves by deltas in units of the standard deviation."""
    return utils.apply_box_deltas(anchors, deltas * config.RPN_BBOX_STD_DEV)


def molded(model, image):
    """What goes into the network, with its meta vector read again."""
    inputs, metas, windows = model.mold_inputs([image])
    log("molded", inputs)
    return inputs, modellib.parse_image_meta(metas), windows


def through_the_graph(model, image, gt_class_id, gt_bbox):
    """The cells that look inside Matterport's graph: here each has a message."""
    cells = [
        lambda: modellib.build_rpn_targets(image.shape, model.anchors, gt_class_id, gt_bbox, model.config),
        lambda: model.anchors[:10],
        lambda: model.ancestor(model.keras_model.get_layer("rpn_class_raw").output, "ROI"),
        lambda: model.run_graph([image], [("rpn_class", model.keras_model.get_layer("rpn_class").output)]),
        lambda: model.detect_molded(np.expand_dims(image, 0), np.zeros((1, config.IMAGE_META_SIZE))),
        lambda: modellib.generate_random_rois(image.shape, 10, gt_class_id, gt_bbox),
        lambda: modellib.build_detection_targets(gt_bbox, gt_class_id, gt_bbox, gt_bbox, config),
    ]
    messages = []
    for cell in cells:
        try:
            cell()
        except AttributeError as error:
            messages.append(str(error))
    return messages


def weight_histograms(model):
    """One row of panels for each layer of the usual types."""
    layers = [each for each in model.get_trainable_layers() if each.__class__.__name__ in LAYER_TYPES]
    _, ax = plt.subplots(len(layers), 2, figsize=(6, len(layers)))
    for row, layer in zip(ax, layers, strict=True):
        for panel, tensor, weights in zip(row, layer.weights, layer.get_weights(), strict=True):
            panel.set_title(tensor.name)
            panel.hist(weights.flatten(), 50)
    return [layer.name for layer in layers]


def main(dataset_dir, weights_path):
    dataset, model = load(dataset_dir, weights_path)
    print("AP", detect(dataset, model, random.choice(dataset.image_ids))[:2])
    print("mAP", compute_batch_ap(dataset, model, dataset.image_ids))
    weight_histograms(model)
    visualize.display_weight_stats(model)


if __name__ == "__main__":
    main(*sys.argv[1:])
