from __future__ import annotations

import torch

from csingan.training.randomness import Randomness, below


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_patch_draws_what_it_would_draw_alone():
    together = Randomness([generator(1), generator(2)])
    alone = Randomness([generator(1)]), Randomness([generator(2)])
    for draw, shape, dim in (
        ("normal", (3, 2, 4, 4), 1),
        ("uniform", (3, 1, 1, 1), 1),
        ("normal", (5, 2), 0),
    ):
        expected = torch.cat([getattr(each, draw)(shape, dim) for each in alone], dim)
        assert torch.equal(getattr(together, draw)(shape, dim), expected)


def test_uniform_numbers_lie_between_0_and_1():
    numbers = Randomness([generator(0)]).uniform((1000, 1))
    assert 0 <= numbers.min() < 0.1 and 0.9 < numbers.max() < 1


def test_below_reaches_every_number_and_no_other():
    rng = generator(0)
    assert {below(3, rng) for _ in range(100)} == {0, 1, 2}
