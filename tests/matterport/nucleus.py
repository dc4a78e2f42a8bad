"""A script of a user of Matterport's Mask R-CNN: trains on a folder of the Data Science Bowl's form, detects.

It knows Matterport's names alone, and only the sizes in its configuration are smaller than a user's.

    python nucleus.py --dataset FOLDER --weights mask_rcnn_coco.h5 --logs LOGS --results RESULTS
"""

import argparse
import datetime
import os
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import skimage.io  # noqa: E402

ROOT_DIR = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.append(ROOT_DIR)

from mrcnn import model as modellib  # noqa: E402
from mrcnn import utils, visualize  # noqa: E402
from mrcnn.config import Config  # noqa: E402

VAL_IMAGE_IDS = ["glandular"]


class NucleusConfig(Config):
    NAME = "nucleus"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = max(1, len(VAL_IMAGE_IDS) // IMAGES_PER_GPU)
    DETECTION_MIN_CONFIDENCE = 0
    BACKBONE = "efficientnet_lite0"
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    IMAGE_MIN_SCALE = 2.0
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    POST_NMS_ROIS_TRAINING = 100
    POST_NMS_ROIS_INFERENCE = 100
    RPN_NMS_THRESHOLD = 0.9
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64
    MEAN_PIXEL = np.array([127.0, 127.0, 127.0])
    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)
    TRAIN_ROIS_PER_IMAGE = 32
    MAX_GT_INSTANCES = 50
    DETECTION_MAX_INSTANCES = 20


class NucleusInferenceConfig(NucleusConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    IMAGE_RESIZE_MODE = "pad64"
    RPN_NMS_THRESHOLD = 0.7
    DETECTION_ABOVE_BACKGROUND = False  # the one line that is ours: after two steps little is above it


class NucleusDataset(utils.Dataset):
    def load_nucleus(self, dataset_dir, subset):
        self.add_class("nucleus", 1, "nucleus")
        image_ids = set(next(os.walk(dataset_dir))[1])
        image_ids = set(VAL_IMAGE_IDS) if subset == "val" else image_ids - set(VAL_IMAGE_IDS)
        for image_id in sorted(image_ids):
            path = os.path.join(dataset_dir, image_id, "images", f"{image_id}.png")
            self.add_image("nucleus", image_id=image_id, path=path)

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        mask_dir = os.path.join(os.path.dirname(os.path.dirname(info["path"])), "masks")
        masks = [
            skimage.io.imread(os.path.join(mask_dir, name)).astype(bool)
            for name in next(os.walk(mask_dir))[2]
            if name.endswith(".png")
        ]
        mask = np.stack(masks, axis=-1)
        return mask, np.ones([mask.shape[-1]], dtype=np.int32)

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "nucleus":
            return info["id"]
        return super().image_reference(image_id)


def prepared(dataset_dir, subset):
    dataset = NucleusDataset()
    dataset.load_nucleus(dataset_dir, subset)
    dataset.prepare()
    return dataset


def train(args):
    config = NucleusConfig()
    config.display()
    model = modellib.MaskRCNN(mode="training", config=config, model_dir=args.logs)
    model.load_weights(
        args.weights,
        by_name=True,
        exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"],
    )
    dataset_train, dataset_val = (prepared(args.dataset, subset) for subset in ("train", "val"))
    model.train(
        dataset_train,
        dataset_val,
        learning_rate=config.LEARNING_RATE,
        epochs=1,
        augmentation=None,
        layers="heads",
    )
    model.train(
        dataset_train,
        dataset_val,
        learning_rate=config.LEARNING_RATE / 10,
        epochs=2,
        augmentation=None,
        layers="all",
    )


def rle_encode(mask):
    """Runs of a mask, column by column: the first pixel (from 1 on) and the length of each."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    ends[1::2] -= ends[::2]
    return " ".join(str(number) for number in ends)


def mask_to_rle(image_id, mask, scores):
    """A line for each mask; where masks overlap, the pixel is the better one's."""
    if mask.shape[-1] == 0:
        return f"{image_id},"
    order = np.argsort(scores)[::-1] + 1
    ranks = np.empty(len(order), int)
    ranks[order - 1] = np.arange(len(order), 0, -1)
    best = np.max(mask * ranks, axis=-1)
    lines = [f"{image_id}, {rle_encode(best == rank)}" for rank in ranks if (best == rank).any()]
    return "\n".join(lines)


def detect(args):
    config = NucleusInferenceConfig()
    model = modellib.MaskRCNN(mode="inference", config=config, model_dir=args.logs)
    weights_path = model.find_last()
    print("Loading weights ", weights_path)
    model.load_weights(weights_path, by_name=True)

    results_dir = os.path.join(args.results, f"submit_{datetime.datetime.now():%Y%m%dT%H%M%S}")
    os.makedirs(results_dir)
    dataset, submission = prepared(args.dataset, "val"), ["ImageId,EncodedPixels"]
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        r = model.detect([image], verbose=0)[0]
        source_id = dataset.image_info[image_id]["id"]
        submission.append(mask_to_rle(source_id, r["masks"], r["scores"]))
        visualize.display_instances(
            image,
            r["rois"],
            r["masks"],
            r["class_ids"],
            dataset.class_names,
            r["scores"],
            show_bbox=False,
            show_mask=False,
            title="Predictions",
        )
        plt.savefig(os.path.join(results_dir, f"{source_id}.png"))
        plt.close()
    with open(os.path.join(results_dir, "submit.csv"), "w") as file:
        file.write("\n".join(submission))
    evaluate(model, dataset, config)
    return model


def evaluate(model, dataset, config):
    for image_id in dataset.image_ids:
        image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
            dataset, config, image_id, use_mini_mask=False
        )
        print("image", image.shape, "meta", image_meta.shape, "masks", gt_mask.shape)
        r = model.detect([image])[0]
        found = r["rois"], r["class_ids"], r["scores"], r["masks"]
        ap, precisions, recalls, overlaps = utils.compute_ap(gt_bbox, gt_class_id, gt_mask, *found)
        print(f"AP {ap:.3f} of {overlaps.shape[0]} predictions, {overlaps.shape[1]} instances")
        utils.compute_ap_range(gt_bbox, gt_class_id, gt_mask, *found, verbose=1)


def inspect(model, results_dir):
    """Older habits: what was done with the Keras model itself."""
    model.keras_model.summary()
    path = os.path.join(results_dir, "x.h5")
    model.keras_model.save_weights(path)
    layer = model.keras_model.get_layer("fpn_c5p5")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * 0, bias * 0])
    model.keras_model.load_weights(path, by_name=True)
    print("restored", np.array_equal(layer.get_weights()[0], kernel), "layer", layer.name, kernel.shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Mask R-CNN for counting and segmenting nuclei")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--logs", required=True)
    parser.add_argument("--results", required=True)
    args = parser.parse_args()
    train(args)
    inspect(detect(args), args.results)
