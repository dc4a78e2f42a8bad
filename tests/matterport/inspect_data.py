"""A notebook of a user of Matterport's Mask R-CNN that looks at a dataset, resizing, mini masks and anchors.

python -m tests.matterport.inspect_data FOLDER
"""

import random
import sys

import matplotlib.patches as patches
import matplotlib.pyplot as plt
import numpy as np

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.model import log
from mrcnn.visualize import display_images
from tests.matterport import balloon

config = balloon.BalloonConfig()


def get_ax(rows=1, cols=1, size=4):
    _, ax = plt.subplots(rows, cols, figsize=(size * cols, size * rows))
    return ax


def load(dataset_dir):
    dataset = balloon.BalloonDataset()
    dataset.load_balloon(dataset_dir, "train")
    dataset.prepare()
    print(f"Image Count: {len(dataset.image_ids)}")
    print(f"Class Count: {dataset.num_classes}")
    for i, info in enumerate(dataset.class_info):
        print(f"{i:3}. {info['name']:50}")
    return dataset


def bounding_boxes(dataset, image_id):
    """Image, masks and boxes as they are read."""
    image = dataset.load_image(image_id)
    mask, class_ids = dataset.load_mask(image_id)
    bbox = utils.extract_bboxes(mask)
    print("image_id ", image_id, dataset.image_reference(image_id))
    log("image", image)
    log("mask", mask)
    log("class_ids", class_ids)
    log("bbox", bbox)
    visualize.display_top_masks(image, mask, class_ids, dataset.class_names)
    visualize.display_instances(image, bbox, mask, class_ids, dataset.class_names)
    return image, mask, bbox


def resized(image, mask):
    """Both to twice their size, in a square."""
    image, window, scale, padding, crop = utils.resize_image(
        image, min_dim=2 * config.IMAGE_MIN_DIM, max_dim=2 * config.IMAGE_MAX_DIM, mode="square"
    )
    mask = utils.resize_mask(mask, scale, padding)
    print("window", window, "scale", scale)
    return image, window, utils.extract_bboxes(mask), mask


def mini_masks(dataset, image_id):
    """Masks inside their boxes, of an image that may have been mirrored, and put back into it."""
    image, image_meta, class_ids, bbox, mask = modellib.load_image_gt(
        dataset, config, image_id, augment=True, use_mini_mask=True
    )
    log("image_meta", image_meta)
    log("mask", mask)
    display_images([image] + [mask[:, :, i] for i in range(min(mask.shape[-1], 7))])
    full = utils.expand_mask(bbox, mask, image.shape)
    visualize.display_instances(image, bbox, full, class_ids, dataset.class_names)
    return image, bbox, mask, full, utils.minimize_mask(bbox, full, config.MINI_MASK_SHAPE)


def all_anchors():
    backbone_shapes = modellib.compute_backbone_shapes(config, config.IMAGE_SHAPE)
    anchors = utils.generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        backbone_shapes,
        config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )
    print("Count: ", anchors.shape[0])
    print("Levels: ", len(backbone_shapes))
    return anchors, backbone_shapes


def middle_anchors(image, anchors, backbone_shapes):
    """Those of the cell in the middle of each level, drawn on the image."""
    ax = get_ax()
    ax.imshow(image)
    per_cell, first, chosen = len(config.RPN_ANCHOR_RATIOS), 0, []
    for rows, columns in backbone_shapes:
        middle = first + (rows // 2 * columns + columns // 2) * per_cell
        chosen.append(anchors[middle : middle + per_cell])
        first += rows * columns * per_cell
    for y1, x1, y2, x2 in np.concatenate(chosen):
        ax.add_patch(patches.Rectangle((x1, y1), x2 - x1, y2 - y1, facecolor="none"))
    visualize.draw_boxes(image, boxes=np.concatenate(chosen), ax=get_ax())
    return chosen


def training_batch(dataset):
    """What the notebook gets from Matterport's generator: here the message says where else it comes from."""
    try:
        return modellib.data_generator(dataset, config, shuffle=True, batch_size=2, random_rois=100)
    except AttributeError as error:
        print(error)
    from mrcnn.data.loader import Batches

    return Batches(dataset, config)[0][0]


def main(dataset_dir):
    dataset = load(dataset_dir)
    image_id = random.choice(dataset.image_ids)
    bounding_boxes(dataset, image_id)
    image, bbox, _, _, _ = mini_masks(dataset, image_id)
    middle_anchors(image, *all_anchors())
    log("images", training_batch(dataset)["images"])


if __name__ == "__main__":
    main(sys.argv[1])
