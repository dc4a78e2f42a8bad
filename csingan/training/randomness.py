"""Random numbers for patches that train in one batch: each patch draws the numbers it would draw alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Randomness:
    """Draws on the CPU, so that the numbers are the same for every device and no GPU has to be waited for.

    Args:
        generators: one for each patch, on the CPU.
        device: where the numbers are copied to.
    """

    def __init__(self, generators: Sequence[torch.Generator], device: torch.device | str = "cpu") -> None:
        self.generators = list(generators)
        self.device = device

    def normal(self, shape: Sequence[int], dim: int = 1) -> Tensor:
        """Standard normal numbers of `shape` for each patch, concatenated along `dim`."""
        return self._each(torch.randn, shape, dim)

    def uniform(self, shape: Sequence[int], dim: int = 1) -> Tensor:
        """The same, uniform in 0..1."""
        return self._each(torch.rand, shape, dim)

    def _each(self, draw: Callable[..., Tensor], shape: Sequence[int], dim: int) -> Tensor:
        return torch.cat([draw(*shape, generator=each) for each in self.generators], dim).to(self.device)


def below(limit: int, generator: torch.Generator) -> int:
    """A random integer from 0 to limit - 1."""
    return int(torch.randint(limit, (), generator=generator))
