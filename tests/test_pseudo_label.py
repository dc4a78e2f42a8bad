from dataclasses import replace

import cv2
import numpy as np
import pytest

import pseudo_label
from mrcnn.selftraining import rounds
from mrcnn.selftraining.splits import collect
from nuclei import tissue
from nuclei.folders import patches
from nuclei.folders.pairs import ANNOTATION, pairs_of
from pseudo_label import Settings
from tests.programs import assert_refused, call


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(("a", "b")):
        image, labels = tissue.generate("lymphoid", 64, seed)
        patches.write_patch(tmp_path / "data", name, image, labels if name == "a" else None)
    patches.write_patch(tmp_path / "data_synthetic", "a_0", *tissue.generate("lymphoid", 64, 9))
    return tmp_path


def test_missing_and_empty_data(tmp_path):
    assert_refused(call(tmp_path, "pseudo_label.py"), "data/ does not exist")
    (tmp_path / "data").mkdir()
    assert_refused(call(tmp_path, "pseudo_label.py"), "data/ holds no patch")


def test_labels_of_weights_that_saw_no_real_tissue_must_be_surer():
    for given, expected in (({}, 0.65), ({"start": "imagenet"}, 0.4), ({"confidence": 0.5}, 0.5)):
        assert pseudo_label.smallest_score(Settings(**given)) == expected


def test_no_synthetic_pairs_yet(folder):
    (folder / "data_synthetic").rename(folder / "elsewhere")
    assert_refused(call(folder, "pseudo_label.py"), "data_synthetic/ does not exist", "main_train.py")


def test_pairs_of_an_earlier_annotation(folder):
    made_with = {ANNOTATION: patches.fingerprint(folder / "data", ["a"])}
    pairs_of(folder / "data_synthetic", "a", ["a_0"], made_with).finish()
    collect(folder / "data", folder / "data_synthetic")
    patches.write_masks(folder / "data" / "a", np.eye(64, dtype=np.int32))
    assert_refused(call(folder, "pseudo_label.py"), "data/a/ has changed since", "run main_train.py again")


def test_nothing_annotated_yet(folder):
    (folder / "data" / "a" / "masks").rename(folder / "masks")
    refused = call(folder, "pseudo_label.py", "--synthetic", "None")
    assert_refused(refused, "no patch in data/ is annotated", "--no-annotated --synthetic None")


def test_without_patches_or_weights_that_know_nuclei_there_is_nothing_to_learn(folder):
    nothing = ("--no-annotated", "--synthetic", "None")
    assert_refused(call(folder, "pseudo_label.py", *nothing, "--start", "imagenet"), "nothing to train on")
    assert_refused(call(folder, "pseudo_label.py", *nothing, "--rounds", "0"), "nothing to train on")


def test_pairs_are_enough_where_nothing_is_annotated(folder, caplog):
    (folder / "data" / "a" / "masks").rename(folder / "masks")
    with caplog.at_level("INFO"):
        material = collect(folder / "data", folder / "data_synthetic")
    assert {name: source.names for name, source in material.learnt.items()} == {"synthetic": ["a_0"]}
    assert material.unlabelled.names == ["a", "b"] and not material.validation.names
    assert "the network learns from the pairs" in caplog.text


@pytest.mark.parametrize(
    ("out", "flag"), [("data", "--data"), ("data/mrcnn", "--data"), ("data_synthetic", "--synthetic")]
)
def test_results_do_not_go_among_patches(folder, out, flag):
    refused = call(folder, "pseudo_label.py", "--out", out)
    assert_refused(refused, f"--out {out} lies in the patches of {flag}; give it a folder of its own")


def test_bad_masks_are_named_before_anything_is_trained(folder):
    mask = folder / "data" / "a" / "masks" / "0.png"
    pixels = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    assert cv2.imwrite(str(mask), pixels[:-1])
    assert_refused(call(folder, "pseudo_label.py"), "a/masks/0.png", "64 x 63 px")
    assert cv2.imwrite(str(mask), np.full_like(pixels, 255))
    assert_refused(call(folder, "pseudo_label.py"), "a/masks/0.png reaches around nearly the whole image")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    "broken", ["data/a/images/a.png", "data/b/images/b.png", "data_synthetic/a_0/masks/0.png"]
)
def test_broken_patches_are_named_before_anything_is_trained(folder, broken):
    (folder / broken).write_bytes(b"no image")
    assert_refused(call(folder, "pseudo_label.py"), broken)
    assert not (folder / "runs").exists()


def no_image(folder):
    (folder / "data" / "a" / "images" / "a.png").unlink()


def a_folder_as_mask(folder):
    (folder / "data" / "a" / "masks" / "x.png").mkdir()


def half_a_mask(folder):
    mask = folder / "data" / "a" / "masks" / "0.png"
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_image, "data/a/images/a.png does not exist"),
        (a_folder_as_mask, "data/a/masks/x.png is not a readable PNG"),
        (half_a_mask, "data/a/masks/0.png is not a readable PNG"),
    ],
)
def test_a_broken_patch_is_named_before_it_is_compared_with_its_pairs(folder, spoil, words):
    made_with = {ANNOTATION: patches.fingerprint(folder / "data", ["a"])}
    pairs_of(folder / "data_synthetic", "a", ["a_0"], made_with).finish()
    spoil(folder)
    for flags in ([], ["--no-annotated"]):
        assert_refused(call(folder, "pseudo_label.py", *flags), words)


def test_nothing_left_to_label(folder):
    patches.write_masks(folder / "data" / "b", np.eye(64, dtype=np.int32))
    assert_refused(call(folder, "pseudo_label.py"), "every patch in data/ is annotated; use --rounds 0")
    assert not (folder / "runs").exists()


def test_settings_out_of_range(folder):
    assert_refused(call(folder, "pseudo_label.py", "--steps", "0"), "--steps is 0")
    assert_refused(call(folder, "pseudo_label.py", "--seed=-1"), "--seed is -1")
    assert_refused(call(folder, "pseudo_label.py", "--learning-rate", "0"), "--learning-rate is 0.0")
    assert_refused(call(folder, "pseudo_label.py", "--confidence", "2"), "--confidence 2.0")


def test_a_folder_that_cannot_be_written(folder):
    (folder / "runs").write_text("a file where a folder should be")
    finished = call(folder, "pseudo_label.py", "--steps", "1")
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert "error: cannot write" in finished.stderr


@pytest.mark.parametrize(
    ("flags", "other"),
    [
        (["--pseudo", "runs", "--out", "runs/mrcnn"], "--out"),
        (["--pseudo", "runs", "--out", "runs"], "--out"),
        (["--pseudo", "runs/train_0", "--out", "runs"], "--out"),
        (["--pseudo", "runs/model/labels", "--out", "runs"], "--out"),
        (["--pseudo", "data"], "--data"),
        (["--pseudo", "data/more"], "--data"),
        (["--pseudo", "."], "--data"),
        (["--pseudo", "data_synthetic/../data_synthetic"], "--synthetic"),
    ],
)
def test_the_pseudo_labels_need_a_folder_of_their_own(folder, flags, other):
    refused = call(folder, "pseudo_label.py", *flags)
    assert_refused(refused, f"--pseudo {flags[1]}", other, "a folder of their own")
    assert not (folder / "runs").exists()


def test_pseudo_labels_that_could_not_be_written_are_told_before_anything_is_trained(folder):
    (folder / "file").touch()
    assert_refused(call(folder, "pseudo_label.py", "--pseudo", "file"), "cannot write file")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    "flags", [("--pseudo", "runs/labels", "--out", "runs"), ("--pseudo", "data", "--rounds", "0")]
)
def test_the_pseudo_labels_may_lie_beside_the_results_or_are_not_written(folder, flags):
    (folder / "data" / "a" / "masks").rename(folder / "masks")
    # What is told is the next thing that is wrong.
    refused = call(folder, "pseudo_label.py", "--synthetic", "None", *flags)
    assert_refused(refused, "no patch in data/ is annotated")


def test_the_folder_of_pseudo_labels_must_be_ours(folder):
    (folder / "data_pseudo").mkdir()
    (folder / "data_pseudo" / "mine.txt").write_text("of value")
    assert_refused(call(folder, "pseudo_label.py"), "data_pseudo/ holds files that were not made here")
    assert (folder / "data_pseudo" / "mine.txt").exists()


def test_weights_are_chosen_on_patches_that_are_held_back(folder, monkeypatch, caplog):
    from mrcnn.model import MaskRCNN
    from tests import tiny_network

    patches.write_patch(folder / "data", "c", *tissue.generate("lymphoid", 64, 2))
    patches.write_patch(folder / "data_synthetic", "c_0", *tissue.generate("lymphoid", 64, 3))
    monkeypatch.setattr(rounds, "NucleusConfig", tiny_network.Tiny)
    monkeypatch.setattr(MaskRCNN, "get_imagenet_weights", lambda network: str(folder / "initial.h5"))
    settings = Settings(folder / "data", folder / "data_synthetic", out=folder / "runs", rounds=0)
    with tiny_network.eagerly(), caplog.at_level("INFO"):
        MaskRCNN("inference", tiny_network.config(), folder).keras_model.save_weights(folder / "initial.h5")
        edited = replace(settings, validation=1, steps=1, batch=1, start="imagenet", generated=False)
        pseudo_label.main(edited)
    assert "on 1 validation patches, by the weights after 1 steps" in caplog.text
    pictures = {path.name for path in (folder / "runs" / "train_0").glob("*.png")}
    assert pictures == {"losses.png", "validation.png", "validation_patches.png"}
    assert (folder / "runs" / "model" / "mask_rcnn.h5").exists()


@pytest.mark.slow
def test_editing_a_constant_simply_works(folder, monkeypatch):
    """Every edit makes anew what depends on it, keeps what it replaces, and ends with exit code 0."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # which compiles nothing, so a program starts sooner
    settings = {"--steps": 1, "--batch": 1, "--views": 1, "--confidence": 0.05, "--doubt": 0.01}

    def trained_anew(**edited) -> list[str]:
        settings.update({f"--{name.replace('_', '-')}": value for name, value in edited.items()})
        weights = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/train_*/mask_rcnn.h5")}
        flags = [str(part) for pair in settings.items() for part in pair]
        finished = call(folder, "pseudo_label.py", *flags)
        assert finished.returncode == 0, finished.stderr
        now = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/train_*/mask_rcnn.h5")}
        return sorted(path.parent.name for path in now if weights.get(path) != now[path])

    def kept() -> int:
        return len(list(folder.glob("**/replaced/*/*")))

    assert trained_anew() == ["train_1"]
    assert trained_anew() == [] and kept() == 0
    for name, value in (
        ("confidence", 0.1),
        ("agreement", 0.5),
        ("doubt", 0.02),
        ("views", 2),
        ("learning_rate", 1e-4),
        ("seed", 1),
        ("batch", 2),
        ("steps", 2),
        ("synthetic", "None"),
    ):
        before = kept()
        assert trained_anew(**{name: value}) == ["train_1"], name
        assert kept() > before, name
    before = kept()
    assert trained_anew(pseudo="labels") == [] and kept() == before  # the labels are drawn again, there
    assert trained_anew(out="runs/other") == ["train_1"]
    assert trained_anew(rounds=0) == ["train_0"]
    for name in "ab":
        assert patches.read_patch(folder / "data" / name).shape == (64, 64, 3)
