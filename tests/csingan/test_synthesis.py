"""Pairs from patches of data/: what is made, what is kept and what is made anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import csingan.layouts.sampler
from csingan.config import PRESETS
from csingan.job import PICTURES
from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.folders.patches import list_patches, read_masks, read_patch, write_patch
from nuclei.io.files import read_json
from nuclei.io.images import read_image
from tests.csingan.synthesis_runs import SIZE, TINY, files, images, make, tissue

pytestmark = pytest.mark.usefixtures("tiny_and_quick")


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
    "data": ({"data": "data2"}, "image changed"),
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
    assert training.happened() and "trained anew (schedule changed" in caplog.text


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
