"""A script of a user of Matterport's Mask R-CNN: boxes of Pascal VOC's form taken for masks, the mean AP.

python -m tests.matterport.kangaroo FOLDER
"""

import sys
from os import listdir
from os.path import join
from xml.etree import ElementTree

from matplotlib import pyplot
from matplotlib.patches import Rectangle
from numpy import asarray, expand_dims, mean, zeros

from mrcnn.config import Config
from mrcnn.model import MaskRCNN, load_image_gt, mold_image
from mrcnn.utils import Dataset, compute_ap
from tests.matterport.small import Small


class KangarooDataset(Dataset):
    def load_dataset(self, dataset_dir, is_train=True):
        """The last image is there to test."""
        self.add_class("dataset", 1, "kangaroo")
        names = sorted(listdir(join(dataset_dir, "images")))
        for filename in names[:-1] if is_train else names[-1:]:
            image_id = filename[:-4]
            self.add_image(
                "dataset",
                image_id=image_id,
                path=join(dataset_dir, "images", filename),
                annotation=join(dataset_dir, "annots", image_id + ".xml"),
            )

    def extract_boxes(self, filename):
        root = ElementTree.parse(filename).getroot()
        sides = ("xmin", "ymin", "xmax", "ymax")
        boxes = [[int(box.find(side).text) for side in sides] for box in root.findall(".//bndbox")]
        return boxes, int(root.find(".//size/width").text), int(root.find(".//size/height").text)

    def load_mask(self, image_id):
        boxes, w, h = self.extract_boxes(self.image_info[image_id]["annotation"])
        masks = zeros([h, w, len(boxes)], dtype="uint8")
        class_ids = []
        for i, (xmin, ymin, xmax, ymax) in enumerate(boxes):
            masks[ymin:ymax, xmin:xmax, i] = 1
            class_ids.append(self.class_names.index("kangaroo"))
        return masks, asarray(class_ids, dtype="int32")

    def image_reference(self, image_id):
        return self.image_info[image_id]["path"]


class KangarooConfig(Small, Config):
    NAME = "kangaroo_cfg"
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 1


class PredictionConfig(KangarooConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    # The images given to `detect` are molded already, which it does again: half of the mean each time.
    MEAN_PIXEL = asarray(KangarooConfig.MEAN_PIXEL) / 2


def prepared(dataset_dir, is_train):
    dataset = KangarooDataset()
    dataset.load_dataset(dataset_dir, is_train)
    dataset.prepare()
    return dataset


def train(train_set, test_set):
    config = KangarooConfig()
    config.display()
    model = MaskRCNN(mode="training", model_dir="./", config=config)
    model.load_weights("mask_rcnn_coco.h5", by_name=True)
    model.train(train_set, test_set, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads")
    return model.find_last()


def evaluate_model(dataset, model, cfg):
    APs = []
    for image_id in dataset.image_ids:
        image, _, gt_class_id, gt_bbox, gt_mask = load_image_gt(dataset, cfg, image_id, use_mini_mask=False)
        sample = expand_dims(mold_image(image, cfg), 0)
        r = model.detect(sample, verbose=0)[0]
        AP, _, _, _ = compute_ap(
            gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
        )
        APs.append(AP)
    return mean(APs)


def plot_actual_vs_predicted(dataset, model, cfg):
    """Of each image two panels: the masks given, and the boxes found."""
    for i, image_id in enumerate(dataset.image_ids):
        image = dataset.load_image(image_id)
        mask, _ = dataset.load_mask(image_id)
        yhat = model.detect(expand_dims(mold_image(image, cfg), 0), verbose=0)[0]
        pyplot.subplot(len(dataset.image_ids), 2, 2 * i + 1)
        pyplot.imshow(image)
        for j in range(mask.shape[2]):
            pyplot.imshow(mask[:, :, j], cmap="gray", alpha=0.3)
        pyplot.subplot(len(dataset.image_ids), 2, 2 * i + 2)
        pyplot.imshow(image)
        for y1, x1, y2, x2 in yhat["rois"]:
            pyplot.gca().add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color="red"))
    pyplot.savefig("actual_vs_predicted.png")


def main(dataset_dir):
    train_set, test_set = prepared(dataset_dir, True), prepared(dataset_dir, False)
    print(f"Train: {len(train_set.image_ids)}, Test: {len(test_set.image_ids)}")
    weights_path = train(train_set, test_set)
    cfg = PredictionConfig()
    model = MaskRCNN(mode="inference", model_dir="./", config=cfg)
    model.load_weights(weights_path, by_name=True)
    for name, dataset in (("Train", train_set), ("Test", test_set)):
        print(f"{name} mAP: {evaluate_model(dataset, model, cfg):.3f}")
    plot_actual_vs_predicted(test_set, model, cfg)


if __name__ == "__main__":
    main(sys.argv[1])
