"""Training on several GPUs; `GPU_COUNT` of the configuration is all that it takes."""

from mrcnn.training.distribution import distribution, within

__all__ = ["distribution", "within"]
