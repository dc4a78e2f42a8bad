"""Trainings that are killed, diverge or do not fit the device."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
import torch

import csingan.train
from csingan.config import PRESETS
from nuclei.errors import InputError
from tests.csingan.synthesis_runs import TINY, files, images, make

pytestmark = pytest.mark.usefixtures("tiny_and_quick")


def test_an_interrupted_run_goes_on(data, training, caplog):
    root = data.parent
    make(root, patch="a")
    other = {"patch": "a", "out": root / "out2", "synthetic": root / "synthetic2"}
    training.steps, training.stop = 0, 2
    with pytest.raises(KeyboardInterrupt):
        make(root, **other)
    make(root, **other)
    assert "a: the interrupted training goes on" in caplog.text
    assert training.steps == 4  # three scales of one step, and the one that was stopped
    assert images(root, "synthetic2") == images(root)


@pytest.mark.slow
def test_an_interrupted_run_is_kept_aside_by_other_settings(data, training):
    root = data.parent
    make(root, patch="a", seed=1, out=root / "out2", synthetic=root / "synthetic2")
    training.steps, training.stop = 0, 2
    with pytest.raises(KeyboardInterrupt):
        make(root, patch="a")
    begun = files(root / "out" / "a")
    training.stop = 0
    make(root, patch="a", seed=1)
    assert images(root) == images(root, "synthetic2")
    kept = files(root / "out" / "replaced")
    assert {f"then/a/{name}": content for name, content in begun.items()} == kept
    assert "checkpoints/scale_1.safetensors" in begun


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"seed": 1}, marks=pytest.mark.slow, id="seed"),
        pytest.param({"samples": 1}, id="samples"),
    ],
)
@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_loses_nothing(data, monkeypatch, change):
    expected, started = data.parent / "expected", data.parent / "started"
    for root, options in ((expected, change), (started, {})):
        shutil.copytree(data, root / "data")
        make(root, patch="a", **options)
    before, after = images(started), images(expected)
    real, moment, was_killed = os.replace, 0, True
    while was_killed:
        root, moment = data.parent / f"killed_{moment}", moment + 1
        shutil.copytree(started, root)
        renames = 0

        def killed(source, target):
            """Every file comes to its place, or is moved aside, by a rename."""
            nonlocal renames
            renames += 1
            if renames == moment:  # noqa: B023
                raise KeyboardInterrupt
            return real(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", killed)
            try:
                make(root, patch="a", **change)
                was_killed = False
            except KeyboardInterrupt:
                pass
        make(root, patch="a", **change)
        assert images(root) == after
        assert files(root / "out/a/random_masks") == files(expected / "out/a/random_masks")
        kept = [images(date.parent, date.name) for date in (root / "synthetic/replaced").iterdir()]
        assert before.items() <= {name: image for each in kept for name, image in each.items()}.items()
    assert moment > 10


def test_a_training_that_diverges_is_one_line(data, monkeypatch):
    monkeypatch.setitem(PRESETS, "fast", replace(TINY, learning_rate=1e30, steps=(50, 50)))
    with pytest.raises(InputError, match="a: .*no longer a finite number.*--seed"):
        make(data.parent, patch="a")


def test_a_gpu_that_is_too_small_is_one_line(data, monkeypatch):
    def full(trainer):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", full)
    with pytest.raises(InputError, match="too small for 2 patches in one batch; pass a smaller --together"):
        make(data.parent, together=2)
