"""The learning-rate schedule: how the learning rate changes with the steps."""

from __future__ import annotations

import keras
import numpy as np


class WarmUpAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a tenth of the steps and falls to a fiftieth of its peak as a cosine.

    A training may be done in parts: each follows its piece of one cosine, after a rise of its own, since
    its optimiser starts anew. Source: Loshchilov and Hutter, "SGDR", ICLR 2017; the rise after Goyal et
    al. 2017.

    Args:
        peak: of the cosine.
        steps: of the whole training.
        start: steps that earlier parts have done.
    """

    def __init__(self, peak: float, steps: int, start: int = 0):
        self.peak, self.steps, self.start = peak, steps, start

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        done = keras.ops.minimum((self.start + step) / self.steps, 1.0)
        rate = self.peak * (0.02 + 0.98 * (1 + keras.ops.cos(np.pi * done)) / 2)
        return rate * keras.ops.minimum((step + 1) * 10 / (self.steps - self.start), 1.0)

    def get_config(self) -> dict:
        return {"peak": self.peak, "steps": self.steps, "start": self.start}
