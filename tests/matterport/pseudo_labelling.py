"""A script of a user of Matterport's Mask R-CNN: trains on patches, labels others with it, trains on all.

It follows the third stage of a method of few labels: FOLDER holds `labelled` and `unlabelled` patches, each a
folder with `images` and, if labelled, `masks`, a picture for each nucleus.

    python -m tests.matterport.pseudo_labelling FOLDER WEIGHTS
"""

import os
import sys

import numpy as np
import skimage.io

import mrcnn.model as modellib
from mrcnn import utils
from mrcnn.config import Config
from mrcnn.model import log
from tests.matterport.small import Small


class NucleiConfig(Small, Config):
    NAME = "nuclei"
    NUM_CLASSES = 1 + 1
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 1
    VALIDATION_STEPS = 1


class InferenceConfig(NucleiConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1


class NucleiDataset(utils.Dataset):
    def load_patches(self, folder):
        self.add_class("nuclei", 1, "nucleus")
        for patch in sorted(os.listdir(folder)):
            path = os.path.join(folder, patch, "images", patch + ".png")
            self.add_image("nuclei", image_id=patch, path=path)

    def load_mask(self, image_id):
        folder = os.path.join(os.path.dirname(self.image_info[image_id]["path"]), "..", "masks")
        masks = [skimage.io.imread(os.path.join(folder, name)) > 0 for name in sorted(os.listdir(folder))]
        return np.stack(masks, axis=-1), np.ones(len(masks), dtype=np.int32)


def load(*folders):
    dataset = NucleiDataset()
    for folder in folders:
        dataset.load_patches(folder)
    dataset.prepare()
    return dataset


def train(dataset, weights_path, model_dir, epochs):
    config = NucleiConfig()
    model = modellib.MaskRCNN(mode="training", config=config, model_dir=model_dir)
    model.load_weights(weights_path, by_name=True)
    model.train(dataset, dataset, learning_rate=config.LEARNING_RATE, epochs=epochs, layers="all")
    return model.find_last()


def predict(dataset, weights_path, model_dir):
    """Write what is found in each patch beside its image, as the labelled patches have it."""
    model = modellib.MaskRCNN(mode="inference", config=InferenceConfig(), model_dir=model_dir)
    model.load_weights(weights_path, by_name=True)
    for image_id in dataset.image_ids:
        path = dataset.source_image_link(image_id)
        r = model.detect([dataset.load_image(image_id)], verbose=0)[0]
        log("masks", r["masks"])
        folder = os.path.join(os.path.dirname(path), "..", "masks")
        os.makedirs(folder, exist_ok=True)
        for i in range(r["masks"].shape[-1]):
            mask = r["masks"][:, :, i].astype(np.uint8) * 255
            skimage.io.imsave(os.path.join(folder, f"{i}.png"), mask, check_contrast=False)


def main(folder, weights_path, model_dir="logs"):
    labelled, unlabelled = (os.path.join(folder, name) for name in ("labelled", "unlabelled"))
    first = train(load(labelled), weights_path, model_dir, epochs=1)
    predict(load(unlabelled), first, model_dir)
    last = train(load(labelled, unlabelled), first, model_dir, epochs=2)
    print("first", first)
    print("last", last)


if __name__ == "__main__":
    main(*sys.argv[1:])
