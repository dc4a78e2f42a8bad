"""A script of a user of Matterport's Mask R-CNN: trains on annotations of COCO's form, scores as COCO does.

python -m tests.matterport.coco train --dataset FOLDER --model coco
python -m tests.matterport.coco evaluate --dataset FOLDER --model last
"""

import argparse
import os

import numpy as np
from pycocotools import mask as maskUtils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config
from tests.matterport.small import Small

COCO_MODEL_PATH = "mask_rcnn_coco.h5"


class CocoConfig(Small, Config):
    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1


class InferenceConfig(CocoConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    DETECTION_MIN_CONFIDENCE = 0


class CocoDataset(utils.Dataset):
    def load_coco(self, dataset_dir, subset, class_ids=None, return_coco=False):
        """The images of `subset` (train, val), or those of them that show one of the classes."""
        coco = COCO(os.path.join(dataset_dir, "annotations", f"instances_{subset}.json"))
        if class_ids:
            image_ids = sorted({each for class_id in class_ids for each in coco.getImgIds(catIds=[class_id])})
        else:
            class_ids, image_ids = sorted(coco.getCatIds()), list(coco.imgs.keys())
        for class_id in class_ids:
            self.add_class("coco", class_id, coco.loadCats(class_id)[0]["name"])
        for i in image_ids:
            annotation_ids = coco.getAnnIds(imgIds=[i], catIds=class_ids, iscrowd=None)
            self.add_image(
                "coco",
                image_id=i,
                path=os.path.join(dataset_dir, subset, coco.imgs[i]["file_name"]),
                width=coco.imgs[i]["width"],
                height=coco.imgs[i]["height"],
                annotations=coco.loadAnns(annotation_ids),
            )
        return coco if return_coco else None

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        if info["source"] != "coco":
            return super().load_mask(image_id)
        instance_masks, class_ids = [], []
        for annotation in info["annotations"]:
            class_id = self.map_source_class_id(f"coco.{annotation['category_id']}")
            mask = maskUtils.decode(self.to_rle(annotation["segmentation"], info["height"], info["width"]))
            if mask.max() < 1:  # too small to have a pixel
                continue
            instance_masks.append(mask)
            class_ids.append(-class_id if annotation["iscrowd"] else class_id)
        if not class_ids:
            return super().load_mask(image_id)
        return np.stack(instance_masks, axis=2).astype(bool), np.array(class_ids, dtype=np.int32)

    def to_rle(self, segmentation, height, width):
        """Polygons, or runs as numbers, or runs as text, of which the last is what is decoded."""
        if isinstance(segmentation, list):
            return maskUtils.merge(maskUtils.frPyObjects(segmentation, height, width))
        if isinstance(segmentation["counts"], list):
            return maskUtils.frPyObjects(segmentation, height, width)
        return segmentation

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "coco":
            return f"https://cocodataset.org/#explore?id={info['id']}"
        return super().image_reference(image_id)


def build_coco_results(dataset, image_ids, rois, class_ids, scores, masks):
    """What `COCO.loadRes` takes: a line for each detection, boxes as x, y, width, height."""
    if rois is None:
        return []
    results = []
    for image_id in image_ids:
        for i in range(rois.shape[0]):
            y1, x1, y2, x2 = np.around(rois[i], 1)
            results.append(
                {
                    "image_id": image_id,
                    "category_id": dataset.get_source_class_id(class_ids[i], "coco"),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": scores[i],
                    "segmentation": maskUtils.encode(np.asfortranarray(masks[:, :, i])),
                }
            )
    return results


def evaluate_coco(model, dataset, coco, eval_type="bbox", limit=0):
    image_ids = dataset.image_ids[:limit] if limit else dataset.image_ids
    coco_image_ids = [dataset.image_info[image_id]["id"] for image_id in image_ids]
    results = []
    for image_id, coco_image_id in zip(image_ids, coco_image_ids, strict=True):
        r = model.detect([dataset.load_image(image_id)], verbose=0)[0]
        masks = r["masks"].astype(np.uint8)
        results += build_coco_results(dataset, [coco_image_id], r["rois"], r["class_ids"], r["scores"], masks)
    evaluation = COCOeval(coco, coco.loadRes(results), eval_type)
    evaluation.params.imgIds = coco_image_ids
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def train(model, dataset_dir):
    dataset_train, dataset_val = CocoDataset(), CocoDataset()
    dataset_train.load_coco(dataset_dir, "train")
    dataset_train.prepare()
    dataset_val.load_coco(dataset_dir, "val")
    dataset_val.prepare()
    rate = model.config.LEARNING_RATE
    for epochs, layers, share in ((1, "heads", 1), (2, "4+", 1), (3, "all", 0.1)):
        print("Training", layers)
        model.train(dataset_train, dataset_val, rate * share, epochs, layers, augmentation=None)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Mask R-CNN on COCO")
    parser.add_argument("command", choices=["train", "evaluate"])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--model", required=True, help="coco, last, imagenet or a file")
    parser.add_argument("--logs", default="logs")
    parser.add_argument("--limit", type=int, default=0)
    args = parser.parse_args(arguments)
    training = args.command == "train"
    config = CocoConfig() if training else InferenceConfig()
    config.display()
    mode = "training" if training else "inference"
    model = modellib.MaskRCNN(mode=mode, config=config, model_dir=args.logs)
    named = {"coco": lambda: COCO_MODEL_PATH, "last": model.find_last, "imagenet": model.get_imagenet_weights}
    model_path = named.get(args.model.lower(), lambda: args.model)()
    print("Loading weights ", model_path)
    model.load_weights(model_path, by_name=True)
    if training:
        return train(model, args.dataset)
    dataset = CocoDataset()
    coco = dataset.load_coco(args.dataset, "val", return_coco=True)
    dataset.prepare()
    return {kind: evaluate_coco(model, dataset, coco, kind, args.limit) for kind in ("bbox", "segm")}


if __name__ == "__main__":
    main()
