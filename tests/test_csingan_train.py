from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import csingan.train
import main_train
from csingan.masks import random_layout
from csingan.schedule import PRESETS
from csingan.train import find_device, sample, sample_scales, train
from main_train import Settings
from nuclei.errors import InputError
from nuclei.patches import list_patches, read_masks, read_patch, write_patch, write_selection

SCRIPT = Path(main_train.__file__)
SIZE = 48  # px
TINY = replace(
    PRESETS["fast"], min_size=12, max_size=SIZE, channels=8, top_channels=8, steps=(3, 2), layouts=3,
    batch_pixels=600, crop=24,
)  # fmt: skip


def tissue(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pink image (SIZE, SIZE, 3) uint8 with four dark nuclei, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((SIZE, SIZE), np.int32)
    for number, (y, x) in enumerate([(10, 12), (14, 34), (34, 14), (36, 36)], start=1):
        cv2.ellipse(labels, (x, y), (6, 4), float(rng.uniform(0, 180)), 0, 360, number, -1)
    image = np.where(labels[..., None] > 0, (90, 60, 140), (230, 170, 200)) + rng.normal(
        0, 8, (SIZE, SIZE, 3)
    )
    return np.uint8(image.clip(0, 255)), labels


def tensors(model) -> list[torch.Tensor]:
    return list(model.state_dict().values())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train(*tissue(), TINY, tmp_path_factory.mktemp("model"), progress=False)


def test_samples_are_images_of_the_size_of_their_layouts(model):
    layouts = [random_layout(tissue()[1], np.random.default_rng(0), shape) for shape in ((48, 48), (40, 72))]
    images = sample(model, layouts)
    assert [image.shape for image in images] == [(48, 48, 3), (40, 72, 3)]
    assert all(image.dtype == np.uint8 for image in images)
    assert [image.shape[0] for image in sample_scales(model, layouts[0])] == [12, 24, 48]


def test_the_seed_decides_the_sample(model):
    layout = [tissue()[1]]
    assert np.array_equal(sample(model, layout, seed=1), sample(model, layout, seed=1))
    assert not np.array_equal(sample(model, layout, seed=1), sample(model, layout, seed=2))


@pytest.mark.parametrize("draft", ["collage", "flat"])
def test_nuclei_appear_where_the_layout_has_them(tmp_path, draft):
    image, labels = tissue()
    model = train(image, labels, replace(TINY, draft=draft), tmp_path, progress=False)
    layout = random_layout(labels, np.random.default_rng(5))
    fake = sample(model, [layout])[0].mean(axis=2)
    assert fake[layout > 0].mean() < fake[layout == 0].mean() - 40


def test_the_same_seed_trains_the_same_model(model, tmp_path):
    again = train(*tissue(), TINY, tmp_path, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(tensors(model), tensors(again), strict=True))


def test_an_interrupted_training_goes_on_at_the_missing_scale(model, tmp_path, monkeypatch, capsys):
    run = csingan.train.ScaleTrainer.run
    titles = []

    def stop_at_the_second(self, real, fake, steps, title, progress):
        titles.append(title)
        if len(titles) == 2:
            raise KeyboardInterrupt
        return run(self, real, fake, steps, title, progress)

    monkeypatch.setattr(csingan.train.ScaleTrainer, "run", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(*tissue(), TINY, tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["scale_1.safetensors"]

    resumed = train(*tissue(), TINY, tmp_path)
    assert [title.split()[1] for title in titles] == ["1/3", "2/3", "2/3", "3/3"]
    assert "scale 1/3 is finished" in capsys.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(tensors(model), tensors(resumed), strict=True))
    assert [len(losses) for losses in resumed.losses] == [3, 2, 2]


@pytest.mark.parametrize("change", ["seed", "schedule", "image"])
def test_checkpoints_of_another_training_are_not_used(tmp_path, change, capsys):
    image, labels = tissue()
    short = replace(TINY, steps=(1, 1))
    train(image, labels, short, tmp_path, progress=False)
    if change == "image":
        image = 255 - image
    schedule = replace(short, learning_rate=1e-4) if change == "schedule" else short
    train(image, labels, schedule, tmp_path, seed=int(change == "seed"))
    assert "finished" not in capsys.readouterr().err


def test_a_broken_checkpoint_is_trained_anew(tmp_path):
    short = replace(TINY, steps=(1, 1))
    first = train(*tissue(), short, tmp_path, progress=False)
    (tmp_path / "scale_2.safetensors").write_bytes(b"not a checkpoint")
    again = train(*tissue(), short, tmp_path, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again), strict=True))


def test_a_loss_that_is_not_finite_stops_the_training_at_once(tmp_path):
    wild = replace(TINY, learning_rate=1e30, steps=(50, 50))
    with pytest.raises(FloatingPointError, match=r"scale 1/3 .* step \d:"):
        train(*tissue(), wild, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_patch_without_nuclei_cannot_be_trained_on(tmp_path):
    image, labels = tissue()
    with pytest.raises(ValueError, match="no nucleus"):
        train(image, labels * 0, TINY, tmp_path)


def test_a_device_that_is_not_there_is_bad_input():
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="--device"):
        find_device("nonsense")


def test_steps_are_graded_and_scaled():
    schedule = replace(TINY, steps=(100, 25))
    assert [schedule.steps_at(k, 3) for k in range(3)] == [100, 50, 25]
    assert schedule.scaled(0.5).steps == (50, 12)
    assert schedule.scaled(1e-9).steps == (1, 1)


# The script


@pytest.fixture
def data(tmp_path) -> Path:
    for name in ("a", "b", "c"):
        write_patch(tmp_path / "data", name, *tissue())
    write_selection(tmp_path / "data", pd.DataFrame([{"patch": "a"}, {"patch": "b"}]))
    return tmp_path / "data"


def settings(data: Path, **changes) -> Settings:
    root = data.parent
    return Settings(data=data, synthetic=root / "synthetic", out=root / "out", samples=2, **changes)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(main_train.PRESETS, "fast", replace(TINY, steps=(1, 1)))


def test_each_selected_patch_gets_its_pairs(data, tiny, capsys):
    main_train.main(settings(data))
    root = data.parent
    assert list_patches(root / "synthetic") == ["a_0", "a_1", "b_0", "b_1"]
    assert read_patch(root / "synthetic" / "a_0").shape == (SIZE, SIZE, 3)
    assert read_masks(root / "synthetic" / "a_0").max() >= 2
    assert sorted(path.name for path in (root / "out" / "a").iterdir()) == [
        "checkpoints", "loss_distance.png", "loss_reconstruction.png", "random_masks", "samples.png",
        "scales.png", "settings.json", "train.png", "train_mask.png",
    ]  # fmt: skip
    assert "Next: python pseudo_label.py" in capsys.readouterr().out


def test_a_second_run_keeps_what_is_finished(data, tiny, capsys):
    main_train.main(settings(data, patch="c"))
    before = (data.parent / "synthetic" / "c_0").stat().st_mtime_ns
    main_train.main(settings(data, patch="c"))
    assert "kept" in capsys.readouterr().out
    assert (data.parent / "synthetic" / "c_0").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="seed 0 -> 1"):
        main_train.main(settings(data, patch="c", seed=1))


def unannotated(data: Path) -> list[str]:
    for name in ("a", "b"):
        write_patch(data, name, tissue()[0])
    return []


def without_nuclei(data: Path) -> list[str]:
    write_patch(data, "b", *(part * 0 for part in tissue()))
    return []


def no_selection(data: Path) -> list[str]:
    (data / "selected.csv").unlink()
    return []


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda data: ["--data", "nowhere"], ["nowhere"]),
        (no_selection, ["selected.csv", "consis_based.py"]),
        (lambda data: ["--patch", "d"], ["no patch d", "--patch"]),
        (unannotated, ["a, b", "masks"]),
        (without_nuclei, ["no nucleus", "b"]),
        (lambda data: ["--samples", "0"], ["--samples"]),
    ],
)
def test_bad_input_ends_the_program_with_one_line(data, tmp_path, spoil, parts):
    command = [sys.executable, str(SCRIPT), *spoil(data)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (message,) = done.stderr.splitlines()
    assert message.startswith("error: ") and all(part in message for part in parts)
    assert not (tmp_path / "runs").exists()


def test_help_names_every_constant(tmp_path):
    command = [sys.executable, str(SCRIPT), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert all(f"--{name}" in done.stdout for name in Settings.__dataclass_fields__)
