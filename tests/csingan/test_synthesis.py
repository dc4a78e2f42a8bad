from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import csingan.layouts.sampler
import csingan.report
import csingan.train
from csingan.config import PRESETS, LayoutOptions
from csingan.inputs import read_folder, read_patches
from csingan.job import PICTURES
from csingan.synthesis import synthesise
from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.folders.patches import list_patches, read_masks, read_patch, write_patch
from nuclei.folders.tables import write_selection
from nuclei.io.files import read_json
from nuclei.io.images import read_image, write_image, write_labels

SIZE = 64
TINY = replace(
    PRESETS["fast"], min_size=16, max_size=SIZE, channels=4, top_channels=4, steps=(1, 1), layouts=2,
    batch_pixels=1, crop=16,
)  # fmt: skip


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
def tiny_and_quick(monkeypatch, caplog):
    monkeypatch.setitem(PRESETS, "fast", TINY)
    # matplotlib would take most of the time.
    monkeypatch.setattr(csingan.report, "curves", lambda path, *_: path.write_text("curves"))
    caplog.set_level("INFO")


def make(root: Path, patch=None, folder=None, shapes="own", data="data", layout=None, **options) -> None:
    """Call `synthesise` as main_train.py does, with two samples."""
    tasks = [read_folder(folder)] if folder else read_patches(root / data, patch, shapes == "all")
    options = {"samples": 2, "out": root / "out", "synthetic": root / "synthetic"} | options
    synthesise(tasks, layout=LayoutOptions(**layout or {}), **options)


def images(root: Path, folder: str = "synthetic") -> dict[str, bytes]:
    return {name: read_patch(root / folder / name).tobytes() for name in list_patches(root / folder)}


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files below a folder, without records of pairs; dates become "then"."""
    records = ("pictures.json", "a.json", "b.json", "c.json", "mine.json")
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in records]
    names = [path.relative_to(folder).as_posix().replace(runs._date(), "then") for path in paths]
    return {name: path.read_bytes() for name, path in zip(names, paths, strict=True)}


class Training:
    """Counts the generator steps of all trainings; raises KeyboardInterrupt instead of the `stop`th."""

    def __init__(self, monkeypatch):
        self.steps, self.stop = 0, 0
        advance = csingan.train.ScaleTrainer.advance

        def counted(trainer):
            self.steps += 1
            if self.steps == self.stop:
                raise KeyboardInterrupt
            return advance(trainer)

        monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", counted)

    def happened(self) -> bool:
        """Whether steps were made since the last call."""
        steps, self.steps = self.steps, 0
        return steps > 0


@pytest.fixture
def training(monkeypatch) -> Training:
    return Training(monkeypatch)


def test_each_selected_patch_gets_its_pairs(data, caplog):
    root = data.parent
    make(root)
    assert list_patches(root / "synthetic") == ["a_0", "a_1", "b_0", "b_1"]
    assert read_patch(root / "synthetic" / "a_0").shape == (SIZE, SIZE, 3)
    assert read_masks(root / "synthetic" / "a_0").max() >= 2
    assert sorted(path.name for path in (root / "out" / "a").iterdir()) == [
        "checkpoints", "loss_distance.png", "loss_reconstruction.png", "pictures.json", "random_masks",
        "samples.png", "scales.png", "settings.json", "train.png", "train_mask.png",
    ]  # fmt: skip
    assert read_json(root / "out" / "a" / "settings.json")["depends_on"]["preset"] == "fast"
    assert "AUC" in caplog.text and "b: training (2 of 2)" in caplog.text


def test_a_second_run_keeps_what_is_finished(data, caplog, training):
    make(data.parent, patch="c")
    before = files(data.parent)
    assert training.happened()
    make(data.parent, patch="c")
    assert "c: finished with the same settings, kept" in caplog.text
    assert files(data.parent) == before and not training.happened()


TRAINED_ANEW = {
    "seed": ({"seed": 1}, "seed 0 -> 1"),
    "effort": ({"effort": 2}, "effort 1.0 -> 2"),
    "preset": ({"preset": "paper"}, "preset 'fast' -> 'paper', schedule"),
    "density": ({"layout": {"density": (1, 1.1)}}, "density [0.8, 1.2] -> [1, 1.1]"),
    "touching": ({"layout": {"touching": 0.5}}, "touching None -> 0.5"),
    "gap": ({"layout": {"gap": 2}}, "gap 1 -> 2"),
    "scale": ({"layout": {"scale": (1, 1)}}, "scale [0.9, 1.1] -> [1, 1]"),
    "shapes": ({"shapes": "all"}, "nuclei_of_others 'none' -> '2 patches"),
    "data": ({"data": "data2"}, "image '"),
}


@pytest.mark.parametrize("name", TRAINED_ANEW)
@pytest.mark.slow
def test_what_the_model_depends_on_trains_it_anew_and_keeps_the_old_results(
    data, monkeypatch, caplog, training, name
):
    root, (change, words) = data.parent, TRAINED_ANEW[name]
    monkeypatch.setitem(PRESETS, "paper", replace(TINY, learning_rate=1e-4))
    write_patch(root / "data2", "c", *tissue(3))
    make(root, patch="c")
    before = files(root)
    assert training.happened()
    make(root, patch="c", **change)
    assert training.happened()
    assert f"c: the model is trained anew ({words}" in caplog.text
    after = files(root)
    for path, content in before.items():
        top, rest = path.split("/", 1)
        assert content == after[path if top.startswith("data") else f"{top}/replaced/then/{rest}"]
    assert (root / "out" / "c" / "samples.png").exists() and len(images(root)) == 2


DRAWN_ANEW = {
    "samples": {"samples": 3},
    "size": {"size": 2 * SIZE},
}


@pytest.mark.parametrize("name", DRAWN_ANEW)
def test_what_the_pairs_alone_depend_on_needs_no_new_training(data, caplog, training, name):
    root, change = data.parent, DRAWN_ANEW[name]
    make(root, patch="c")
    before = files(root)
    assert training.happened()
    make(root, patch="c", **change)
    assert not training.happened()
    assert f"c: the trained model is reused, new pairs are drawn from it ({name}" in caplog.text
    after = files(root)
    for path, content in before.items():
        kept = path.replace("synthetic/", "synthetic/replaced/then/")
        for picture in PICTURES:
            kept = kept.replace(f"out/c/{picture}", f"out/c/replaced/then/{picture}")
        assert content == after[kept]


def test_more_fewer_and_larger_samples(data, training):
    root = data.parent
    make(root, patch="c")
    before = images(root)
    make(root, patch="c", samples=4)
    assert list(images(root)) == ["c_0", "c_1", "c_2", "c_3"]
    assert before.items() <= images(root).items()
    make(root, patch="c", samples=1, size=2 * SIZE)
    assert list(images(root)) == ["c_0"]
    assert read_masks(root / "synthetic" / "c_0").shape == (2 * SIZE, 2 * SIZE)
    assert read_image(root / "out" / "c" / "samples.png").shape[1] > 4 * SIZE
    assert [path.name for path in (root / "out" / "c" / "random_masks").iterdir()] == ["c_0.png"]
    assert training.steps == 3


def test_pairs_go_to_another_folder_without_a_new_training(data, training):
    root = data.parent
    make(root, patch="c")
    before = files(root)
    assert training.happened()
    make(root, patch="c", synthetic=root / "synthetic2")
    assert images(root, "synthetic2") == images(root)
    assert before.items() <= files(root).items() and not training.happened()


def test_a_model_for_another_folder_is_trained_there(data):
    root = data.parent
    make(root, patch="c")
    before = files(root)
    make(root, patch="c", out=root / "out2")
    assert files(root / "out2") == files(root / "out")
    assert before.items() <= files(root).items()


@pytest.mark.slow
def test_other_devices_and_batches_change_nothing_that_is_there(data, training):
    make(data.parent)
    before = files(data.parent)
    assert training.happened()
    make(data.parent, device="cpu", together=2)
    assert files(data.parent) == before and not training.happened()


def test_a_re_annotated_patch_is_trained_on_anew(data, caplog):
    make(data.parent)
    write_patch(data, "a", tissue()[0], np.roll(tissue()[1], 3))
    make(data.parent)
    assert "a: the model is trained anew (nuclei changed)" in caplog.text
    assert "b: finished with the same settings, kept" in caplog.text


def test_a_new_version_of_the_model_draws_new_pairs_too(data, monkeypatch, training, caplog):
    make(data.parent, patch="c")
    assert training.happened()
    before = runs.VERSIONS["gan"]
    monkeypatch.setitem(runs.VERSIONS, "gan", 99)
    make(data.parent, patch="c")
    assert training.happened() and f"version {before} -> 99" in caplog.text
    assert "synthetic/replaced/then/c_0/images/c_0.png" in files(data.parent)


@pytest.mark.slow
def test_a_preset_that_was_edited_trains_anew(data, monkeypatch, training, caplog):
    make(data.parent, patch="c")
    assert training.happened()
    monkeypatch.setitem(PRESETS, "fast", replace(TINY, layouts=3))
    make(data.parent, patch="c")
    assert training.happened() and "trained anew (schedule '" in caplog.text


def test_deleted_checkpoints_are_trained_again_to_the_same_pairs(data, training):
    root = data.parent
    make(root, patch="c", samples=3)
    expected = images(root)
    make(root, patch="c")
    assert training.happened()
    (root / "out" / "c" / "checkpoints" / "scale_2.safetensors").unlink()
    make(root, patch="c", samples=3)
    assert training.happened() and images(root) == expected


def test_pairs_that_another_run_replaced_are_drawn_again(data, training):
    root = data.parent
    make(root, patch="c")
    before = images(root)
    make(root, patch="c", seed=1, out=root / "other")
    assert images(root) != before
    assert training.happened()
    make(root, patch="c")
    assert images(root) == before and not training.happened()
    assert images(root / "synthetic" / "replaced", runs._date()) == before


def test_a_pair_that_was_not_written_here_is_neither_replaced_nor_removed(data, training):
    root = data.parent
    write_patch(root / "synthetic", "c_2", *tissue())
    make(root, patch="c")
    make(root, patch="c", samples=1)
    assert list(images(root)) == ["c_0", "c_2"]
    assert training.happened()
    with pytest.raises(InputError, match="c_2 was not written by this program; .*another folder"):
        make(root, patch="c", samples=4)
    assert images(root)["c_2"] == tissue()[0].tobytes() and not training.happened()


def test_a_size_without_room_for_the_nuclei_is_refused_before_anything_starts(data, training):
    labels = np.zeros((160, 160), np.int32)
    for number in range(1, 6):
        labels[25 * number : 25 * number + 8, 20:130] = number
    image = np.where(labels[..., None] > 0, (90, 60, 140), (230, 170, 200))
    write_patch(data, "c", np.uint8(image), labels)
    with pytest.raises(InputError, match="c: nuclei were to cover .* of 64 x 64 px"):
        make(data.parent, patch="c", size=64)
    assert not training.happened()


def test_all_layouts_are_tried_before_anything_starts(data, monkeypatch, training):
    made = []

    def last_does_not_fit(sampler, rng, shape):
        made.append(shape)
        if len(made) == TINY.layouts + 3:
            raise ValueError("no room")
        return tissue()[1]

    monkeypatch.setattr(csingan.layouts.sampler.LayoutSampler, "__call__", last_does_not_fit)
    with pytest.raises(InputError, match="a: no room"):
        make(data.parent, samples=3)
    assert not training.happened() and not (data.parent / "out").exists()


def test_patches_train_in_one_batch_on_demand(data, caplog):
    make(data.parent, together=2)
    assert "a, b: training (2 of 2)" in caplog.text
    assert list_patches(data.parent / "synthetic") == ["a_0", "a_1", "b_0", "b_1"]


def test_the_nuclei_of_other_patches_join(data):
    wide = np.zeros((SIZE, SIZE), np.int32)
    wide[5:10, 5:40], wide[20:25, 5:40] = 1, 2
    write_patch(data, "c", tissue()[0], wide)
    make(data.parent, patch="a", shapes="all", samples=6, layout={"scale": (1, 1)})
    longest = 0
    for name in list_patches(data.parent / "synthetic"):
        labels = read_masks(data.parent / "synthetic" / name)
        for label in range(1, labels.max() + 1):
            rows, columns = np.nonzero(labels == label)
            longest = max(longest, np.hypot(np.ptp(rows), np.ptp(columns)))
    assert longest > 20  # a nucleus of the patch itself is 9 px long


def test_a_prepared_folder_gets_a_sample_for_each_mask(folder, tmp_path):
    before = files(folder)
    make(tmp_path, folder=folder)
    assert list_patches(tmp_path / "synthetic") == ["m1", "m2"]
    assert np.array_equal(read_masks(tmp_path / "synthetic" / "m1") > 0, tissue()[1][::-1] > 0)
    assert read_patch(tmp_path / "synthetic" / "m2").shape == (80, 96, 3)
    assert read_masks(tmp_path / "synthetic" / "m2").max() == 2
    assert (tmp_path / "out" / "mine" / "samples.png").exists()
    assert files(folder) == before


def test_samples_of_a_folder_do_not_replace_other_patches(folder, tmp_path):
    write_patch(tmp_path / "synthetic", "m2", *tissue())
    write_image(tmp_path / "synthetic" / "m1" / "notes.png", tissue()[0])  # no patch
    before = images(tmp_path)
    with pytest.raises(InputError, match="m1, m2 were not written.*another folder"):
        make(tmp_path, folder=folder)
    assert images(tmp_path) == before


@pytest.mark.slow
def test_a_folder_is_made_anew_with_another_seed(folder, tmp_path, caplog):
    make(tmp_path, folder=folder)
    before = images(tmp_path)
    make(tmp_path, folder=folder, seed=1)
    assert "mine: the model is trained anew (seed 0 -> 1)" in caplog.text
    after = images(tmp_path)
    assert after.keys() == before.keys() and after != before
    assert images(tmp_path / "synthetic" / "replaced", runs._date()) == before


@pytest.mark.slow
def test_masks_that_are_not_trained_on_need_no_new_training(folder, tmp_path, training, caplog):
    make(tmp_path, folder=folder)
    assert training.happened()
    masks = folder / "random mask"
    small = tissue()[1][:, :60]
    write_labels(masks / "m3.tif", small)
    make(tmp_path, folder=folder)
    assert list(images(tmp_path)) == ["m1", "m2", "m3"]
    assert read_masks(tmp_path / "synthetic" / "m3").max() == 4
    write_labels(masks / "m3.tif", np.where(small == 1, 0, small))
    make(tmp_path, folder=folder)
    assert read_masks(tmp_path / "synthetic" / "m3").max() == 3
    assert not training.happened()
    write_labels(masks / "m4.tif", tissue()[1])
    make(tmp_path, folder=folder)
    assert training.happened() and "trained anew (random_masks '" in caplog.text


def test_random_layouts_matter_to_a_folder_only_where_they_are_used(folder, tmp_path, training):
    make(tmp_path, folder=folder)
    assert training.happened()
    make(tmp_path, folder=folder, layout={"density": (9, 9)})
    assert list(images(tmp_path)) == ["m1", "m2"] and not training.happened()
    (folder / "random mask" / "m1.png").unlink()  # the one that has the size of the patch
    with pytest.raises(InputError, match="mine: nuclei were to cover"):
        make(tmp_path, folder=folder, layout={"density": (9, 9)})


def test_without_a_nucleus_in_the_samples_no_figure_is_told(folder, tmp_path, caplog):
    for path in (folder / "random mask").iterdir():
        path.unlink()
    write_image(folder / "random mask" / "m1.png", np.zeros((SIZE, SIZE), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(tmp_path, folder=folder)
    assert "AUC" not in caplog.text and "look at" in caplog.text


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


def test_transparency_is_said_in_one_line(folder, tmp_path, caplog):
    import cv2

    image = np.dstack([tissue()[0][..., ::-1], np.full((SIZE, SIZE), 200, np.uint8)])
    cv2.imwrite(str(folder / "train.png"), image)
    make(tmp_path, folder=folder)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "train.png has transparent pixels" in record.getMessage()
