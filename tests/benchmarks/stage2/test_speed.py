from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from benchmarks.stage2 import speed
from benchmarks.stage2.speed import count_operations, share_of_limit, step_costs
from csingan.config import PRESETS
from tests.csingan.test_train import TINY, example


@pytest.mark.parametrize("groups", [1, 2])
def test_operations_of_a_convolution_and_its_gradients(groups):
    x, weight = torch.randn(1, 6, 8, 8), torch.randn(4, 6 // groups, 3, 3, requires_grad=True)
    once = 2 * 8 * 8 * 4 * (6 // groups) * 9

    def convolve():
        return F.conv2d(x, weight, padding=1, groups=groups)

    assert count_operations(convolve) == once
    assert count_operations(lambda: convolve().sum().backward()) == 2 * once  # to the weights alone
    x.requires_grad_()
    assert count_operations(lambda: convolve().sum().backward()) == 3 * once


def test_operations_of_a_transposed_convolution():
    x, weight = torch.randn(1, 2, 5, 5), torch.randn(2, 3, 3, 3)
    assert count_operations(lambda: F.conv_transpose2d(x, weight, stride=2)) == 2 * 5 * 5 * 2 * 3 * 9


@pytest.mark.slow
def test_each_scale_has_its_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "MATRIX", 64)
    monkeypatch.setattr(speed, "TRIES", 1)
    costs = step_costs(example(tmp_path), replace(TINY, penalty_every=1), torch.device("cpu"))
    assert [cost["px"] for cost in costs] == [12, 24, 48]
    assert all(cost["seconds"] > 0 and cost["gflop"] > 0 and cost["share"] > 0 for cost in costs)


def test_the_share_of_a_training_weighs_its_scales_by_their_time():
    costs = [{"seconds": 1.0, "share": 0.2}, {"seconds": 3.0, "share": 0.6}]
    schedule = replace(PRESETS["fast"], steps=(30, 10))
    assert share_of_limit(costs, schedule) == pytest.approx((30 * 0.2 + 30 * 0.6) / 60)
