from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from csingan.config import PRESETS
from csingan.training.batches import Inputs, batch_count, crop_size, draw

SIZE = 8
SCHEDULE = replace(PRESETS["fast"], crop=4, batch_pixels=3 * 16, augment=True)


def inputs(directed: bool = False, items: int = 2) -> Inputs:
    """Images in which every pixel has its own value, the layouts being twice as large."""
    pixels = torch.arange(items * SIZE * SIZE).float().view(items, 1, SIZE, SIZE)
    tensors = {"image": pixels, "layout": 2 * pixels}
    return Inputs(tensors, {"layout": 2 * pixels, "base": -pixels}, directed)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_batch_holds_as_many_crops_as_its_pixels_allow():
    assert crop_size((SIZE, 3), SCHEDULE) == (4, 3)
    assert batch_count((SIZE, SIZE), SCHEDULE) == 3
    assert batch_count((SIZE, SIZE), replace(SCHEDULE, batch_pixels=1)) == 1
    assert draw([inputs()], "real", SCHEDULE, [generator()])["image"].shape == (3, 1, 4, 4)


def test_the_tensors_of_an_item_are_cut_and_turned_alike():
    batch = draw([inputs()], "fake", SCHEDULE, [generator()])
    assert torch.equal(batch["layout"], -2 * batch["base"])


def test_patches_lie_side_by_side_and_draw_for_themselves():
    together = draw([inputs(), inputs()], "real", SCHEDULE, [generator(1), generator(2)])
    for patch, seed in enumerate((1, 2)):
        alone = draw([inputs()], "real", SCHEDULE, [generator(seed)])
        assert torch.equal(together["image"][:, patch : patch + 1], alone["image"])


@pytest.mark.parametrize(("directed", "augment"), [(False, True), (True, True), (False, False)])
def test_only_tissue_without_direction_is_turned_by_a_quarter(directed, augment):
    schedule, rng = replace(SCHEDULE, augment=augment), generator()
    steps = set()
    for _ in range(30):
        for crop in draw([inputs(directed)], "real", schedule, [rng])["image"][:, 0]:
            steps.add((int(crop[0, 1] - crop[0, 0]), int(crop[1, 0] - crop[0, 0])))
    straight, half_turn = (1, SIZE), (-1, -SIZE)
    if not augment:
        assert steps == {straight}
    elif directed:
        assert steps == {straight, half_turn}
    else:
        assert len(steps) == 8
