"""A small network, and files of its weights as Keras 2 writes them."""

from __future__ import annotations

import h5py
import keras
import numpy as np
from keras import layers

from mrcnn.modeling import weights
from mrcnn.modeling.layers import convolution_norm

NAMES = (
    *("conv1", "bn_conv1"),
    *("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"),
    *("mrcnn_class_conv1", "mrcnn_class_bn1", "mrcnn_class_logits", "mrcnn_bbox_fc"),
    "mrcnn_mask",
)


class Net(keras.Model):
    """The nesting of the whole network, with a layer or two of each part."""

    def __init__(self, classes: int):
        super().__init__(name="mask_rcnn")
        image, level, pooled = (keras.Input(shape) for shape in ((8, 8, 3), (None, None, 4), (2, 2, 4)))
        maps = convolution_norm(image, layers.Conv2D(4, 3, padding="same", name="conv1"), "bn_conv1", False)
        shared = layers.Conv2D(5, 3, padding="same", name="rpn_conv_shared")(level)
        answers = [layers.Conv2D(6, 1, name="rpn_class_raw"), layers.Conv2D(12, 1, name="rpn_bbox_pred")]
        box = convolution_norm(pooled, layers.Conv2D(6, 2, name="mrcnn_class_conv1"), "mrcnn_class_bn1", None)
        box = layers.Flatten()(box)
        box = [
            layers.Dense(classes, name="mrcnn_class_logits")(box),
            layers.Dense(4 * classes, name="mrcnn_bbox_fc")(box),
        ]
        self.pyramid = keras.Model(image, maps, name="pyramid")
        self.rpn = keras.Model(level, [answer(shared) for answer in answers], name="rpn_model")
        self.box_head = keras.Model(pooled, box, name="mrcnn_box_head")
        mask = layers.Conv2D(classes, 1, name="mrcnn_mask")(level)
        self.mask_head = keras.Model(level, mask, name="mrcnn_mask_head")

    def call(self, images):
        maps = self.pyramid(images)
        return [*self.rpn(maps), *self.box_head(maps[:, :2, :2]), self.mask_head(maps)]


def build(classes: int = 2) -> Net:
    model = Net(classes)
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def values_of(model) -> dict[str, list[np.ndarray]]:
    return {name: layer.get_weights() for name, layer in weights.layers(model).items()}


def assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        for one, other in zip(found[name], expected[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def keras2(classes: int = 2, inside: str = "", number: str = "") -> dict[str, dict[str, np.ndarray]]:
    """Groups of a file of `Net` as Keras 2 writes it, filled with random numbers.

    Args:
        classes: of the network.
        inside: what the names of the weights in rpn_model begin with.
        number: what TensorFlow 1 adds to layers in the names of weights of a program's second network.
    """
    rng = np.random.default_rng(0)

    def layer(name, kernel, prefix=""):
        shapes = {"kernel": kernel, "bias": kernel[-1:]}
        return {f"{prefix}{name}{number}/{key}:0": rng.normal(size=shape) for key, shape in shapes.items()}

    def norm(name, size):
        keys = ("gamma", "beta", "moving_mean", "moving_variance")
        return {f"{name}{number}/{key}:0": rng.uniform(1, 2, size) for key in keys}

    rpn = {"rpn_conv_shared": (3, 3, 4, 5), "rpn_class_raw": (1, 1, 5, 6), "rpn_bbox_pred": (1, 1, 5, 12)}
    return {
        "input_image": {},
        "conv1": layer("conv1", (3, 3, 3, 4)),
        "bn_conv1": norm("bn_conv1", 4),
        "rpn_model": {k: v for name in rpn for k, v in layer(name, rpn[name], inside).items()},
        "ROI": {},
        "mrcnn_class_conv1": layer("mrcnn_class_conv1", (2, 2, 4, 6)),
        "mrcnn_class_bn1": norm("mrcnn_class_bn1", 6),
        "mrcnn_class_logits": layer("mrcnn_class_logits", (6, classes)),
        "mrcnn_bbox_fc": layer("mrcnn_bbox_fc", (6, 4 * classes)),
        "mrcnn_bbox": {},
        "mrcnn_mask": layer("mrcnn_mask", (1, 1, 4, classes)),
    }


def write_keras2(path, groups: dict, under: str | None = None, text: type = bytes) -> None:
    """A file as Keras 2 makes it: of weights, or of a whole model (`under` model_weights)."""

    def names(keys):
        return np.array([key.encode() for key in keys]) if text is bytes else list(keys)

    with h5py.File(path, "w") as file:
        root = file.create_group(under) if under else file
        root.attrs["layer_names"] = names(groups)
        root.attrs["backend"] = "tensorflow"
        for name, stored in groups.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = names(stored)
            for key, value in stored.items():
                group[key] = value.astype(np.float32)


def expected_of(groups: dict) -> dict[str, list[np.ndarray]]:
    """What a model should hold after `groups` were loaded: arrays of each layer, in the order of the file."""
    found: dict[str, list[np.ndarray]] = {}
    for group, stored in groups.items():
        for key, value in stored.items():
            name = key.split("/")[-2].removesuffix("_1") if group == "rpn_model" else group
            found.setdefault(name, []).append(value.astype(np.float32))
    return found
