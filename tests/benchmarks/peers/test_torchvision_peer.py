"""torchvision's Mask R-CNN beside ours, in the environment of our own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.peers import torchvision_peer
from nuclei import tissue


def test_backbone_is_the_pretrained_one() -> None:
    from nuclei.selection.features import Extractor

    image = tissue.generate("lymphoid", 64, 0)[0]
    backbone = torchvision_peer.Backbone().train()
    maps = {}
    backbone.pyramid.register_forward_hook(lambda module, given, made: maps.update(given[0]))
    x = (torch.from_numpy(image).permute(2, 0, 1)[None].float() - 127) / 128
    pyramid = list(backbone(x).values())
    assert [tuple(level.shape[1:]) for level in pyramid] == [(256, s, s) for s in (16, 8, 4, 2, 1)]
    assert [level.shape[1] for level in maps.values()] == list(torchvision_peer.LEVELS.values())
    network = Extractor("efficientnet_lite0")._feature_map.__self__
    expected = network._swish(network._bn0(network._conv_stem(x)))
    for block in network._blocks:
        expected = block(expected)
    torch.testing.assert_close(list(maps.values())[-1], expected, rtol=1e-3, atol=1e-3)
    learnt = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(("stem", "blocks.0.", "blocks.2.")) for name in learnt)
    assert any(name.startswith("blocks.3.") for name in learnt) and "_bn" not in "".join(learnt)


def test_target() -> None:
    labels = np.zeros((8, 10), np.int32)
    labels[2:5, 3:9], labels[7, 0] = 4, 9
    image, target = torchvision_peer.as_tensors(np.full((8, 10, 3), 255, np.uint8), labels)
    assert image.shape == (3, 8, 10) and image.max() == 1
    assert target["boxes"].tolist() == [[3, 2, 9, 5], [0, 7, 1, 8]]  # x1, y1, x2, y2
    assert target["masks"].sum((1, 2)).tolist() == [18, 1] and target["labels"].tolist() == [1, 1]
    _, nothing = torchvision_peer.as_tensors(np.zeros((8, 10, 3), np.uint8), np.zeros((8, 10), np.int32))
    assert nothing["boxes"].shape == (0, 4) and nothing["masks"].shape == (0, 8, 10)


def test_learning_rate_warms_up_and_drops() -> None:
    factors = [torchvision_peer.learning_rate_factor(share) for share in (0, 0.02, 0.3, 0.7, 0.9)]
    assert factors == pytest.approx([0.001, 0.501, 1, 0.1, 0.01])


class Shows:
    """In place of a network: the same boxes, (N, 4) of a tile of 64 px, however large it sees the tile."""

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes, self.transform, self.sides = torch.tensor(boxes), SimpleNamespace(), []

    def __call__(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        side, count = images[0].shape[-1], len(self.boxes)
        assert self.transform.min_size == (side,) and self.transform.max_size == side  # it resizes nothing
        self.sides.append(side)
        one = {"boxes": self.boxes * side / 64, "masks": torch.ones(count, 1, 28, 28)}
        one |= {"scores": torch.ones(count), "labels": torch.ones(count).long()}
        return [one for _ in images]


def _segment(network: Shows) -> np.ndarray:
    predictor = torchvision_peer.Predictor(network)
    predictor.config.IMAGE_SHAPE = (64, 64, 3)
    return torchvision_peer.tiling.segment(predictor, np.zeros((64, 64, 3), np.uint8))[0]


def test_finds_what_the_network_shows() -> None:
    labels = _segment(Shows([[9.6, 19.7, 26.2, 31.4]]))  # x1, y1, x2, y2; pixels with their centre inside
    expected = np.zeros((64, 64), bool)
    expected[20:31, 10:26] = True
    assert np.array_equal(labels > 0, expected) and labels.max() == 1


def test_sees_small_nuclei_enlarged() -> None:
    boxes = [[x, y, x + 12.0, y + 12.0] for y in (4.0, 40.0) for x in (4.0, 24.0, 44.0)]
    network = Shows(boxes)
    labels = _segment(network)
    assert network.sides == [64, 128]
    assert np.bincount(labels.ravel()).tolist() == [64**2 - 6 * 144, *[144] * 6]
