"""A training on two devices, into which a processor is divided, against one on one device."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.config import NucleusConfig
from mrcnn.model import MaskRCNN
from mrcnn.training.distribution import addends, distribution, within
from tests import backend_answers
from tests.mrcnn.test_backends import JAX, run

SLOW_JAX = pytest.param("jax", marks=[*JAX.marks, pytest.mark.slow])


def test_one_device_needs_no_distribution():
    assert distribution(1) is None
    with within(None):
        assert addends() == 1


def test_more_devices_than_there_are_are_refused(tmp_path):
    config = NucleusConfig()
    config.GPU_COUNT = 1000
    with pytest.raises(ValueError, match="GPU_COUNT is 1000, but .* only; set it to what there is"):
        MaskRCNN("training", config, tmp_path)


def test_a_backend_that_cannot_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="torch backend trains on one GPU; .* tensorflow or jax"):
        distribution(2)


@pytest.mark.parametrize("backend", [pytest.param("tensorflow", marks=pytest.mark.slow), SLOW_JAX])
def test_two_devices_with_an_image_each_learn_as_one_with_two(tmp_path, backend):
    backend_answers.prepare(tmp_path)
    answers = run(tmp_path, backend, "devices")
    assert answers["replicas"] == (2 if backend == "tensorflow" else 1)
    assert (np.diff(answers["one/loss"]) < 0).all()
    for name in (name for name in answers if name.startswith("one/")):
        # Two steps of gradient descent lie between the first and the last of them.
        np.testing.assert_allclose(
            answers[name.replace("one", "two")], answers[name], rtol=1e-4, err_msg=name
        )
