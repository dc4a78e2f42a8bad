"""A configuration's backbone by name, or a function of the user's own."""

from __future__ import annotations

import keras
import pytest

from mrcnn.modeling import backbones
from mrcnn.modeling.efficientnet import efficientnet_lite0
from mrcnn.modeling.resnet import resnet50, resnet101


def test_names_and_callables_are_found():
    assert backbones.find("resnet50") is resnet50
    assert backbones.find("resnet101") is resnet101
    assert backbones.find("efficientnet_lite0") is efficientnet_lite0

    def own(input_image, stage5=True, train_bn=False):
        return [input_image] * 5

    assert backbones.find(own) is own


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="resnet152.*resnet50, resnet101, efficientnet_lite0"):
        backbones.find("resnet152")


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_c2_to_c5_have_the_strides_of_the_pyramid(name):
    maps = backbones.find(name)(keras.Input((64, 128, 3)))
    assert [tuple(level.shape[1:3]) for level in maps[1:]] == [(16, 32), (8, 16), (4, 8), (2, 4)]


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_the_last_stage_can_be_left_out(name):
    maps = backbones.find(name)(keras.Input((64, 64, 3)), stage5=False)
    assert len(maps) == 5 and maps[4] is None
    assert tuple(maps[3].shape[1:3]) == (4, 4)
