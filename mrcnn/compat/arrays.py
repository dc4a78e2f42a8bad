"""What Matterport's scripts do with arrays: print them, resize them, go through a batch one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from keras import ops
from skimage import transform

from mrcnn.config import Config


def log(text: str, array: np.ndarray | None = None) -> None:
    """Print a line, and of an array its shape, smallest and largest value and dtype."""
    if array is not None:
        limits = [f"{float(array.min()):10.5f}", f"{float(array.max()):10.5f}"] if array.size else [""] * 2
        text = (
            f"{text:25}shape: {str(array.shape):20}  min: {limits[0]:10}  max: {limits[1]:10}  {array.dtype}"
        )
    print(text)


def compute_backbone_shapes(config: Config, image_shape: Sequence[int]) -> np.ndarray:
    """(height, width) of the pyramid's levels, (levels, 2) int, for an image (height, width, ...) px."""
    strides = np.array(config.BACKBONE_STRIDES)[:, None]
    return -(-np.array(image_shape[:2]) // strides)


def resize(
    image: np.ndarray,
    output_shape: Sequence[int],
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
    clip: bool = True,
    preserve_range: bool = False,
    anti_aliasing: bool = False,
    anti_aliasing_sigma: float | None = None,
) -> np.ndarray:
    """`skimage.transform.resize` with Matterport's defaults: no filter before shrinking, zeros outside."""
    return transform.resize(
        image,
        output_shape,
        order=order,
        mode=mode,
        cval=cval,
        clip=clip,
        preserve_range=preserve_range,
        anti_aliasing=anti_aliasing,
        anti_aliasing_sigma=anti_aliasing_sigma,
    )


def batch_slice(inputs, graph_fn: Callable, batch_size: int, names: Sequence[str] | None = None):
    """`graph_fn` of the tensors of one image after another, its results stacked.

    Args:
        inputs: a tensor (B, ...), or a list of them, each an argument of `graph_fn`.
        graph_fn: returns a tensor or several.
        batch_size: B.
        names: accepted; tensors have none any more.

    Returns:
        a tensor (B, ...), or a list of as many as `graph_fn` returns.
    """
    inputs = inputs if isinstance(inputs, list) else [inputs]
    results = [graph_fn(*(values[i] for values in inputs)) for i in range(batch_size)]
    several = [each if isinstance(each, tuple | list) else [each] for each in results]
    stacked = [ops.stack(values) for values in zip(*several, strict=True)]
    return stacked if len(stacked) > 1 else stacked[0]
