"""A notebook of a user of Matterport's Mask R-CNN: shapes made as they are needed, heads, then all layers.

python -m tests.matterport.shapes
"""

import os
import random

import cv2
import matplotlib.pyplot as plt
import numpy as np

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.config import Config
from mrcnn.model import log
from tests.matterport.small import Small

HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]


class ShapesConfig(Small, Config):
    NAME = "shapes"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 3
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    TRAIN_ROIS_PER_IMAGE = 32
    STEPS_PER_EPOCH = 1
    VALIDATION_STEPS = 1


class InferenceConfig(ShapesConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1


def get_ax(rows=1, cols=1, size=4):
    _, ax = plt.subplots(rows, cols, figsize=(size * cols, size * rows))
    return ax


class ShapesDataset(utils.Dataset):
    """No file is read: an image is drawn from what `image_info` says, the later shapes on top."""

    def load_shapes(self, count, height, width):
        for number, name in enumerate(("square", "circle", "triangle"), 1):
            self.add_class("shapes", number, name)
        for i in range(count):
            bg_color, shapes = self.random_image(height, width)
            self.add_image(
                "shapes", image_id=i, path=None, width=width, height=height, bg_color=bg_color, shapes=shapes
            )

    def load_image(self, image_id):
        info = self.image_info[image_id]
        image = np.ones([info["height"], info["width"], 3], dtype=np.uint8)
        image = image * np.array(info["bg_color"], dtype=np.uint8)
        for shape, color, dims in info["shapes"]:
            image = self.draw_shape(image, shape, dims, color)
        return image

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "shapes":
            return info["shapes"]
        return super().image_reference(image_id)

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        shapes = info["shapes"]
        mask = np.zeros([info["height"], info["width"], len(shapes)], dtype=np.uint8)
        free = np.ones(mask.shape[:2], dtype=np.uint8)  # of the shapes on top
        for i, (shape, _, dims) in reversed(list(enumerate(shapes))):
            drawn = self.draw_shape(mask[:, :, i].copy(), shape, dims, 1)
            mask[:, :, i] = drawn * free
            free[drawn > 0] = 0
        class_ids = np.array([self.class_names.index(shape[0]) for shape in shapes])
        return mask.astype(bool), class_ids.astype(np.int32)

    def draw_shape(self, image, shape, dims, color):
        x, y, s = dims
        if shape == "square":
            cv2.rectangle(image, (x - s, y - s), (x + s, y + s), color, -1)
        elif shape == "circle":
            cv2.circle(image, (x, y), s, color, -1)
        else:
            corners = np.array([[(x, y - s), (x - s, y + s), (x + s, y + s)]], dtype=np.int32)
            cv2.fillPoly(image, corners, color)
        return image

    def random_shape(self, height, width):
        shape = random.choice(["square", "circle", "triangle"])
        color = tuple(random.randint(0, 255) for _ in range(3))
        buffer = 20
        x, y = random.randint(buffer, width - buffer - 1), random.randint(buffer, height - buffer - 1)
        return shape, color, (x, y, random.randint(buffer, height // 4))

    def random_image(self, height, width):
        bg_color = np.array([random.randint(0, 255) for _ in range(3)])
        shapes = [self.random_shape(height, width) for _ in range(random.randint(1, 4))]
        boxes = np.array([[y - s, x - s, y + s, x + s] for _, _, (x, y, s) in shapes])
        kept = utils.non_max_suppression(boxes, np.arange(len(shapes)), 0.3)
        return bg_color, [shape for i, shape in enumerate(shapes) if i in kept]


def look(dataset):
    """The cell that shows some images with their masks."""
    for image_id in np.random.choice(dataset.image_ids, 2):
        image = dataset.load_image(image_id)
        mask, class_ids = dataset.load_mask(image_id)
        log("bbox", utils.extract_bboxes(mask))
        visualize.display_top_masks(image, mask, class_ids, dataset.class_names)


def train(dataset_train, dataset_val, config, model_dir, weights_path):
    model = modellib.MaskRCNN(mode="training", config=config, model_dir=model_dir)
    model.load_weights(weights_path, by_name=True, exclude=HEADS)
    rate = config.LEARNING_RATE
    model.train(dataset_train, dataset_val, learning_rate=rate, epochs=1, layers="heads")
    model.train(dataset_train, dataset_val, learning_rate=rate / 10, epochs=2, layers="all")
    model.keras_model.save_weights(os.path.join(model_dir, "mask_rcnn_shapes.h5"))


def last_model(config, model_dir):
    model = modellib.MaskRCNN(mode="inference", config=config, model_dir=model_dir)
    model_path = model.find_last()
    print("Loading weights from ", model_path)
    model.load_weights(model_path, by_name=True)
    return model


def detect(model, dataset, config):
    """The cell that shows what is found beside what is there."""
    image_id = random.choice(dataset.image_ids)
    original_image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
        dataset, config, image_id, use_mini_mask=False
    )
    log("original_image", original_image)
    log("image_meta", image_meta)
    log("gt_class_id", gt_class_id)
    log("gt_bbox", gt_bbox)
    log("gt_mask", gt_mask)
    visualize.display_instances(
        original_image, gt_bbox, gt_mask, gt_class_id, dataset.class_names, figsize=(8, 8)
    )
    r = model.detect([original_image], verbose=1)[0]
    visualize.display_instances(
        original_image, r["rois"], r["masks"], r["class_ids"], dataset.class_names, r["scores"], ax=get_ax()
    )
    return r


def mean_average_precision(model, dataset, config):
    """The last cell: over a few images."""
    APs = []
    for image_id in np.random.choice(dataset.image_ids, 2):
        image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
            dataset, config, image_id, use_mini_mask=False
        )
        np.expand_dims(modellib.mold_image(image, config), 0)  # made there, and used by nothing
        r = model.detect([image], verbose=0)[0]
        AP, precisions, recalls, overlaps = utils.compute_ap(
            gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
        )
        APs.append(AP)
    return np.mean(APs)


def main(model_dir="logs", weights_path="mask_rcnn_coco.h5"):
    config = ShapesConfig()
    config.display()
    datasets = ShapesDataset(), ShapesDataset()
    for dataset, count in zip(datasets, (6, 2), strict=True):
        dataset.load_shapes(count, config.IMAGE_SHAPE[0], config.IMAGE_SHAPE[1])
        dataset.prepare()
    look(datasets[0])
    train(*datasets, config, model_dir, weights_path)
    inference_config = InferenceConfig()
    model = last_model(inference_config, model_dir)
    found = detect(model, datasets[1], inference_config)
    print("mAP: ", mean_average_precision(model, datasets[1], inference_config))
    return model, found


if __name__ == "__main__":
    main()
