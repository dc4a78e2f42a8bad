import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import pseudo_label
from mrcnn.selftraining.splits import Source
from nuclei import tissue
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.pairs import ANNOTATION, Pairs
from nuclei.io.files import start, write_settings
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


def test_no_synthetic_pairs_yet(folder):
    (folder / "data_synthetic").rename(folder / "elsewhere")
    assert_refused(call(folder, "pseudo_label.py"), "data_synthetic/ does not exist", "main_train.py")


def test_pairs_of_an_earlier_annotation(folder):
    made_with = {ANNOTATION: patches.fingerprint(folder / "data", ["a"])}
    Pairs(folder / "data_synthetic", "a", ["a_0"], made_with).finish()
    pseudo_label._collect(Settings(data=folder / "data", synthetic=folder / "data_synthetic"))
    patches.write_masks(folder / "data" / "a", np.eye(64, dtype=np.int32))
    assert_refused(call(folder, "pseudo_label.py"), "data/a/ has changed since", "run main_train.py again")


def test_nothing_annotated_yet(folder):
    (folder / "data" / "a" / "masks").rename(folder / "masks")
    assert_refused(call(folder, "pseudo_label.py"), "no patch in data/ is annotated")


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
    assert_refused(call(folder, "pseudo_label.py"), "overlaps")
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
    Pairs(folder / "data_synthetic", "a", ["a_0"], made_with).finish()
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


def test_the_pseudo_labels_may_lie_beside_the_results():
    pseudo_label._check(Settings(pseudo=Path("runs/labels"), out=Path("runs")))
    pseudo_label._check(Settings(pseudo=Path("data"), rounds=0))  # which writes none


def test_the_folder_of_pseudo_labels_must_be_ours(folder):
    (folder / "data_pseudo").mkdir()
    (folder / "data_pseudo" / "mine.txt").write_text("of value")
    assert_refused(call(folder, "pseudo_label.py"), "data_pseudo/ holds files that were not made here")
    assert (folder / "data_pseudo" / "mine.txt").exists()


@pytest.fixture
def labels_of(folder, monkeypatch):
    """Labels round `number` of a run as a network would that finds one nucleus more each time it is asked."""
    from mrcnn import model
    from mrcnn.selftraining import pseudo_labels

    found = np.zeros((64, 64), np.int32)

    def answer(network, image, limits, n_views):
        number = found.max() + 1
        found[number * 10 : number * 10 + 5, :9] = number
        return pseudo_labels.PseudoLabels(found * (found == 1), [0.9], found * (found > 1))

    def label(number, confidence=0.4):
        settings = Settings(folder / "data", pseudo=folder / "data_pseudo", out=folder / "runs", rounds=2)
        unlabelled = Source(folder / "data", ["b"])
        made_with = {"round": number, "confidence": confidence}
        pseudo_label._label(settings, number, unlabelled, made_with, folder)
        read = patches.read_masks, patches.read_undecided
        return [one(folder / "data_pseudo" / "b").max() for one in read]

    monkeypatch.setattr(model, "load", lambda *arguments, **changes: None)
    monkeypatch.setattr(pseudo_labels, "label", answer)
    return label


def test_the_labels_of_a_second_round_replace_those_of_the_first(folder, labels_of, capsys):
    assert labels_of(1) == [1, 0]
    assert labels_of(2) == [1, 1]
    assert labels_of(2) == [1, 1]
    assert "label_2/ is finished already" in capsys.readouterr().out
    pictures = {path.name for path in (folder / "runs" / "label_2").glob("*.png")}
    assert pictures == {"pseudo_labels.png", "confidence.png", "nuclei.png"}


def test_the_labels_of_another_run_are_never_replaced(folder, labels_of):
    assert labels_of(1) == [1, 0]
    with pytest.raises(InputError, match="with other settings"):
        labels_of(1, confidence=0.9)
    assert labels_of(1) == [1, 0]
    shutil.rmtree(folder / "data_pseudo")
    assert labels_of(1) == [1, 1]


def test_folders_of_other_settings_show_before_anything_is_trained(folder):
    settings = Settings(folder / "data", folder / "data_synthetic", folder / "data_pseudo", folder / "runs")
    material = pseudo_label._collect(settings)
    trained, labelled = (pseudo_label._made_with(settings, material, number) for number in (0, 1))
    write_settings(folder / "runs" / "train_0", trained)
    write_settings(folder / "runs" / "label_1", {**labelled, "model": "0123456789ab"})
    start(folder / "data_pseudo", {**labelled, "round": 2, "out": settings.out})
    pseudo_label._check_folders(settings, material)
    with pytest.raises(InputError, match="out .*: .*/data_pseudo; delete"):  # equal but for the folder
        pseudo_label._check_folders(replace(settings, out=folder / "others"), material)
    (folder / "runs" / "model").mkdir()
    with pytest.raises(InputError) as error:
        pseudo_label._check_folders(replace(settings, confidence=0.9), material)
    assert "(confidence 0.4 -> 0.9)" in str(error.value)
    stale = [
        name for name in ("train_0", "label_1", "data_pseudo", "model") if f"/{name}" in str(error.value)
    ]
    assert stale == ["label_1", "data_pseudo", "model"]  # the first training does not depend on it


@pytest.mark.parametrize(
    ("changed", "steps"),
    [("data/a", [0, 1]), ("data/b", [1]), ("data_synthetic/a_0", [0, 1]), ("mask_rcnn.h5", [1])],
)
def test_a_step_depends_on_the_patches_and_the_weights_that_it_reads(folder, changed, steps):
    weights, labels = folder / "mask_rcnn.h5", tissue.generate("lymphoid", 64, 3)
    weights.write_bytes(b"weights")
    (folder / "config.json").write_text('{"IMAGE_SHAPE": [256, 256, 3]}')

    def made_with():
        settings = Settings(folder / "data", folder / "data_synthetic")
        material = pseudo_label._collect(settings)
        return [pseudo_label._made_with(settings, material, n, folder if n else None) for n in (0, 1)]

    before = made_with()
    if changed == weights.name:
        weights.write_bytes(b"others")
    else:
        annotated = patches.is_annotated(folder / changed)
        patches.write_patch((folder / changed).parent, (folder / changed).name, *labels[: 1 + annotated])
    assert [
        step for step, (old, new) in enumerate(zip(before, made_with(), strict=True)) if old != new
    ] == steps


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("OUTLINED", ("annotated", "synthetic", "pseudo")),
        ("STEPS_PER_EPOCH", 50),
        ("SHARES", {"annotated": 1, "synthetic": 1, "pseudo": 1}),
    ],
)
def test_a_step_depends_on_the_constants_of_the_script(folder, monkeypatch, constant, value):
    settings = Settings(folder / "data", folder / "data_synthetic")
    material = pseudo_label._collect(settings)
    before = pseudo_label._made_with(settings, material, 0)
    monkeypatch.setattr(pseudo_label, constant, value)
    assert pseudo_label._made_with(settings, material, 0) != before


def test_a_step_depends_on_the_configuration_of_the_network(folder, monkeypatch):
    settings = Settings(folder / "data", folder / "data_synthetic")
    material = pseudo_label._collect(settings)
    before = pseudo_label._made_with(settings, material, 0)
    monkeypatch.setattr(pseudo_label.NucleusConfig, "MASK_CHANNELS", 32)
    assert pseudo_label._made_with(settings, material, 0) != before


def test_weights_are_chosen_on_patches_that_are_held_back(folder, monkeypatch, capsys):
    from mrcnn.model import MaskRCNN
    from tests import tiny_network

    patches.write_patch(folder / "data", "c", *tissue.generate("lymphoid", 64, 2))
    patches.write_patch(folder / "data_synthetic", "c_0", *tissue.generate("lymphoid", 64, 3))
    monkeypatch.setattr(pseudo_label, "NucleusConfig", tiny_network.Tiny)
    monkeypatch.setattr(MaskRCNN, "get_imagenet_weights", lambda network: str(folder / "initial.h5"))
    settings = Settings(folder / "data", folder / "data_synthetic", out=folder / "runs", rounds=0)
    with tiny_network.eagerly():
        MaskRCNN("inference", tiny_network.config(), folder).keras_model.save_weights(folder / "initial.h5")
        pseudo_label.main(replace(settings, validation=1, steps=1, batch=1))
    said = capsys.readouterr().out
    assert "on the 1 validation patches, by the weights after 1 steps" in said
    pictures = {path.name for path in (folder / "runs" / "train_0").glob("*.png")}
    assert pictures == {"losses.png", "validation.png", "validation_patches.png"}
    assert (folder / "runs" / "model" / "mask_rcnn.h5").exists()
