import cv2
import numpy as np
import pytest

import pseudo_label
from nuclei import patches, tissue
from nuclei.errors import InputError
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


def test_nothing_annotated_yet(folder):
    (folder / "data" / "a" / "masks").rename(folder / "masks")
    assert_refused(call(folder, "pseudo_label.py"), "no patch in data/ is annotated")


def test_bad_masks_are_named_before_anything_is_trained(folder):
    mask = folder / "data" / "a" / "masks" / "0.png"
    pixels = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    assert cv2.imwrite(str(mask), pixels[:-1])
    assert_refused(call(folder, "pseudo_label.py"), "a/masks/0.png", "64 x 63 px")
    assert cv2.imwrite(str(mask), np.full_like(pixels, 255))
    assert_refused(call(folder, "pseudo_label.py"), "overlaps")
    assert not (folder / "runs").exists()


def test_settings_out_of_range(folder):
    assert_refused(call(folder, "pseudo_label.py", "--steps", "0"), "--steps is 0")
    assert_refused(call(folder, "pseudo_label.py", "--confidence", "2"), "--confidence 2.0")


def test_a_folder_that_cannot_be_written(folder):
    (folder / "runs").write_text("a file where a folder should be")
    finished = call(folder, "pseudo_label.py", "--steps", "1")
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert "error: cannot write" in finished.stderr


def test_the_folder_of_pseudo_labels_must_be_ours(folder):
    (folder / "data_pseudo").mkdir()
    (folder / "data_pseudo" / "mine.txt").write_text("of value")
    assert_refused(call(folder, "pseudo_label.py"), "data_pseudo/ holds files that were not made here")
    assert (folder / "data_pseudo" / "mine.txt").exists()


def test_the_labels_of_a_second_round_replace_those_of_the_first(folder, monkeypatch, capsys):
    from mrcnn import model, pseudo_labels

    found = np.zeros((64, 64), np.int32)

    def label(number):
        found[number * 10 : number * 10 + 5, :9] = number  # one nucleus more each round, the second unsure
        settings = Settings(folder / "data", pseudo=folder / "data_pseudo", out=folder / "runs", rounds=2)
        pseudo_label._label(settings, number, ["b"], {"seed": 0}, folder)
        read = patches.read_masks, patches.read_undecided
        return [one(folder / "data_pseudo" / "b") for one in read]

    def answer(network, image, limits, n_views):
        return pseudo_labels.PseudoLabels(found * (found == 1), [0.9], found * (found == 2))

    monkeypatch.setattr(model, "load", lambda *arguments, **changes: None)
    monkeypatch.setattr(pseudo_labels, "label", answer)
    certain, undecided = label(1)
    assert np.array_equal(certain, found) and not undecided.any()
    certain, undecided = label(2)
    assert np.array_equal(certain > 0, found == 1)
    assert np.array_equal(undecided > 0, found == 2)
    label(2)
    assert "label_2/ is finished already" in capsys.readouterr().out
    pictures = {path.name for path in (folder / "runs" / "label_2").glob("*.png")}
    assert pictures == {"pseudo_labels.png", "confidence.png", "nuclei.png"}


def test_patches_of_the_validation_and_their_synthetic_pairs_are_not_trained_on(folder, capsys):
    for name in "cdef":
        patches.write_patch(folder / "data", name, *tissue.generate("lymphoid", 64, ord(name)))
    for name in ("a_0", "c_0", "c_1", "f_10"):
        patches.write_patch(folder / "data_synthetic", name, *tissue.generate("lymphoid", 64, 1))
    settings = Settings(folder / "data", folder / "data_synthetic", validation=3)
    annotated = list("acdef")
    (held_back,) = pseudo_label._held_back(settings, annotated)  # a fifth of five at most
    assert "5 annotated patches are too few to keep 3 for validation: 1 kept" in capsys.readouterr().out
    sources = pseudo_label._sources(settings, annotated, [held_back])
    assert sources["annotated"][1] == [name for name in annotated if name != held_back]
    assert not any(name.startswith(held_back) for name in sources["synthetic"][1])
    assert pseudo_label._sources(settings, annotated, ["c"])["synthetic"][1][-1] == "f_10"


def test_pairs_of_validation_patches_alone_are_refused(folder):
    settings = Settings(folder / "data", folder / "data_synthetic")
    with pytest.raises(InputError, match="all pairs in .* show patches of the validation, a;"):
        pseudo_label._sources(settings, ["a", "b"], ["a"])


def test_few_annotated_patches_are_all_trained_on(folder):
    assert pseudo_label._held_back(Settings(), list("abcd")) == []
    assert pseudo_label._held_back(Settings(validation=0), list("abcdefghijkl")) == []
    assert len(pseudo_label._held_back(Settings(), list("abcdefghijkl"))) == 2
