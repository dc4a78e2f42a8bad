"""A script of a user of Matterport's Mask R-CNN: nuclei in stacks of five channels, from weights for RGB.

python -m tests.matterport.five_channels FOLDER WEIGHTS
"""

import os
import sys

import numpy as np
from keras import layers

import mrcnn.model as modellib
from mrcnn import utils
from mrcnn.config import Config
from tests.matterport.small import Small

CHANNELS = 5
# The first convolution is trained together with the heads: no weights fit it.
HEADS_AND_FIRST = r"(conv1)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)"


def backbone(input_image, stage5=True, train_bn=False):
    """Begins as ResNet does, with a layer called conv1."""
    x = layers.Conv2D(8, 7, 2, "same", activation="relu", name="conv1")(input_image)
    maps = [x]
    for stage, channels in enumerate((16, 24, 32, 32), 2):
        x = layers.Conv2D(channels, 3, 2, "same", activation="relu", name=f"res{stage}a_branch2a")(x)
        maps.append(x)
    return maps


class NucleiConfig(Small, Config):
    NAME = "nuclei"
    BACKBONE = staticmethod(backbone)
    NUM_CLASSES = 1 + 1
    IMAGES_PER_GPU = 1
    STEPS_PER_EPOCH = 2
    IMAGE_CHANNEL_COUNT = CHANNELS
    MEAN_PIXEL = np.array([20.0, 30.0, 40.0, 50.0, 60.0])


class InferenceConfig(NucleiConfig):
    DETECTION_MIN_CONFIDENCE = 0


class NucleiDataset(utils.Dataset):
    """A folder with, of each field, <field>.npy (H, W, 5) and <field>_labels.npy (H, W)."""

    def load_nuclei(self, folder):
        self.add_class("nuclei", 1, "nucleus")
        for name in sorted(os.listdir(folder)):
            if name.endswith(".npy") and not name.endswith("_labels.npy"):
                self.add_image("nuclei", image_id=name[:-4], path=os.path.join(folder, name))

    def load_image(self, image_id):
        return np.load(self.image_info[image_id]["path"])

    def load_mask(self, image_id):
        labels = np.load(self.image_info[image_id]["path"].replace(".npy", "_labels.npy"))
        mask = np.dstack([labels == number for number in np.unique(labels) if number > 0])
        return mask, np.ones(mask.shape[2], dtype=np.int32)


def train(dataset, config, weights_path, model_dir):
    model = modellib.MaskRCNN("training", config, model_dir)
    heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
    model.load_weights(weights_path, by_name=True, exclude=["conv1", *heads])
    model.train(dataset, dataset, config.LEARNING_RATE, epochs=1, layers=HEADS_AND_FIRST)


def main(folder, weights_path, model_dir="logs"):
    dataset = NucleiDataset()
    dataset.load_nuclei(folder)
    dataset.prepare()
    train(dataset, NucleiConfig(), weights_path, model_dir)

    inference_config = InferenceConfig()
    model = modellib.MaskRCNN("inference", inference_config, model_dir)
    model.load_weights(model.find_last(), by_name=True)
    for image_id in dataset.image_ids:
        image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
            dataset, inference_config, image_id, use_mini_mask=False
        )
        modellib.log("image", image)
        modellib.log("molded", modellib.mold_image(image, inference_config))
        r = model.detect([image])[0]
        np.save(f"{dataset.image_info[image_id]['id']}_found.npy", r["masks"])


if __name__ == "__main__":
    main(*sys.argv[1:])
