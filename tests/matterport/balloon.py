"""A script of a user of Matterport's Mask R-CNN: polygons drawn by hand, the heads trained, a colour splash.

python -m tests.matterport.balloon train --dataset FOLDER --weights coco
python -m tests.matterport.balloon splash --weights last --image PICTURE
python -m tests.matterport.balloon splash --weights last --video FILM
"""

import argparse
import json
import os

import cv2
import numpy as np
import skimage.color
import skimage.draw
import skimage.io

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config
from tests.matterport.small import Small

COCO_WEIGHTS_PATH = "mask_rcnn_coco.h5"
DEFAULT_LOGS_DIR = "logs"


class BalloonConfig(Small, Config):
    NAME = "balloon"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 1
    DETECTION_MIN_CONFIDENCE = 0.9


class InferenceConfig(BalloonConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1


class BalloonDataset(utils.Dataset):
    def load_balloon(self, dataset_dir, subset):
        """The pictures of `subset` (train, val) that have a region, whichever way its version lists them."""
        self.add_class("balloon", 1, "balloon")
        dataset_dir = os.path.join(dataset_dir, subset)
        with open(os.path.join(dataset_dir, "via_region_data.json")) as file:
            annotations = [each for each in json.load(file).values() if each["regions"]]
        for annotation in annotations:
            regions = annotation["regions"]
            regions = regions.values() if isinstance(regions, dict) else regions
            path = os.path.join(dataset_dir, annotation["filename"])
            height, width = skimage.io.imread(path).shape[:2]
            polygons = [region["shape_attributes"] for region in regions]
            self.add_image(
                "balloon",
                image_id=annotation["filename"],
                path=path,
                width=width,
                height=height,
                polygons=polygons,
            )

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        if info["source"] != "balloon":
            return super(self.__class__, self).load_mask(image_id)
        mask = np.zeros([info["height"], info["width"], len(info["polygons"])], dtype=np.uint8)
        for i, polygon in enumerate(info["polygons"]):
            rows, columns = skimage.draw.polygon(polygon["all_points_y"], polygon["all_points_x"])
            mask[rows, columns, i] = 1
        return mask.astype(bool), np.ones([mask.shape[-1]], dtype=np.int32)

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "balloon":
            return info["path"]
        return super(self.__class__, self).image_reference(image_id)


def train(model, dataset_dir):
    datasets = []
    for subset in ("train", "val"):
        dataset = BalloonDataset()
        dataset.load_balloon(dataset_dir, subset)
        dataset.prepare()
        datasets.append(dataset)
    model.train(*datasets, learning_rate=model.config.LEARNING_RATE, epochs=1, layers="heads")


def color_splash(image, mask):
    """The image in grey, and in colour where any mask is."""
    gray = skimage.color.gray2rgb(skimage.color.rgb2gray(image)) * 255
    if mask.shape[-1] == 0:
        return gray.astype(np.uint8)
    anywhere = np.sum(mask, -1, keepdims=True) >= 1
    return np.where(anywhere, image, gray).astype(np.uint8)


def splash_image(model, path):
    image = skimage.io.imread(path)
    r = model.detect([image], verbose=1)[0]
    skimage.io.imsave("splash.png", color_splash(image, r["masks"]))


def splash_video(model, path):
    source = cv2.VideoCapture(path)
    size = int(source.get(cv2.CAP_PROP_FRAME_WIDTH)), int(source.get(cv2.CAP_PROP_FRAME_HEIGHT))
    target = cv2.VideoWriter(
        "splash.avi", cv2.VideoWriter_fourcc(*"MJPG"), source.get(cv2.CAP_PROP_FPS), size
    )
    going, image = source.read()
    while going:
        image = image[..., ::-1]  # OpenCV reads BGR
        r = model.detect([image], verbose=0)[0]
        target.write(color_splash(image, r["masks"])[..., ::-1])
        going, image = source.read()
    target.release()


def find_weights(model, wanted):
    if wanted == "coco":
        if not os.path.exists(COCO_WEIGHTS_PATH):
            utils.download_trained_weights(COCO_WEIGHTS_PATH)
        return COCO_WEIGHTS_PATH
    if wanted == "last":
        return model.find_last()
    if wanted == "imagenet":
        return model.get_imagenet_weights()
    return wanted


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Find balloons")
    parser.add_argument("command", choices=["train", "splash"])
    parser.add_argument("--dataset")
    parser.add_argument("--weights", required=True, help="coco, last, imagenet or a file")
    parser.add_argument("--logs", default=DEFAULT_LOGS_DIR)
    parser.add_argument("--image")
    parser.add_argument("--video")
    args = parser.parse_args(arguments)
    training = args.command == "train"
    config = BalloonConfig() if training else InferenceConfig()
    config.display()
    mode = "training" if training else "inference"
    model = modellib.MaskRCNN(mode=mode, config=config, model_dir=args.logs)
    weights_path = find_weights(model, args.weights.lower())
    if args.weights.lower() == "coco":  # its heads are for other classes
        heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
        model.load_weights(weights_path, by_name=True, exclude=heads)
    else:
        model.load_weights(weights_path, by_name=True)
    if training:
        train(model, args.dataset)
    elif args.image:
        splash_image(model, args.image)
    else:
        splash_video(model, args.video)


if __name__ == "__main__":
    main()
