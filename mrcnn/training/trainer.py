"""The network with its five losses: images with ground truth to a number to make smaller."""

from __future__ import annotations

import keras
from keras import ops

from mrcnn.config import Config
from mrcnn.modeling.network import Network
from mrcnn.training import losses, targets
from mrcnn.training.distribution import addends

LOSSES = ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss")


class Trainer(keras.Model):
    """The same network with its five losses, for `fit`.

    Inputs are the dict of `mrcnn.data.loader.Batches`: images (B, H, W, 3), gt_class_ids (B, G) int32,
    gt_boxes (B, G, 4) float32, gt_masks (B, G, h, w) uint8, outlined (B,) float32: 1 where the outlines
    are to be learnt, 0 where only the places are (Liu et al., "Unbiased Teacher", ICLR 2021).
    """

    def __init__(self, network: Network, seed: int):
        super().__init__(name="mask_rcnn_trainer", dtype="float32")
        self.network = network
        self.seed = keras.random.SeedGenerator(seed)
        self.loss_means = {name: keras.metrics.Mean(name=name) for name in LOSSES}
        self.built = True

    def call(self, inputs, training: bool = False):
        """The five losses by name, each a scalar."""
        network, config = self.network, self.network.config
        images, shape = inputs["images"], tuple(inputs["images"].shape[1:3])
        gt = inputs["gt_class_ids"], inputs["gt_boxes"], inputs["gt_masks"], inputs["outlined"]
        levels, logits, deltas = network.look(images, training)
        match, anchor_deltas = targets.anchor_targets(
            network.anchors(images), gt[1], gt[0], config, self.seed
        )
        proposals = network.propose(
            images, logits, deltas, config.POST_NMS_ROIS_TRAINING, config.PRE_NMS_LIMIT
        )
        rois, class_ids, roi_deltas, masks = targets.roi_targets(proposals, *gt, config, self.seed)
        class_logits, class_deltas = network.classify(levels, rois, shape, training)
        # Background has no box and no mask: these heads see the places of the positives only.
        positives = roi_deltas.shape[1]
        # Where outlines are a guess, the network learns what is a nucleus but not its box and mask.
        outlined = ops.cast(inputs["outlined"], "int32")[:, None]
        match_outlined = match * outlined
        positive_ids = ops.where(outlined > 0, class_ids[:, :positives], -1)
        mask_logits = network.segment(levels, rois[:, :positives], shape, training)
        return {
            "rpn_class_loss": losses.rpn_class_loss(match, logits),
            "rpn_bbox_loss": losses.rpn_bbox_loss(match_outlined, anchor_deltas, deltas),
            "mrcnn_class_loss": losses.class_loss(class_ids, class_logits),
            "mrcnn_bbox_loss": losses.bbox_loss(positive_ids, roi_deltas, class_deltas[:, :positives]),
            "mrcnn_mask_loss": losses.mask_loss(positive_ids, masks, mask_logits),
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Weighted sum of the five losses; their running means are metrics of their own."""
        for name, value in y_pred.items():
            self.loss_means[name].update_state(value)
        weights = self.network.config.LOSS_WEIGHTS
        # The gradients of all devices are added up; a step follows their mean.
        return sum(weights[name] * y_pred[name] for name in LOSSES) / addends()

    def prepare(self, learning_rate) -> None:
        """Compile it, with the optimiser of the configuration and its variables.

        Args:
            learning_rate: a number, or a schedule over the optimiser's steps.

        Raises:
            ValueError: an unknown OPTIMIZER.
        """
        # XLA is JAX's only way; on TensorFlow's processor kernels it is the slower one.
        compiled = keras.backend.backend() == "jax"
        self.compile(optimizer=_optimizer(self.network.config, learning_rate), jit_compile=compiled)
        self.optimizer.build(self.trainable_variables)


def _optimizer(config: Config, learning_rate) -> keras.optimizers.Optimizer:
    limit = config.GRADIENT_CLIP_NORM
    shared = {
        "global_clipnorm": limit and limit / addends(),
        "weight_decay": config.WEIGHT_DECAY,
        "use_ema": config.WEIGHT_AVERAGING > 0,
        "ema_momentum": config.WEIGHT_AVERAGING,
    }
    if config.OPTIMIZER == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, **shared)
    elif config.OPTIMIZER == "sgd":
        optimizer = keras.optimizers.SGD(learning_rate, momentum=config.LEARNING_MOMENTUM, **shared)
    else:
        raise ValueError(f"OPTIMIZER is 'sgd' or 'adamw', not {config.OPTIMIZER!r}")
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta"])
    return optimizer
