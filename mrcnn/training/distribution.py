"""Training on several GPUs: each works on its IMAGES_PER_GPU images of a step, and all share the weights.

On JAX a step is that of one GPU with all the images. On TensorFlow each loss is a mean over what counts in
one GPU's images, and the step's is the mean of those: the same only where equally much counts in each. There
each GPU also clips its gradient by itself.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import keras


def distribution(gpu_count: int):
    """How Keras spreads a training over `gpu_count` devices; None for one, which needs no spreading.

    Networks and trainings belong to it when they are made and run `within` it. Where there is no GPU, the
    devices into which a processor may be divided serve instead: to try it out.

    Raises:
        ValueError: there are fewer, or the backend cannot do it.
    """
    if gpu_count == 1:
        return None
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise ValueError(
            f"GPU_COUNT is {gpu_count}, but the {backend} backend trains on one GPU; "
            "set the environment variable KERAS_BACKEND to tensorflow or jax"
        )
    devices = keras.distribution.list_devices()
    if len(devices) < gpu_count:
        raise ValueError(
            f"GPU_COUNT is {gpu_count}, but {backend} has {', '.join(devices)} only; set it to what there is"
        )
    if backend == "jax":
        return keras.distribution.DataParallel(devices=devices[:gpu_count])
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices[:gpu_count])


def within(distribution) -> AbstractContextManager:
    """The context of what belongs to a distribution; no context for None."""
    return distribution.scope() if distribution else nullcontext()


def addends() -> int:
    """How many gradients the step that is being made adds up: one of each device, on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
