from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import csingan.train
from csingan.config import PRESETS
from csingan.layouts.sampler import LayoutSampler
from csingan.train import Example, load, sample, sample_scales, train
from nuclei.errors import InputError

SIZE = 48  # px
TINY = replace(
    PRESETS["fast"], min_size=12, max_size=SIZE, channels=8, top_channels=8, steps=(3, 2), layouts=3,
    batch_pixels=600, crop=24,
)  # fmt: skip
SHORT = replace(TINY, steps=(1, 1))


def tissue(seed: int = 0, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A pink image (size, size, 3) uint8 with four dark nuclei, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    for number, (y, x) in enumerate([(10, 12), (14, 34), (34, 14), (36, 36)], start=1):
        cv2.ellipse(labels, (x, y), (6, 4), float(rng.uniform(0, 180)), 0, 360, number, -1)
    image = np.where(labels[..., None] > 0, (90, 60, 140), (230, 170, 200)) + rng.normal(
        0, 8, (size, size, 3)
    )
    return np.uint8(image.clip(0, 255)), labels


def layouts(count: int, shape: tuple[int, int] | None = None, seed: int = 0) -> list[np.ndarray]:
    sampler, rng = LayoutSampler(tissue()[1]), np.random.default_rng(seed)
    return [sampler(rng, shape) for _ in range(count)]


def example(folder: Path, seed: int = 0) -> Example:
    return Example(*tissue(seed), layouts(3, seed=seed), folder)


def trained(folder: Path, schedule=TINY, seed: int = 0, progress: bool = False):
    (model,) = train([example(folder)], schedule, seed, progress=progress)
    return model


def tensors(model) -> list[torch.Tensor]:
    return [*model.state_dict().values(), *model.losses]


def close(first, second) -> bool:
    """Whether two models differ by rounding only, which Adam makes much of where gradients are tiny."""
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    return all((a - b).abs().mean() < 1e-4 and torch.allclose(a, b, atol=1e-2) for a, b in pairs)


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("model"))


@pytest.fixture
def save_each_step(monkeypatch):
    monkeypatch.setattr(csingan.train, "SAVE_EVERY", 0)


class Stop:
    """Takes the place of `ScaleTrainer.advance`: raises KeyboardInterrupt instead of one of its steps."""

    def __init__(self, at: int, monkeypatch):
        self.left, self.advance = at, csingan.train.ScaleTrainer.advance
        monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", lambda trainer: self(trainer))

    def __call__(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.advance(trainer)


def test_samples_are_images_of_the_size_of_their_layouts(model):
    images = sample(model, layouts(1) + layouts(1, (40, 72)) + layouts(1, (96, 96)))
    assert [image.shape for image in images] == [(48, 48, 3), (40, 72, 3), (96, 96, 3)]
    assert all(image.dtype == np.uint8 for image in images)
    assert [image.shape[0] for image in sample_scales(model, layouts(1)[0])] == [12, 24, 48]


def test_the_seed_decides_the_sample(model):
    layout = [tissue()[1]]
    assert np.array_equal(sample(model, layout, seed=1), sample(model, layout, seed=1))
    assert not np.array_equal(sample(model, layout, seed=1), sample(model, layout, seed=2))


@pytest.mark.parametrize("initial_image", ["collage", "flat"])
def test_nuclei_appear_where_the_layout_has_them(tmp_path, initial_image):
    model = trained(tmp_path, replace(TINY, initial_image=initial_image))
    (layout,) = layouts(1, seed=5)
    fake = sample(model, [layout])[0].mean(axis=2)
    assert fake[layout > 0].mean() < fake[layout == 0].mean() - 40


def test_the_preset_collage_makes_a_step_a_scale_and_keeps_the_initial_image(tmp_path):
    model = trained(tmp_path, replace(TINY, steps=PRESETS["collage"].steps))
    assert [len(losses) for losses in model.losses] == [1, 1, 1]
    (layout,) = layouts(1, seed=5)
    initial = model.initial_image(layout, np.random.default_rng(0)).astype(int)
    assert np.abs(sample(model, [layout], seed=0)[0] - initial).mean() < 5  # grey levels


def test_the_same_seed_trains_the_same_model(model, tmp_path):
    assert same(model, trained(tmp_path / "again"))
    assert not same(model, trained(tmp_path / "other", seed=1))


def test_the_losses_of_every_step_are_kept(model):
    assert [losses.shape for losses in model.losses] == [(3, 2), (2, 2), (2, 2)]


@pytest.mark.slow
def test_patches_that_train_in_one_batch_come_out_as_alone(tmp_path):
    examples = [example(tmp_path / f"{seed}", seed) for seed in (0, 1)]
    together = train(examples, TINY, progress=False)
    for seed, both in enumerate(together):
        alone = train([example(tmp_path / f"alone_{seed}", seed)], TINY, progress=False)[0]
        assert close(alone, both)


@pytest.mark.parametrize("at", [2, 5])
@pytest.mark.slow
def test_an_interrupted_training_goes_on_at_its_scale_and_step(
    model, tmp_path, monkeypatch, save_each_step, at
):
    stop = Stop(at, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path)
    stop.left = 100
    assert same(model, trained(tmp_path))
    assert 100 - stop.left == 7 - (at - 1)  # no step is made twice


@pytest.mark.slow
def test_patches_that_were_stopped_at_different_steps_go_on_together(
    model, tmp_path, monkeypatch, save_each_step
):
    stop = Stop(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "a")
    stop.left = 100
    first, _ = train([example(tmp_path / "a"), example(tmp_path / "b", 1)], TINY, progress=False)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(tensors(model), tensors(first), strict=True))


def test_the_bar_shows_scale_step_losses_and_time_left(tmp_path, capsys):
    trained(tmp_path, SHORT, progress=True)
    shown = capsys.readouterr().err
    for words in ("scale 3/3 (48 x 48 px), step 1/1", "distance", "reconstruction", "left", "100%"):
        assert words in shown


def test_checkpoints_of_another_network_are_refused(tmp_path):
    trained(tmp_path, SHORT)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    wider = replace(SHORT, channels=12, top_channels=12)
    for call in (lambda: trained(tmp_path, wider), lambda: load(example(tmp_path), wider)):
        with pytest.raises(InputError, match="another network; delete .* or name another folder"):
            call()
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_finished_model_is_loaded_as_it_was_trained(tmp_path):
    model = trained(tmp_path, SHORT)
    loaded = load(replace(example(tmp_path), layouts=()), SHORT)
    assert same(model, loaded)
    layout = layouts(1, (40, 72))
    assert np.array_equal(sample(model, layout)[0], sample(loaded, layout)[0])


def test_a_model_that_is_not_finished_is_not_loaded(tmp_path, monkeypatch, save_each_step):
    assert load(example(tmp_path), TINY) is None
    Stop(7, monkeypatch)  # the last step of the finest scale is missing
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path)
    assert load(example(tmp_path), TINY) is None


def diverge(monkeypatch, times: int, patch: int = 0) -> list[float]:
    """Let so many losses of a patch's second step be no number; returns a list of the rates of all steps."""
    advance, rates = csingan.train.ScaleTrainer.advance, []

    def spoilt(trainer):
        nonlocal times
        losses = advance(trainer)
        rates.append(trainer._optimizers[0].param_groups[0]["lr"])
        if trainer.step == 2 and times and len(losses) > patch:
            times -= 1
            losses[patch] = float("nan")
        return losses

    monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", spoilt)
    return rates


def test_a_diverging_training_is_retried_once_with_a_smaller_step(tmp_path, monkeypatch, save_each_step):
    rates = diverge(monkeypatch, times=1)
    model = trained(tmp_path)
    assert all(losses.isfinite().all() for losses in model.losses)
    assert rates[2:4] == pytest.approx([rate / 2 for rate in rates[:2]])  # the scale again
    assert [len(losses) for losses in model.losses] == [3, 2, 2]


@pytest.mark.parametrize("stopped_at", [2, 4])
@pytest.mark.slow
def test_after_a_divergence_the_model_depends_neither_on_the_clock_nor_on_a_kill(
    tmp_path, monkeypatch, stopped_at
):
    monkeypatch.setattr(csingan.train, "SAVE_EVERY", 1000)
    diverge(monkeypatch, times=1)
    slow = trained(tmp_path / "slow")
    monkeypatch.undo()

    monkeypatch.setattr(csingan.train, "SAVE_EVERY", 0)
    diverge(monkeypatch, times=1)
    stop = Stop(stopped_at, monkeypatch)  # before the step that diverges, and on the way back to it
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "quick")
    stop.left = 100
    assert same(slow, trained(tmp_path / "quick"))


def test_the_bar_ends_at_its_end_after_a_divergence(tmp_path, monkeypatch, capsys):
    diverge(monkeypatch, times=1)
    trained(tmp_path, progress=True)
    last = capsys.readouterr().err.rstrip().split("\r")[-1]
    assert ": 100%|" in last


def test_a_training_that_diverges_again_ends_with_one_line(tmp_path, monkeypatch, save_each_step):
    rates = diverge(monkeypatch, times=2)
    with pytest.raises(FloatingPointError, match=r"scale 1, step 2: .* 0.5 times the learning rate"):
        trained(tmp_path)
    assert len(rates) == 4


def test_a_wild_rate_is_noticed_at_once(tmp_path):
    with pytest.raises(FloatingPointError):
        trained(tmp_path, replace(TINY, learning_rate=1e30, steps=(50, 50)))


def test_who_trains_beside_a_diverging_patch_goes_on(tmp_path, monkeypatch, save_each_step):
    examples = [example(tmp_path / f"{seed}", seed) for seed in (0, 1)]
    diverge(monkeypatch, times=1, patch=1)
    good, retried = train(examples, TINY, progress=False)
    monkeypatch.undo()
    (alone,) = train([example(tmp_path / "alone")], TINY, progress=False)
    assert close(good, alone)
    assert all(losses.isfinite().all() for losses in retried.losses)


def test_a_patch_without_nuclei_cannot_be_trained_on(tmp_path):
    empty = replace(example(tmp_path), labels=np.zeros((SIZE, SIZE), np.int32))
    with pytest.raises(ValueError, match="no nucleus"):
        train([empty], TINY)


def test_patches_of_several_sizes_cannot_train_together(tmp_path):
    large = Example(*tissue(0, 64), layouts(3, (64, 64)), tmp_path / "b")
    with pytest.raises(ValueError, match="have one size"):
        train([example(tmp_path / "a"), large], TINY)


def test_steps_are_graded_and_scaled():
    schedule = replace(TINY, steps=(100, 25))
    assert [schedule.steps_at(k, 3) for k in range(3)] == [100, 50, 25]
    assert schedule.scaled(0.5).steps == (50, 12)
    assert schedule.scaled(1e-9).steps == (1, 1)


def test_the_finest_scale_has_its_own_width():
    schedule = replace(TINY, channels=4, top_channels=6)
    assert [schedule.channels_at(k, 3) for k in range(3)] == [4, 4, 6]
