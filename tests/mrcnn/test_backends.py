"""The same weights and the same batch on TensorFlow, PyTorch and JAX: the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from tests import backend_answers
from tests.programs import ROOT

pytestmark = pytest.mark.slow

HAS_JAX = find_spec("jax") is not None
JAX = pytest.param("jax", marks=pytest.mark.skipif(not HAS_JAX, reason="JAX is not installed"))
# XLA's optimisation takes minutes and changes nothing but the speed.
XLA = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("backends")
    backend_answers.prepare(found)
    return found


def run(folder, backend, asked):
    """What tests/backend_answers.py writes, in a process of its own."""
    environment = os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": XLA}
    command = [sys.executable, "-m", "tests.backend_answers", str(folder), asked]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    with np.load(folder / f"{asked}_{backend}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def answers(folder):
    """Of all backends, each on a core of its own where there are as many."""
    backends = ["tensorflow", "torch", *(["jax"] if HAS_JAX else [])]
    with ThreadPoolExecutor() as pool:
        jobs = {backend: pool.submit(run, folder, backend, "answers") for backend in backends}
        return {backend: job.result() for backend, job in jobs.items()}


@pytest.fixture(scope="module")
def expected(answers):
    return answers["tensorflow"]


@pytest.fixture(scope="module", params=["torch", JAX])
def found(request, answers):
    return answers[request.param]


def of_kind(answers, kind):
    """The answers whose names begin so."""
    chosen = {name: value for name, value in answers.items() if name.startswith(kind)}
    assert chosen
    return chosen


def test_the_answers_compared_are_no_trivial_ones(expected):
    scores = [value for name, value in of_kind(expected, "find").items() if name.endswith("scores")]
    for values in scores:
        assert 8 < len(values) < backend_answers.Tiny.DETECTION_MAX_INSTANCES
        assert values.std() > 0.05
    assert all(value > 0.1 for value in of_kind(expected, "loss").values())
    assert all(np.abs(value).max() > 1e-3 for value in of_kind(expected, "change").values())


# Rounding errors of 1e-7 grow along some twenty layers to about 1e-5 of an answer; each tolerance leaves a
# factor of ten above what was seen. A box is 128 px at most.
TOLERANCES = {"boxes": 5e-3, "scores": 1e-4, "masks": 1e-3}


def test_the_same_objects_are_found(expected, found):
    for name, value in of_kind(expected, "find").items():
        tolerance = TOLERANCES.get(name.split("/")[-1], 0)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance, err_msg=name)


def test_the_losses_are_the_same(expected, found):
    for name, value in of_kind(expected, "loss").items():
        assert found[name] == pytest.approx(value, rel=1e-4), name


def test_a_step_changes_the_weights_alike(expected, found):
    for name, value in of_kind(expected, "change").items():
        largest = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-3 * largest, err_msg=name)


@pytest.mark.parametrize("kind", ["roi_align", "crop_masks"])
def test_regions_are_pooled_alike(expected, found, kind):
    for name, value in of_kind(expected, kind).items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("kind", ["non_max_suppression", "suppress_all_at_once"])
def test_the_same_boxes_are_kept(expected, found, kind):
    for name, value in of_kind(expected, kind).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


TRAINED_LAST = [
    pytest.param("tensorflow", marks=pytest.mark.slow),  # and in test_model.py
    pytest.param("jax", marks=[*JAX.marks, pytest.mark.slow]),
]


@pytest.mark.parametrize("backend", ["torch", *TRAINED_LAST])
def test_a_training_goes_on_from_its_checkpoint(folder, backend):
    trained = run(folder, backend, "training")
    assert trained["epoch"] == 2
    first, second, third = trained["losses"]
    assert first > second > third
