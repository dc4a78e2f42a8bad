"""How close the GAN's training steps come to what the machine can do."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from csingan.config import Schedule
from csingan.train import Example
from csingan.training.patch import PatchTrainer
from csingan.training.scale import ScaleTrainer

MATRIX = 2048  # rows and columns of the matrices whose product gives the machine's rate
TRIES = 5  # of which the quickest counts: other programs only ever make it slower


class Operations(TorchDispatchMode):
    """Counts the floating-point operations of convolutions, forward and backward.

    torch's own counter takes the gradients of a grouped convolution for those of a full one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            images, weight, transposed = args[0], args[1], args[6]
            self.total += _products(images if transposed else result, weight)
        elif func is torch.ops.aten.convolution_backward.default:
            gradient, images, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
            self.total += sum(wanted[:2]) * _products(images if transposed else gradient, weight)
        return result


def _products(images: torch.Tensor, weight: torch.Tensor) -> int:
    """Each pixel is multiplied with, or summed up over, every weight: two operations each."""
    return 2 * images.shape[0] * images[0, 0].numel() * weight.numel()


def count_operations(function: Callable[[], object]) -> int:
    """Floating-point operations (a multiplication and an addition are two) of the convolutions in a call."""
    with Operations() as counter:
        function()
    return counter.total


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations a second of a product of two large float32 matrices."""
    a, b = torch.randn(2, MATRIX, MATRIX, device=device)
    return 2 * MATRIX**3 / _seconds(lambda: a @ b, device)


def step_costs(example: Example, schedule: Schedule, device: torch.device) -> list[dict[str, float]]:
    """What a generator step, with those of the critics, costs at each scale, without training.

    Args:
        example: its folder may not hold checkpoints.
        schedule: of the training.
        device: where the steps are made.

    Returns:
        A dict a scale: its side in px, seconds a step, operations a step (those of elementwise functions
        are not counted), and these over what the matrix rate does in that time.
    """
    patch = PatchTrainer(example, schedule, seed=0, device=device)
    sizes = patch.pyramid.sizes(example.labels.shape)
    costs = []
    for k, size in enumerate(sizes):
        patch.enter(k, size)
        channels = schedule.channels_at(k, len(sizes))
        trainer = ScaleTrainer([patch.state], [patch.inputs], channels, schedule, 1000, device)
        # As many steps as it takes until the penalties come in the same order again.
        steps = schedule.penalty_every

        def advance(trainer: ScaleTrainer = trainer, steps: int = steps) -> None:
            for _ in range(steps):
                trainer.advance()

        operations = count_operations(advance) / steps
        rate = matrix_rate(device)
        seconds = _seconds(advance, device) / steps
        rate = max(rate, matrix_rate(device))  # the machine may have been slower before or after
        share = operations / seconds / rate
        costs.append({"px": size[0], "seconds": seconds, "gflop": operations / 1e9, "share": share})
        patch.leave()
    return costs


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    """The shortest of a few runs."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def share_of_limit(costs: list[dict[str, float]], schedule: Schedule) -> float:
    """The share of `step_costs` of a whole training."""
    steps = [schedule.steps_at(k, len(costs)) for k in range(len(costs))]
    needed = sum(n * cost["seconds"] * cost["share"] for n, cost in zip(steps, costs, strict=True))
    return needed / sum(n * cost["seconds"] for n, cost in zip(steps, costs, strict=True))
