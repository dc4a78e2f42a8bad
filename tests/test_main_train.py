from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import csingan.layouts.sampler
import csingan.train
import main_train
from csingan.config import PRESETS
from main_train import Settings
from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, read_masks, read_patch, write_patch
from nuclei.folders.tables import write_selection
from nuclei.io.files import read_json
from nuclei.io.images import read_image, write_image, write_labels
from tests.programs import assert_refused, call

SIZE = 64
TINY = replace(
    PRESETS["fast"], min_size=16, max_size=SIZE, channels=4, top_channels=4, steps=(1, 1), layouts=2,
    batch_pixels=1, crop=16,
)  # fmt: skip
SCRIPT = "main_train.py"


def tissue(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pink image (SIZE, SIZE, 3) uint8 with four dark squares, and their labels."""
    labels = np.zeros((SIZE, SIZE), np.int32)
    for number, (y, x) in enumerate([(10, 10), (12, 40), (40, 14), (44, 44)], start=1):
        labels[y : y + 9, x : x + 7 + seed] = number
    noise = np.random.default_rng(seed).normal(0, 8, (SIZE, SIZE, 3))
    image = np.where(labels[..., None] > 0, (90, 60, 140), (230, 170, 200)) + noise
    return np.uint8(image.clip(0, 255)), labels


@pytest.fixture
def data(tmp_path) -> Path:
    for seed, name in enumerate(("a", "b", "c")):
        write_patch(tmp_path / "data", name, *tissue(seed))
    write_selection(tmp_path / "data", pd.DataFrame([{"patch": "a"}, {"patch": "b"}]))
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path) -> Path:
    image, labels = tissue()
    write_image(tmp_path / "mine" / "train.png", image)
    write_image(tmp_path / "mine" / "train_mask.png", np.uint8(labels > 0) * 255)
    write_image(tmp_path / "mine" / "random mask" / "m1.png", np.uint8(labels > 0)[::-1] * 255)
    large = np.zeros((80, 96), np.int32)
    large[10:20, 10:20], large[10:20, 20:30] = 1, 2
    write_labels(tmp_path / "mine" / "random mask" / "m2.tif", large)
    return tmp_path / "mine"


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(main_train.PRESETS, "fast", TINY)


def settings(root: Path, **changes) -> Settings:
    paths = {"data": root / "data", "synthetic": root / "synthetic", "out": root / "out"}
    return Settings(**paths | {"samples": 2} | changes)


def images(root: Path) -> dict[str, bytes]:
    return {
        name: read_patch(root / "synthetic" / name).tobytes() for name in list_patches(root / "synthetic")
    }


def forbid_training(monkeypatch):
    def advance(trainer):
        raise AssertionError("trained again")

    monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", advance)


def test_each_selected_patch_gets_its_pairs(data, capsys):
    root = data.parent
    main_train.main(settings(root))
    assert list_patches(root / "synthetic") == ["a_0", "a_1", "b_0", "b_1"]
    assert read_patch(root / "synthetic" / "a_0").shape == (SIZE, SIZE, 3)
    assert read_masks(root / "synthetic" / "a_0").max() >= 2
    assert sorted(path.name for path in (root / "out" / "a").iterdir()) == [
        "checkpoints", "loss_distance.png", "loss_reconstruction.png", "random_masks", "samples.png",
        "scales.png", "settings.json", "train.png", "train_mask.png",
    ]  # fmt: skip
    assert read_json(root / "out" / "a" / "settings.json")["preset"] == "fast"
    shown = capsys.readouterr().out
    assert "AUC" in shown and "Next: python pseudo_label.py" in shown


def test_a_second_run_keeps_what_is_finished(data, capsys, monkeypatch):
    main_train.main(settings(data.parent, patch="c"))
    before = images(data.parent)
    forbid_training(monkeypatch)
    main_train.main(settings(data.parent, patch="c"))
    assert "kept" in capsys.readouterr().out
    assert images(data.parent) == before
    with pytest.raises(InputError, match="seed 0 -> 1"):
        main_train.main(settings(data.parent, patch="c", seed=1))


def test_pairs_that_another_run_replaced_are_drawn_again(data, monkeypatch, capsys):
    root = data.parent
    first = settings(root, patch="c")
    main_train.main(first)
    before = images(root)
    main_train.main(replace(first, seed=1, out=root / "other"))
    assert images(root) != before
    assert "pairs of c that were made with other settings (seed 0 -> 1)" in capsys.readouterr().err
    forbid_training(monkeypatch)
    main_train.main(first)
    assert images(root) == before
    assert "(seed 1 -> 0)" in capsys.readouterr().err


def test_a_pair_that_was_not_written_here_is_neither_replaced_nor_removed(data, monkeypatch):
    root = data.parent
    write_patch(root / "synthetic", "c_2", *tissue())
    main_train.main(settings(root, patch="c"))
    main_train.main(settings(root, patch="c", samples=1))
    assert list(images(root)) == ["c_0", "c_2"]
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match="holds c_2 already.*--synthetic"):
        main_train.main(settings(root, patch="c", samples=4))
    assert images(root)["c_2"] == tissue()[0].tobytes()


def test_more_fewer_and_larger_samples_need_no_new_training(data, monkeypatch):
    root = data.parent
    main_train.main(settings(root, patch="c"))
    before = images(root)
    forbid_training(monkeypatch)
    main_train.main(settings(root, patch="c", samples=4))
    assert list(images(root)) == ["c_0", "c_1", "c_2", "c_3"]
    assert before.items() <= images(root).items()
    main_train.main(settings(root, patch="c", samples=1, size=2 * SIZE))
    assert list(images(root)) == ["c_0"]
    assert read_masks(root / "synthetic" / "c_0").shape == (2 * SIZE, 2 * SIZE)
    assert read_image(root / "out" / "c" / "samples.png").shape[1] > 4 * SIZE
    assert [path.name for path in (root / "out" / "c" / "random_masks").iterdir()] == ["c_0.png"]


def test_a_size_without_room_for_the_nuclei_is_refused_before_anything_starts(data, monkeypatch):
    labels = np.zeros((160, 160), np.int32)
    for number in range(1, 6):
        labels[25 * number : 25 * number + 8, 20:130] = number
    image = np.where(labels[..., None] > 0, (90, 60, 140), (230, 170, 200))
    write_patch(data, "c", np.uint8(image), labels)
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match="c: nuclei were to cover .* of 64 x 64 px"):
        main_train.main(settings(data.parent, patch="c", size=64))


def test_all_layouts_are_tried_before_anything_starts(data, monkeypatch):
    made = []

    def last_does_not_fit(sampler, rng, shape):
        made.append(shape)
        if len(made) == TINY.layouts + 3:
            raise ValueError("no room")
        return tissue()[1]

    monkeypatch.setattr(csingan.layouts.sampler.LayoutSampler, "__call__", last_does_not_fit)
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match="a: no room"):
        main_train.main(settings(data.parent, samples=3))


def test_models_of_other_drafts_are_not_taken_for_ones_of_now(data, monkeypatch):
    main_train.main(settings(data.parent, patch="a"))
    monkeypatch.setattr(main_train, "DRAFTS", main_train.DRAFTS + 1)
    with pytest.raises(InputError, match="out/a was made with other settings \\(drafts 2 -> 3\\); delete"):
        main_train.main(settings(data.parent, patch="a"))


def test_patches_train_in_one_batch_on_demand(data, capsys):
    main_train.main(settings(data.parent, together=2))
    assert "a, b: training" in capsys.readouterr().out
    assert list_patches(data.parent / "synthetic") == ["a_0", "a_1", "b_0", "b_1"]


def test_the_nuclei_of_other_patches_join(data):
    wide = np.zeros((SIZE, SIZE), np.int32)
    wide[5:10, 5:40], wide[20:25, 5:40] = 1, 2
    write_patch(data, "c", tissue()[0], wide)
    main_train.main(settings(data.parent, patch="a", shapes="all", samples=6, scale=(1, 1)))
    longest = 0
    for name in list_patches(data.parent / "synthetic"):
        labels = read_masks(data.parent / "synthetic" / name)
        for label in range(1, labels.max() + 1):
            rows, columns = np.nonzero(labels == label)
            longest = max(longest, np.hypot(np.ptp(rows), np.ptp(columns)))
    assert longest > 20  # a nucleus of the patch itself is 9 px long


def test_a_prepared_folder_gets_a_sample_for_each_mask(folder, tmp_path):
    main_train.main(settings(tmp_path, folder=folder))
    assert list_patches(tmp_path / "synthetic") == ["m1", "m2"]
    assert np.array_equal(read_masks(tmp_path / "synthetic" / "m1") > 0, tissue()[1][::-1] > 0)
    assert read_patch(tmp_path / "synthetic" / "m2").shape == (80, 96, 3)
    assert read_masks(tmp_path / "synthetic" / "m2").max() == 2
    assert (tmp_path / "out" / "mine" / "samples.png").exists()


@pytest.mark.parametrize("out", [".", "mine/.."])
def test_the_files_of_a_folder_are_not_replaced_by_its_results(folder, tmp_path, out):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = call(tmp_path, SCRIPT, "--folder", "mine", "--out", out, "--synthetic", "pairs")
    assert_refused(refused, "the results of --folder mine would replace its own files", "--out")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_samples_of_a_folder_do_not_replace_other_patches(folder, tmp_path):
    write_patch(tmp_path / "synthetic", "m2", *tissue())
    write_image(tmp_path / "synthetic" / "m1" / "notes.png", tissue()[0])  # no patch
    before = images(tmp_path)
    with pytest.raises(InputError, match="m1, m2 already.*--synthetic"):
        main_train.main(settings(tmp_path, folder=folder))
    assert images(tmp_path) == before


def test_a_folder_is_made_anew_once_its_results_were_deleted(folder, tmp_path, capsys):
    main_train.main(settings(tmp_path, folder=folder))
    before = images(tmp_path)
    with pytest.raises(InputError, match="seed 0 -> 1.*delete that folder"):
        main_train.main(settings(tmp_path, folder=folder, seed=1))
    shutil.rmtree(tmp_path / "out" / "mine")
    main_train.main(settings(tmp_path, folder=folder, seed=1))
    assert "pairs of mine that were made with other settings (seed 0 -> 1)" in capsys.readouterr().err
    after = images(tmp_path)
    assert after.keys() == before.keys() and after != before


def test_masks_that_are_not_trained_on_need_no_new_training(folder, tmp_path, monkeypatch):
    main_train.main(settings(tmp_path, folder=folder))
    masks = folder / "random mask"
    small = tissue()[1][:, :60]
    write_labels(masks / "m3.tif", small)
    with monkeypatch.context() as patched:
        forbid_training(patched)
        main_train.main(settings(tmp_path, folder=folder))
        assert list(images(tmp_path)) == ["m1", "m2", "m3"]
        assert read_masks(tmp_path / "synthetic" / "m3").max() == 4
        write_labels(masks / "m3.tif", np.where(small == 1, 0, small))
        main_train.main(settings(tmp_path, folder=folder))
        assert read_masks(tmp_path / "synthetic" / "m3").max() == 3
    write_labels(masks / "m4.tif", tissue()[1])
    with pytest.raises(InputError, match="pixels_and_masks"):
        main_train.main(settings(tmp_path, folder=folder))


def test_a_folder_needs_room_for_random_layouts_only_where_they_are_used(folder, tmp_path):
    main_train.main(settings(tmp_path, folder=folder, density=(9, 9)))
    assert list(images(tmp_path)) == ["m1", "m2"]
    (folder / "random mask" / "m1.png").unlink()  # the one that has the size of the patch
    with pytest.raises(InputError, match="mine: nuclei were to cover"):
        main_train.main(settings(tmp_path, folder=folder, density=(9, 9), out=tmp_path / "out2"))


@pytest.mark.filterwarnings("error")
def test_without_a_nucleus_in_the_samples_no_figure_is_told(folder, tmp_path, capsys):
    for path in (folder / "random mask").iterdir():
        path.unlink()
    write_image(folder / "random mask" / "m1.png", np.zeros((SIZE, SIZE), np.uint8))
    main_train.main(settings(tmp_path, folder=folder))
    shown = capsys.readouterr().out
    assert "AUC" not in shown and "look at" in shown


def test_an_interrupted_run_goes_on(data, monkeypatch):
    main_train.main(settings(data.parent, patch="a"))
    expected = images(data.parent)
    other = settings(data.parent, patch="a", out=data.parent / "out2", synthetic=data.parent / "synthetic2")
    steps, advance = [], csingan.train.ScaleTrainer.advance

    def stop_at_the_second(trainer):
        steps.append(trainer.step)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return advance(trainer)

    monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        main_train.main(other)
    main_train.main(other)
    assert len(steps) == 4  # three scales of one step, and the one that was stopped
    found = {name: read_patch(other.synthetic / name).tobytes() for name in list_patches(other.synthetic)}
    assert found == expected


def test_checkpoints_of_other_settings_are_refused_before_anything_starts(data, monkeypatch):
    main_train.main(settings(data.parent, patch="b"))
    (data.parent / "out" / "b" / "settings.json").unlink()  # as if it had been stopped
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match="seed 0 -> 1"):
        main_train.main(settings(data.parent, seed=1))
    assert not (data.parent / "out" / "a").exists()


def test_a_training_that_diverges_is_one_line(data, monkeypatch):
    monkeypatch.setitem(main_train.PRESETS, "fast", replace(TINY, learning_rate=1e30, steps=(50, 50)))
    with pytest.raises(InputError, match="no longer a finite number.*--seed"):
        main_train.main(settings(data.parent, patch="a"))


def test_a_gpu_that_is_too_small_is_one_line(data, monkeypatch):
    def full(trainer):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", full)
    with pytest.raises(InputError, match="too small for 2 patches in one batch; pass a smaller --together"):
        main_train.main(settings(data.parent, together=2))


def test_transparency_is_said_in_one_line(folder, tmp_path, capsys):
    import cv2

    image = np.dstack([tissue()[0][..., ::-1], np.full((SIZE, SIZE), 200, np.uint8)])
    cv2.imwrite(str(folder / "train.png"), image)
    main_train.main(settings(tmp_path, folder=folder))
    assert "train.png has transparent pixels" in capsys.readouterr().err


def unannotated(data: Path) -> list[str]:
    for name in ("a", "b"):
        write_patch(data, name, tissue()[0])
    return []


def one_nucleus(data: Path) -> list[str]:
    image, labels = tissue()
    write_patch(data, "b", image, np.where(labels == 1, 1, 0))
    return []


def no_selection(data: Path) -> list[str]:
    (data / "selected.csv").unlink()
    return []


def half_a_folder(data: Path) -> list[str]:
    write_image(data.parent / "mine" / "train.png", tissue()[0])
    write_image(data.parent / "mine" / "train_mask.png", np.uint8(tissue()[1] > 0))
    return ["--folder", "mine"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: ["--data", "nowhere"], ["nowhere"]),
        (no_selection, ["selected.csv", "consis_based.py"]),
        (lambda data: ["--patch", "d"], ["no patch d", "--patch"]),
        (unannotated, ["a, b", "masks"]),
        (one_nucleus, ["b.png", "one nucleus"]),
        (lambda data: ["--samples", "0"], ["--samples"]),
        (lambda data: ["--effort", "0"], ["--effort"]),
        (lambda data: ["--seed", "-1"], ["--seed"]),
        (lambda data: ["--size", "32"], ["--size", "64"]),
        (lambda data: ["--synthetic", "../" + data.parent.name + "/data"], ["--synthetic", "--data"]),
        (lambda data: ["--out", "data_synthetic"], ["--synthetic", "--out"]),
        (lambda data: ["--out", "data"], ["--out", "--data"]),
        (lambda data: ["--density", "1.2", "0.8"], ["a:", "density"]),
        (lambda data: ["--density", "9", "9"], ["a:", "density"]),
        (lambda data: ["--touching", "1.5"], ["touching"]),
        (lambda data: ["--device", "cuda:7"], ["--device"]),
        (lambda data: ["--folder", "nowhere"], ["nowhere", "train.png"]),
        (lambda data: ["--folder", "x", "--patch", "a"], ["--folder", "--patch"]),
        (half_a_folder, ["mine", "random_masks"]),
    ],
)
def test_bad_input_ends_the_program_with_one_line(data, tmp_path, spoil, words):
    assert_refused(call(tmp_path, SCRIPT, *spoil(data)), *words)
    assert not (tmp_path / "runs").exists()


def test_help_names_every_constant(tmp_path):
    done = call(tmp_path, SCRIPT, "--help")
    assert done.returncode == 0
    assert all(f"--{name}" in done.stdout for name in Settings.__dataclass_fields__)
