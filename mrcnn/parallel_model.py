"""Training on several GPUs: each works on its IMAGES_PER_GPU images of a step, and all share the weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import keras


def distribution(gpu_count: int, kind: str = "gpu"):
    """How Keras spreads a training over `gpu_count` devices; None for one, which needs no spreading.

    Networks and trainings belong to it when they are made and run `within` it.

    Args:
        gpu_count: how many.
        kind: of device, as `keras.distribution.list_devices` has it.

    Raises:
        ValueError: there are fewer, or the backend cannot do it.
    """
    if gpu_count == 1:
        return None
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _mirrored(gpu_count, kind)
    if backend == "jax":
        return keras.distribution.DataParallel(
            devices=_devices(keras.distribution.list_devices(kind), gpu_count)
        )
    raise ValueError(
        f"GPU_COUNT is {gpu_count}, but the {backend} backend trains on one GPU; "
        "set the environment variable KERAS_BACKEND to tensorflow or jax"
    )


def _mirrored(gpu_count: int, kind: str):
    import tensorflow as tf

    devices = [device.name for device in tf.config.list_logical_devices(kind.upper())]
    return tf.distribute.MirroredStrategy(_devices(devices, gpu_count))


def _devices(devices: list[str], count: int) -> list[str]:
    if len(devices) < count:
        raise ValueError(f"GPU_COUNT is {count}, but there are {len(devices)} GPUs; set it to what there is")
    return devices[:count]


def within(distribution) -> AbstractContextManager:
    """The context of what belongs to a distribution; no context for None."""
    return distribution.scope() if distribution else nullcontext()
