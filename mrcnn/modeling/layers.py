"""Layers of the network: normalisation for batches of a few images, and convolutions in their quickest form.

The convolutions are the same functions of the same weights as Keras's own.
"""

from __future__ import annotations

from functools import lru_cache

import keras
import numpy as np
from keras import layers, ops

from mrcnn import backend

GROUPS = 8

# F(4 x 4, 3 x 3): six pixels in a row give four of the result with six products instead of twelve.
# Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.3.
_STEP, _TILE = 4, 6
_FROM_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_FROM_KERNEL = (
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
)
_TO_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)
_WORTHWHILE = 256  # channels from which on the saved products outweigh the transforms


def group_norm(x, name: str):
    """Normalise maps (B, H, W, C) over the pixels and the channels of each of `GROUPS` groups.

    Without it the new layers, which start from random weights, take three times as many steps.
    Source: Wu and He, "Group Normalization", ECCV 2018.
    """
    return layers.GroupNormalization(GROUPS, name=name)(x)


class BatchNorm(layers.BatchNormalization):
    """Batch normalisation that keeps to the `training` with which it was first called.

    False uses the stored statistics always; True those of the batch always; None those of the batch
    while training. (A Keras functional model forgets what its layers were called with.) A layer with
    `trainable = False` uses the stored statistics whatever it was called with.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._kept = None

    def __call__(self, inputs, training=None, **kwargs):
        if not self.built:
            self._kept = training
        return super().__call__(inputs, training=training if self._kept is None else self._kept, **kwargs)


def convolution_norm(
    x: keras.KerasTensor, convolution: layers.Conv2D, name: str, train_bn: bool | None
) -> keras.KerasTensor:
    """Maps x (B, H, W, C) through `convolution`, then the batch normalisation `name`; see `BatchNorm`."""
    return BatchNorm(name=name)(convolution(x), training=train_bn)


class WholeMapConvolution(layers.Conv2D):
    """A convolution whose kernel is as large as the map, as one matrix product.

    On a processor the gradient of such a convolution takes twice as long, on JAX fifteen times.
    """

    def convolution_op(self, inputs, kernel):
        """Maps (B, H, W, C) and a kernel (H, W, C, F) -> (B, 1, 1, F)."""
        filters = kernel.shape[-1]
        flat = ops.reshape(inputs, (-1, int(np.prod(kernel.shape[:3]))))
        product = ops.matmul(flat, ops.reshape(kernel, (-1, filters)))
        return ops.reshape(product, (-1, 1, 1, filters))


class WinogradConvolution(layers.Conv2D):
    """A 3 x 3 convolution of stride 1, padding "same", with a quarter of the products on a processor.

    GPU libraries choose such forms by themselves, and bfloat16 has too few bits for them.
    """

    def convolution_op(self, inputs, kernel):
        """Maps (B, H, W, C) and a kernel (3, 3, C, F) -> (B, H, W, F)."""
        wide = min(kernel.shape[2:]) >= _WORTHWHILE
        if wide and self.compute_dtype == "float32" and not backend.has_gpu():
            return winograd(inputs, kernel)
        return super().convolution_op(inputs, kernel)


def winograd(inputs, kernel):
    """A 3 x 3 convolution with zeros around the map, by Winograd's minimal filtering.

    With tiles d of 6 x 6 pixels, four apart, and the kernel g, the 4 x 4 results are
    A^T ((G g G^T) * (B^T d B)) A: the product is pixel by pixel, and a matrix product over the channels.
    B^T and A^T of all tiles along an axis are one matrix each, zero padding and overlap included.

    Args:
        inputs: (B, H, W, C) float32; H and W known.
        kernel: (3, 3, C, F) float32.

    Returns:
        (B, H, W, F), equal to the convolution but for rounding.
    """
    height, width, channels = inputs.shape[1:]
    filters = kernel.shape[-1]
    from_rows, to_rows = _matrices(height)
    from_columns, to_columns = _matrices(width)
    down, across = from_rows.shape[0] // _TILE, from_columns.shape[0] // _TILE  # tiles

    tiles = _along_columns(from_columns, _along_rows(from_rows, inputs))
    tiles = ops.reshape(tiles, (-1, _TILE, down, _TILE, across, channels))
    tiles = ops.reshape(ops.transpose(tiles, (1, 3, 0, 2, 4, 5)), (_TILE**2, -1, channels))
    kernels = ops.matmul(np.kron(_FROM_KERNEL, _FROM_KERNEL), ops.reshape(kernel, (9, -1)))
    products = ops.matmul(tiles, ops.reshape(kernels, (_TILE**2, channels, filters)))
    products = ops.reshape(products, (_TILE, _TILE, -1, down, across, filters))
    products = ops.transpose(products, (2, 0, 3, 1, 4, 5))
    products = ops.reshape(products, (-1, _TILE * down, _TILE * across, filters))
    return _along_rows(to_rows, _along_columns(to_columns, products))


@lru_cache(maxsize=64)
def _matrices(length: int) -> tuple[np.ndarray, np.ndarray]:
    """From an axis of `length` pixels to its transformed tiles, (6 * tiles, length), and back from products.

    The first pixels of all tiles come first, then the second ones.
    """
    tiles = -(-length // _STEP)
    forth = np.zeros((_TILE, tiles, length), np.float32)
    back = np.zeros((length, _TILE, tiles), np.float32)
    for tile in range(tiles):
        for pixel in range(_TILE):
            source = _STEP * tile + pixel - 1  # a tile begins one pixel before its results
            if 0 <= source < length:
                forth[:, tile, source] = _FROM_INPUT[:, pixel]
        rows = slice(_STEP * tile, min(_STEP * tile + _STEP, length))
        back[rows, :, tile] = _TO_OUTPUT[: rows.stop - rows.start]
    return forth.reshape(-1, length), back.reshape(length, -1)


def _along_rows(matrix: np.ndarray, maps):
    """(m, H), (B, H, W, C) -> (B, m, W, C)."""
    _, height, width, channels = maps.shape
    product = ops.matmul(matrix, ops.reshape(maps, (-1, height, width * channels)))
    return ops.reshape(product, (-1, matrix.shape[0], width, channels))


def _along_columns(matrix: np.ndarray, maps):
    """(m, W), (B, H, W, C) -> (B, H, m, C)."""
    _, height, width, channels = maps.shape
    product = ops.matmul(matrix, ops.reshape(maps, (-1, width, channels)))
    return ops.reshape(product, (-1, height, matrix.shape[0], channels))
