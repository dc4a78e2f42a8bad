"""The network itself: images to detections and masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from keras import ops

from mrcnn.config import Config
from mrcnn.modeling import backbones, boxes, heads, roi_align, rpn, weights


class Network(keras.Model):
    """Mask R-CNN for inference: float32 images (B, H, W, 3), RGB 0..255 -> detections and masks.

    Its sub-models are `pyramid` (backbone and feature pyramid), `rpn`, `box_head` and `mask_head`; the
    layers in them bear Matterport's names. Every output has a fixed shape, padded with zeros.
    Source: He et al., "Mask R-CNN", ICCV 2017.
    """

    def __init__(self, config: Config):
        config.check()
        # Pixels, boxes and losses need all bits, whatever the layers compute in.
        super().__init__(name="mask_rcnn", dtype="float32")
        self.config = config
        with _precision(config):
            self.pyramid = _build_pyramid(config)
            self.rpn = rpn.build_rpn(config)
            self.box_head = heads.build_box_head(config)
            self.mask_head = heads.build_mask_head(config)
        self.built = True

    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.layers.Layer:
        """The layer of that name, wherever it is nested; by index, one of the four sub-models."""
        if name is None:
            return super().get_layer(index=index)
        parts = [self.pyramid, self.rpn, self.box_head, self.mask_head]
        found = {part.name: part for part in parts} | weights.layers(self)
        if name not in found:
            raise ValueError(f"no layer is called {name!r}")
        return found[name]

    def load_weights(self, filepath, by_name: bool = False, skip_mismatch: bool = False, **arguments):
        """As Keras does it; a file called `*.h5` is of Keras 2's format, as Matterport's scripts have it.

        Args:
            filepath: `*.h5`, or one of Keras 3's own names, such as `*.weights.h5`.
            by_name: of a `*.h5` file take the layers that it has; False: it must have every layer.
            skip_mismatch, arguments: Keras's own, for its own formats alone.

        Returns:
            what was loaded from a `*.h5` file, a `mrcnn.modeling.weights.Report`.

        Raises:
            InputError: a `*.h5` file is missing or broken, or does not fit.
            ValueError: an argument that is not for this format.
        """
        if not _is_keras2(filepath):
            arguments |= {"by_name": True} if by_name else {}
            return super().load_weights(filepath, skip_mismatch=skip_mismatch, **arguments)
        if skip_mismatch or arguments:
            raise ValueError(
                f"{filepath}: to load a part of it, use MaskRCNN.load_weights(path, exclude=[...])"
            )
        return weights.read(filepath, self, by_name)

    def save_weights(self, filepath, overwrite: bool = True, **arguments) -> None:
        """As Keras does it; a file called `*.h5` is in Keras 2's format, which Matterport's code reads.

        Args:
            filepath: `*.h5`, or one of Keras 3's own names, such as `*.weights.h5`.
            overwrite: replace a file that is there.
            arguments: Keras's own, for its own formats alone.

        Raises:
            FileExistsError: there is such a `*.h5` file, and it is not to be replaced.
        """
        if not _is_keras2(filepath):
            return super().save_weights(filepath, overwrite=overwrite, **arguments)
        if not overwrite and Path(filepath).exists():
            raise FileExistsError(f"{filepath} is there already; overwrite=True replaces it")
        weights.write(filepath, self)

    def anchors(self, images) -> np.ndarray:
        """(A, 4) float32, px, for images of this shape."""
        config = self.config
        return boxes.pyramid_anchors(
            tuple(images.shape[1:3]),
            tuple(config.RPN_ANCHOR_SCALES),
            tuple(config.RPN_ANCHOR_RATIOS),
            tuple(config.BACKBONE_STRIDES),
            config.RPN_ANCHOR_STRIDE,
            config.CELL_CENTRED,
        )

    def look(self, images, training: bool = False):
        """Images -> pyramid [P2..P6], anchor logits (B, A, 2), anchor deltas (B, A, 4)."""
        mean = ops.convert_to_tensor(self.config.MEAN_PIXEL, "float32")
        levels = self.pyramid(images - mean, training=training)
        answers = [self.rpn(level) for level in levels]
        logits = ops.concatenate([level_logits for level_logits, _ in answers], axis=1)
        deltas = ops.concatenate([level_deltas for _, level_deltas in answers], axis=1)
        return levels, ops.cast(logits, "float32"), ops.cast(deltas, "float32")

    def propose(self, images, logits, deltas, count: int, candidates: int):
        """The `count` best proposals (B, count, 4), of the `candidates` likeliest anchors; no gradient."""
        scores = ops.stop_gradient(ops.softmax(logits)[..., 1])
        shape = tuple(images.shape[1:3])
        anchors, deltas = self.anchors(images), ops.stop_gradient(deltas)
        return rpn.propose(scores, deltas, anchors, shape, count, candidates, self.config)

    def classify(self, levels, rois, shape, training: bool = False):
        """Regions (B, R, 4) -> class logits (B, R, classes) and deltas (B, R, classes, 4)."""
        pooled = self._pool(levels, rois, self.config.POOL_SIZE, shape)
        return _unmerge(rois.shape[1], *self.box_head(_merge(pooled), training=training))

    def segment(self, levels, rois, shape, training: bool = False):
        """Regions (B, R, 4) -> mask logits (B, R, h, w, classes)."""
        pooled = self._pool(levels, rois, self.config.MASK_POOL_SIZE, shape)
        return _unmerge(rois.shape[1], self.mask_head(_merge(pooled), training=training))[0]

    def _pool(self, levels, rois, size: int, shape):
        # P6 serves proposals only.
        levels = [ops.cast(level, "float32") for level in levels[:-1]]
        strides = self.config.BACKBONE_STRIDES[:-1]
        return roi_align.roi_align(levels, rois, size, strides, shape, self.config.CELL_CENTRED)

    def call(self, images, times: float = 1):
        """Find objects; their masks follow in `MaskReader`, for as many places as are filled.

        Args:
            images: (B, H, W, 3).
            times: multiplies the numbers of candidates, proposals and detections in the configuration.

        Returns:
            dict of levels [P2..P6], boxes (B, D, 4) px, class_ids (B, D) int32 (0 = padding) and scores
            (B, D), best first; D = `times` DETECTION_MAX_INSTANCES.
        """
        config = self.config
        candidates, proposals, places = (
            round(times * count)
            for count in (
                config.PRE_NMS_LIMIT,
                config.POST_NMS_ROIS_INFERENCE,
                config.DETECTION_MAX_INSTANCES,
            )
        )
        levels, logits, deltas = self.look(images)
        rois = self.propose(images, logits, deltas, proposals, candidates)
        shape = tuple(images.shape[1:3])
        logits, deltas = self.classify(levels, rois, shape)
        found, class_ids, scores = self._refine(rois, logits, deltas, shape, places)
        return {"levels": levels, "boxes": found, "class_ids": class_ids, "scores": scores}

    def _refine(self, rois, logits, deltas, shape, places: int):
        """Final boxes: the best class of each region, its deltas applied, confident, not overlapping.

        The best class other than background, which may be likelier without DETECTION_ABOVE_BACKGROUND.
        """
        config = self.config
        probabilities = ops.softmax(logits)
        class_ids = ops.cast(ops.argmax(probabilities[..., 1:], axis=-1), "int32") + 1
        scores = ops.max(probabilities[..., 1:], axis=-1)
        refined = boxes.clip(
            boxes.decode(rois, heads.of_class(deltas, class_ids), config.BBOX_STD_DEV), shape
        )
        keep = ops.logical_and(boxes.area(rois) > 1.0, scores >= config.DETECTION_MIN_CONFIDENCE)
        if config.DETECTION_ABOVE_BACKGROUND:
            keep = ops.logical_and(keep, scores > probabilities[..., 0])
        scores = scores * ops.cast(keep, "float32")
        # Suppression is within a class: boxes of different classes are moved apart.
        apart = ops.cast(class_ids, "float32")[..., None] * (2.0 * max(shape))
        index, valid = boxes.non_max_suppression(
            refined + apart, scores, places, config.DETECTION_NMS_THRESHOLD
        )
        real = ops.cast(valid, "float32")
        return (
            boxes.take(refined, index) * real[..., None],
            boxes.take(class_ids, index) * ops.cast(valid, "int32"),
            boxes.take(scores, index) * real,
        )


class Detector(keras.Model):
    """The network for images of one shape: each shape has its own anchors and is compiled by itself."""

    def __init__(self, network: Network, times: float = 1):
        super().__init__(name="detector", dtype="float32")
        self.network, self.times = network, times
        self.built = True  # JAX would else run it once uncompiled, which takes longer than compiling it

    def call(self, images):
        return self.network(images, times=self.times)


class MaskReader(keras.Model):
    """Masks of found objects: dict of levels, boxes (B, R, 4), class_ids (B, R) -> (B, R, h, w) in 0..1.

    A model of its own, because the mask head is by far the largest cost and most of the padded places
    of a detection are empty: the caller cuts them off.

    Args:
        network: the network.
        shape: (height, width) of the images, px.
    """

    def __init__(self, network: Network, shape: tuple[int, int]):
        super().__init__(name="mask_reader", dtype="float32")
        self.network = network
        self.image_shape = shape
        self.built = True

    def call(self, found):
        logits = self.network.segment(found["levels"], found["boxes"], self.image_shape)
        logits = heads.of_class(ops.transpose(logits, (0, 1, 4, 2, 3)), found["class_ids"])
        return ops.sigmoid(logits)


def _is_keras2(path: Path | str) -> bool:
    return str(path).endswith(".h5") and not str(path).endswith(".weights.h5")


def _build_pyramid(config: Config) -> keras.Model:
    """Image less its mean (B, H, W, C) -> [P2, ..., P6]; H and W multiples of 64."""
    image = keras.Input((None, None, config.IMAGE_CHANNEL_COUNT), name="input_image")
    _, *maps = backbones.find(config.BACKBONE)(image, stage5=True, train_bn=config.TRAIN_BN)
    return keras.Model(image, rpn.feature_pyramid(maps, config), name="pyramid")


@contextmanager
def _precision(config: Config) -> Iterator[None]:
    """Layers made within compute in bfloat16 if asked for, which unlike float16 needs no loss scaling."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if config.MIXED_PRECISION else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _merge(pooled):
    """(B, R, ...) -> (B * R, ...): the heads treat regions of all images alike."""
    return ops.reshape(pooled, (-1, *pooled.shape[2:]))


def _unmerge(count: int, *values):
    """(B * R, ...) -> (B, R, ...) float32, R = count."""
    return tuple(ops.cast(ops.reshape(value, (-1, count, *value.shape[1:])), "float32") for value in values)
