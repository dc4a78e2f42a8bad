import numpy as np
import pytest

from mrcnn.selftraining.splits import Source, by_kind, collect, hold_back, sort_patches, synthetic_pairs
from nuclei.errors import InputError
from nuclei.folders import patches

IMAGE, LABELS = np.full((8, 8, 3), 200, np.uint8), np.eye(8, dtype=np.int32)


@pytest.fixture
def data(tmp_path):
    for name in "cab":
        patches.write_patch(tmp_path, name, IMAGE, LABELS)
    patches.write_patch(tmp_path, "bare", IMAGE)
    return tmp_path


def annotated(names):
    return Source("data", list(names))


def test_patches_are_sorted_by_whether_they_are_annotated(data):
    assert sort_patches(data) == (Source(data, ["a", "b", "c"]), Source(data, ["bare"]))


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (12, 0), (19, 0), (20, 1), (39, 1), (40, 2), (500, 2)])
def test_one_in_twenty_is_held_back_at_most(count, kept):
    names = [f"{number:03}" for number in range(count)]
    learnt, validation = hold_back(annotated(names), None, seed=0)
    assert len(validation.names) == kept
    assert sorted(learnt.names + validation.names) == names


def test_as_many_are_held_back_as_are_asked_for():
    learnt, validation = hold_back(annotated("abc"), 2, seed=0)
    assert len(validation.names) == 2
    assert sorted(learnt.names + validation.names) == list("abc")
    with pytest.raises(
        InputError, match="--validation 3 leaves none of 3 annotated patches to learn; pass few"
    ):
        hold_back(annotated("abc"), 3, seed=0)
    assert hold_back(annotated(""), 0, seed=0) == (annotated(""), annotated(""))


def test_what_is_held_back_is_drawn_by_the_seed(caplog):
    caplog.set_level("INFO")
    drawn = [tuple(hold_back(annotated("abcdefghijkl"), 2, seed)[1].names) for seed in (0, 0, *range(20))]
    assert {len(names) for names in drawn} == {2}
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 5
    assert hold_back(annotated("abcdefghijkl"), 0, seed=0)[1].names == []
    assert not caplog.messages


def test_pairs_of_held_back_patches_are_left_out(tmp_path):
    for name in ("a_0", "a_b_0", "c_0", "c_10"):
        patches.write_patch(tmp_path, name, IMAGE, LABELS)
    assert synthetic_pairs(tmp_path, annotated("a")).names == ["a_b_0", "c_0", "c_10"]
    assert synthetic_pairs(tmp_path, annotated("c")).names == ["a_0", "a_b_0"]
    with pytest.raises(InputError, match="all pairs in .* show patches of the validation, a, a_b, c;"):
        synthetic_pairs(tmp_path, Source("data", ["a", "a_b", "c"]))
    with pytest.raises(InputError, match="nowhere/ does not exist; run main_train.py"):
        synthetic_pairs(tmp_path / "nowhere", annotated(""))


def test_transplants_are_a_kind_of_their_own():
    names = ["a_0", "transplant_0", "transplant_1", "transplanted_0"]
    kinds = {kind: source.names for kind, source in by_kind(Source("pairs", names)).items()}
    assert kinds == {
        "synthetic": ["a_0", "transplanted_0"], "transplanted": ["transplant_0", "transplant_1"]
    }  # fmt: skip
    assert list(by_kind(Source("pairs", ["a_0"]))) == ["synthetic"]


def test_the_fingerprint_changes_with_names_images_and_masks(data):
    def fingerprint(*names):
        return Source(data, list(names)).fingerprint

    before = fingerprint("a", "b")
    assert before.startswith("2 (")
    assert fingerprint("a", "b") == before
    assert fingerprint("a", "c") != before
    patches.write_masks(data / "b", LABELS)
    assert fingerprint("a", "b") == before
    patches.write_masks(data / "b", LABELS[::-1])
    moved = fingerprint("a", "b")
    assert moved != before
    patches.write_patch(data, "b", IMAGE + 1, LABELS[::-1])
    assert fingerprint("a", "b") not in (before, moved)


def test_broken_and_missing_files_are_named(data):
    Source(data, ["a", "bare"]).check(masks=False)
    with pytest.raises(InputError, match="bare has no annotation"):
        Source(data, ["a", "bare"]).check()
    (data / "b" / "masks" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match="0.png"):
        Source(data, ["b"]).check()


@pytest.mark.parametrize(("wanted", "told"), [(None, True), (0, False), (1, False)])
def test_a_user_learns_that_no_patch_is_held_back(data, caplog, wanted, told):
    caplog.set_level("INFO")
    assert len(collect(data, None, validation=wanted).validation.names) == (wanted or 0)
    assert ("3 annotated patches are too few to hold any back: the last weights count" in caplog.text) == told
