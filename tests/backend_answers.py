"""What the network does on the backend that KERAS_BACKEND names.

`python -m tests.backend_answers FOLDER answers` (or `training`, or `devices`) reads weights and a batch from
the folder and writes an npz file into it. mrcnn/test_backends.py compares those of all backends, and
mrcnn/training/test_distribution.py those of one device and two.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from mrcnn import utils
from mrcnn.config import NucleusConfig
from mrcnn.data.loader import Batches
from mrcnn.model import MaskRCNN
from mrcnn.modeling import boxes, roi_align, weights
from mrcnn.modeling.layers import convolution_norm
from mrcnn.training.distribution import addends, distribution, within
from mrcnn.training.trainer import Trainer
from nuclei import tissue

WEIGHTS, BATCH = "weights.h5", "batch.npz"
SIDE = 128  # px
GEOMETRIES = (True, False)  # values of CELL_CENTRED
# One layer of each part: backbone, pyramid, proposals, box head, mask head.
TRAINED = ("c2_convolution", "fpn_p3", "rpn_conv_shared", "mrcnn_class_conv1", "mrcnn_mask_deconv")


def five_convolutions(input_image, stage5=True, train_bn=False):
    """A backbone that JAX compiles in seconds."""
    x, maps = layers.Rescaling(1 / 64)(input_image), []
    for level in range(1, 6):
        convolution = layers.Conv2D(8 * level, 3, 2, padding="same", name=f"c{level}_convolution")
        x = layers.ReLU()(convolution_norm(x, convolution, f"c{level}_norm", train_bn))
        maps.append(x)
    return maps


# The answers of these layers are spread out, so that few are alike and no decision hangs on rounding.
SPREAD = {
    "rpn_class_raw": 3,
    "rpn_bbox_pred": 5,
    "mrcnn_class_logits": 4,
    "mrcnn_bbox_fc": 2,
    "mrcnn_mask": 4,
}


class Tiny(NucleusConfig):
    """Small, and with limits so large that training leaves nothing to chance: all that may count does."""

    BACKBONE = staticmethod(five_convolutions)
    IMAGE_MIN_DIM = SIDE
    IMAGE_MAX_DIM = SIDE
    STEPS_PER_EPOCH = 2
    WORKERS = 0
    MAX_GT_INSTANCES = 40
    TOP_DOWN_PYRAMID_SIZE = 16
    RPN_CHANNELS = 16
    MASK_CHANNELS = 8
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    PRE_NMS_LIMIT = 300
    POST_NMS_ROIS_TRAINING = 60
    POST_NMS_ROIS_INFERENCE = 60
    DETECTION_MAX_INSTANCES = 40
    DETECTION_MIN_CONFIDENCE = 0.4
    RPN_TRAIN_ANCHORS_PER_IMAGE = 2 * 3 * (32**2 + 16**2 + 8**2 + 4**2 + 2**2)
    TRAIN_ROIS_PER_IMAGE = 2 * (60 + 40)
    ROI_POSITIVE_RATIO = 0.5
    OPTIMIZER = "sgd"
    WEIGHT_AVERAGING = 0.0


class Tissue(utils.Dataset):
    """Two generated images."""

    def __init__(self):
        super().__init__()
        self.pairs = [tissue.generate(kind, SIDE, 3) for kind in ("lymphoid", "glandular")]
        self.add_class("nuclei", 1, "nucleus")
        for number in range(len(self.pairs)):
            self.add_image("nuclei", number, f"{number}.png")
        self.prepare()

    def load_image(self, image_id):
        return self.pairs[image_id][0]

    def load_labels(self, image_id):
        labels = self.pairs[image_id][1]
        return labels, np.ones(labels.max(), np.int32)


def prepare(folder: Path) -> None:
    """Write the weights and the batch that all backends read."""
    network = MaskRCNN("training", Tiny(), folder).keras_model
    for name, factor in SPREAD.items():
        layer = weights.layers(network)[name]
        kernel, bias = layer.get_weights()
        layer.set_weights([factor * kernel, bias])
    weights.write(folder / WEIGHTS, network)
    (batch,) = Batches(Tissue(), Tiny())[0]
    np.savez(folder / BATCH, **batch)


def make(folder: Path, mode: str, centred: bool = True) -> MaskRCNN:
    """The network with the weights in the folder."""
    config = Tiny()
    config.CELL_CENTRED = centred
    network = MaskRCNN(mode, config, folder)
    weights.read(folder / WEIGHTS, network.keras_model)
    return network


def detections(folder: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """What both geometries find."""
    found = {}
    for centred in GEOMETRIES:
        for number, image in enumerate(make(folder, "inference", centred).predictor.predict(images)):
            found |= {f"find/{centred}/{number}/{name}": value for name, value in image.items()}
    return found


def training_step(folder: Path, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The losses on the batch, and what one step of plain gradient descent changes."""
    network = make(folder, "training", centred=False).keras_model
    trained = weights.layers(network)
    before = {name: trained[name].get_weights()[0] for name in TRAINED}
    trainer = Trainer(network, 0)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=keras.backend.backend() == "jax")
    losses = trainer.train_on_batch(batch, return_dict=True)
    answers = {f"loss/{name}": np.float32(value) for name, value in losses.items()}
    changes = {f"change/{name}": trained[name].get_weights()[0] - before[name] for name in TRAINED}
    return answers | changes


def random_boxes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """(..., 4) float32, of 4 to 60 px, inside the image."""
    first = rng.uniform(0, SIDE - 8, (*shape, 2))
    last = np.minimum(first + rng.uniform(4, 60, (*shape, 2)), SIDE)
    return np.concatenate([first, last], axis=-1).astype(np.float32)


def operations() -> dict[str, np.ndarray]:
    """The operations on boxes, on random tensors."""
    rng = np.random.default_rng(0)
    regions, strides = random_boxes(rng, 2, 50), (4, 8, 16, 32)
    scores = rng.uniform(-0.2, 1, (2, 50)).astype(np.float32)
    maps = [rng.normal(size=(2, SIDE // s, SIDE // s, 5)).astype(np.float32) for s in strides]
    masks = rng.uniform(size=(2, 50, 9, 7)).astype(np.float32)
    maps, masks = [ops.convert_to_tensor(level) for level in maps], ops.convert_to_tensor(masks)
    own, regions, scores = (ops.convert_to_tensor(x) for x in (random_boxes(rng, 2, 50), regions, scores))
    answers = {}
    for centred in GEOMETRIES:
        answers[f"roi_align/{centred}"] = roi_align.roi_align(
            maps, regions, 7, strides, (SIDE, SIDE), centred
        )
        answers[f"crop_masks/{centred}"] = roi_align.crop_masks(masks, own, regions, 11, centred)
    for suppress in (boxes.non_max_suppression, boxes.suppress_all_at_once):
        index, valid = suppress(regions, scores, 20, 0.3)
        answers[f"{suppress.__name__}/kept"] = ops.where(valid, index, -1)
    return {name: ops.convert_to_numpy(value) for name, value in answers.items()}


def training(folder: Path) -> dict[str, np.ndarray]:
    """Two epochs with checkpoints, then a third by a new network that goes on from the last of them."""
    dataset, config, logs = Tissue(), Tiny(), folder / keras.backend.backend()
    first = MaskRCNN("training", config, logs)
    first.load_weights(folder / WEIGHTS)
    first.train(dataset, dataset, 1e-3, epochs=2, layers="heads")
    second = MaskRCNN("training", config, logs, seed=7)  # its initial weights do not matter
    second.load_weights(second.find_last())
    epoch = second.epoch
    losses = second.train(dataset, None, 1e-3, epochs=3, layers="heads")
    return {"epoch": np.int32(epoch), "losses": np.array(losses["loss"])}


def devices(folder: Path) -> dict[str, np.ndarray]:
    """The losses of two epochs on one device and on two, into which the processor is divided."""
    dataset, found = Tissue(), {}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        parts = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        # Its losses are means over each device's own image, so that both have to be the same one.
        dataset.image_info[1]["weight"] = 0
    else:
        import jax

        jax.config.update("jax_num_cpu_devices", 2)
    for name, count in (("one", 1), ("two", 2)):
        config = Tiny()
        config.GPU_COUNT, config.IMAGES_PER_GPU = count, 2 // count
        config.GRADIENT_CLIP_NORM = 1e6  # on TensorFlow each device clips the gradient of its own images
        network = MaskRCNN("training", config, folder / name)
        network.load_weights(folder / WEIGHTS)
        losses = network.train(dataset, None, 1e-3, epochs=2)
        found |= {f"{name}/{loss}": np.array(values) for loss, values in losses.items()}
    with within(distribution(2)):
        return found | {"replicas": np.int32(addends())}


def answers(folder: Path) -> dict[str, np.ndarray]:
    """All but a training."""
    with np.load(folder / BATCH) as file:
        batch = dict(file)
    return operations() | detections(folder, batch["images"]) | training_step(folder, batch)


def main(folder: Path, asked: str) -> None:
    """Write answers or a training's losses into the folder, which holds the weights and the batch."""
    found = {"answers": answers, "training": training, "devices": devices}[asked](folder)
    np.savez(folder / f"{asked}_{keras.backend.backend()}.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
