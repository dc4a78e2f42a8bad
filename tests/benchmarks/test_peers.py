"""What the peers of the benchmark share; most of them have environments of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.peers import cellpose_peer, instanseg_peer, stardist_peer, torchvision_peer
from benchmarks.peers.common import Settings, installed, main
from benchmarks.peers.peer import Lesson, Peer
from benchmarks.peers.search import best_lesson, hold_out
from nuclei import tissue
from nuclei.errors import InputError
from nuclei.folders.patches import write_patch
from nuclei.io.files import read_json
from nuclei.io.images import read_labels, write_image
from tests.programs import ROOT

SIDE = 64  # px


class Threshold:
    """A peer that learns the grey level between nuclei and the rest, and notes what it is asked to do."""

    def __init__(self):
        self.trained, self.segmented = [], 0

    def train(self, folder, pairs, lesson):
        self.trained.append((len(pairs), lesson.seconds, lesson.seed))
        inside = np.concatenate([image[labels > 0].ravel() for image, labels in pairs])
        outside = np.concatenate([image[labels == 0].ravel() for image, labels in pairs])
        np.save(folder / "level.npy", (inside.mean() + outside.mean()) / 2)
        return {"steps": 1}

    def load(self, folder):
        level = np.load(folder / "level.npy")

        def segment(image):
            self.segmented += 1
            return (image.mean(axis=2) < level).astype(np.int32)

        return segment

    def peer(self, **changes) -> Peer:
        parts = {"name": "threshold", "packages": ("numpy",), "weights": "none"}
        return Peer(**{**parts, "train": self.train, "load": self.load, **changes})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for number in range(2):
        write_patch(tmp_path / "data", f"p{number}", *tissue.generate("lymphoid", SIDE, number))
    write_patch(tmp_path / "data", "bare", tissue.generate("lymphoid", SIDE, 2)[0])
    for name in ("first", "second"):
        write_image(tmp_path / "images" / f"{name}.png", tissue.generate("lymphoid", 96, 3)[0][:80])
    return Settings(tmp_path / "data", tmp_path / "images", tmp_path / "out", minutes=0.5, seed=7)


def changed(settings: Settings, **changes) -> Settings:
    return Settings(**{**vars(settings), **changes})


def test_trains_on_annotated_patches_and_segments_every_image(settings: Settings) -> None:
    threshold = Threshold()
    main(settings, threshold.peer())
    assert threshold.trained == [(2, 30.0, 7)]
    for name in ("first", "second"):
        labels = read_labels(settings.out / f"{name}.tif")
        assert labels.shape == (80, 96) and labels.max() == 1
    record = read_json(settings.out / "peer.json")
    assert record["patches"] == ["p0", "p1"] and record["steps"] == 1 and record["seed"] == 7
    assert record["versions"] == {"numpy": np.__version__} and record["weights"] == "none"
    assert 0 <= record["training_minutes"] < 1


def test_what_is_finished_is_not_done_again(settings: Settings, capsys) -> None:
    threshold = Threshold()
    main(settings, threshold.peer())
    (settings.out / "first.tif").unlink()
    main(settings, threshold.peer())
    assert len(threshold.trained) == 1 and threshold.segmented == 3
    main(settings, threshold.peer())
    assert len(threshold.trained) == 1 and threshold.segmented == 3
    assert "is finished: 2 images" in capsys.readouterr().out


def test_a_killed_training_begins_anew(settings: Settings) -> None:
    threshold = Threshold()

    def killed(*arguments):
        threshold.train(*arguments)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        main(settings, threshold.peer(train=killed))
    main(settings, threshold.peer())
    assert len(threshold.trained) == 2
    assert (settings.out / "second.tif").exists()


def test_the_results_of_other_settings_are_kept(settings: Settings, caplog) -> None:
    caplog.set_level("INFO")
    main(settings, Threshold().peer())
    main(changed(settings, seed=8), Threshold().peer())
    main(settings, Threshold().peer(name="other"))
    assert "seed 7 -> 8" in caplog.text and "'threshold' -> 'other'" in caplog.text
    assert len(list(settings.out.parent.glob(f"replaced/*/{settings.out.name}/*.tif"))) >= 2


def test_files_of_others_stay(settings: Settings) -> None:
    settings.out.mkdir()
    (settings.out / "thesis.txt").touch()
    with pytest.raises(InputError, match="not made here"):
        main(settings, Threshold().peer())
    assert (settings.out / "thesis.txt").exists()


@pytest.mark.parametrize("minutes", (0.0, -1.0, float("nan")))
def test_minutes_are_positive(settings: Settings, minutes: float) -> None:
    with pytest.raises(InputError, match="--minutes"):
        main(changed(settings, minutes=minutes), Threshold().peer())


def test_refuses_what_cannot_be_learnt_from_or_segmented(settings: Settings, tmp_path: Path) -> None:
    peer = Threshold().peer()
    image = tissue.generate("lymphoid", SIDE, 0)[0]
    write_patch(tmp_path / "unlabelled", "p", image)
    with pytest.raises(InputError, match="no annotated patch"):
        main(changed(settings, data=tmp_path / "unlabelled"), peer)
    write_patch(tmp_path / "empty", "p", image, np.zeros((SIDE, SIDE), np.int32))
    with pytest.raises(InputError, match="no nucleus"):
        main(changed(settings, data=tmp_path / "empty"), peer)
    with pytest.raises(InputError, match="nowhere does not exist"):
        main(changed(settings, images=tmp_path / "nowhere"), peer)
    (settings.images / "first.tif").write_bytes((settings.images / "first.png").read_bytes())
    with pytest.raises(InputError, match="suffix"):
        main(settings, peer)


@pytest.mark.parametrize(
    "peer", (stardist_peer.PEER, cellpose_peer.PEER, instanseg_peer.PEER), ids=lambda peer: peer.name
)
def test_names_the_environment_that_a_peer_needs(peer: Peer, settings: Settings) -> None:
    absent = Peer(**{**vars(peer), "packages": ("no-such-package", *peer.packages)})
    with pytest.raises(InputError) as refusal:
        main(settings, absent)
    (path,) = (word for word in str(refusal.value).split() if word.endswith(".txt"))
    assert (ROOT / path).exists()
    assert not settings.out.exists()


def test_torchvision_has_the_environment_it_needs() -> None:
    assert installed(torchvision_peer.PEER)["torch"] == torch.__version__.split("+")[0]


def test_patches_are_held_out_once_and_for_all() -> None:
    pairs = [(np.full(1, number), np.full(1, number)) for number in range(12)]
    fitted, validated = hold_out(pairs, 0, stardist_peer.VALIDATION)
    assert len(fitted) == 10 and len(validated) == 2
    assert sorted(int(image[0]) for image, _ in fitted + validated) == list(range(12))
    assert all(image == label for image, label in fitted)
    again = hold_out(pairs, 0, stardist_peer.VALIDATION)[1]
    assert [int(image[0]) for image, _ in again] == [int(image[0]) for image, _ in validated]
    assert hold_out(pairs[:1], 0, 0.25) == (pairs[:1], pairs[:1])


class Pupil:
    """A peer whose AJI on a held-out patch is what a table says of its rate and seconds."""

    def __init__(self, scores: dict[tuple[float, float], float]):
        self.scores, self.lessons = scores, []

    def train(self, folder: Path, pairs, lesson: Lesson) -> dict:
        self.lessons.append((lesson.rate, lesson.seconds, len(pairs), lesson.start))
        np.save(folder / "score.npy", self.scores[lesson.rate, lesson.seconds])
        return {"steps": 1}

    def load(self, folder: Path):
        score = np.load(folder / "score.npy")
        # Of a nucleus of 100 px a part is found: its share is the AJI.
        return lambda image: (np.arange(100) < 100 * score).astype(np.int32).reshape(10, 10)

    def best(self, out: Path, longest: float) -> tuple[Lesson, list[dict]]:
        peer = Peer("pupil", (), "none", self.train, self.load)
        pairs = [(np.zeros((10, 10, 3), np.uint8), np.ones((10, 10), np.int32))] * 8
        return best_lesson(peer, pairs, Lesson(60, start=Path("before")), longest, out)


def test_the_best_rate_is_tried_for_twice_as_long_while_that_helps(tmp_path: Path) -> None:
    table = {(0.3, 60): 0.2, (1, 60): 0.3, (3, 60): 0.5, (3, 120): 0.6, (3, 240): 0.6, (3, 480): 0.9}
    pupil = Pupil(table)
    lesson, trials = pupil.best(tmp_path, longest=1000)
    assert (lesson.rate, lesson.seconds) == (3, 120)
    assert [one["aji"] for one in trials] == [0.2, 0.3, 0.5, 0.6, 0.6]
    assert [one["minutes"] for one in trials] == [1, 1, 1, 2, 4]
    assert {each[2:] for each in pupil.lessons} == {(6, Path("before"))}  # two of eight are held out
    shorter, _ = Pupil(table).best(tmp_path / "other", longest=100)
    assert (shorter.rate, shorter.seconds) == (3, 60)


def test_trials_that_are_finished_are_not_repeated(tmp_path: Path) -> None:
    table = {(0.3, 60): 0.2, (1, 60): 0.3, (3, 60): 0.3}
    Pupil(table).best(tmp_path, longest=60)
    (tmp_path / "rate_1_seconds_60" / "trial.json").unlink()  # as after a kill
    pupil = Pupil(table)
    lesson, _ = pupil.best(tmp_path, longest=60)
    assert [each[0] for each in pupil.lessons] == [1] and lesson.rate == 1


def test_a_peer_is_trained_on_all_patches_as_the_search_found(settings: Settings) -> None:
    threshold = Threshold()
    main(changed(settings, longest=1), threshold.peer())
    assert threshold.trained[-1][0] == 2 and {each[0] for each in threshold.trained[:-1]} == {1}
    record = read_json(settings.out / "peer.json")
    assert len(record["trials"]) == 4 and record["rate"] == 0.3  # all score alike: the first one


def test_names_a_start_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--start is .*nowhere; give the folder model/"):
        main(changed(settings, start=tmp_path / "nowhere"), Threshold().peer())


def test_cellpose_epoch_is_the_difference_of_two_trials(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(cellpose_peer.time, "monotonic", lambda: clock[0])
    calls = []

    def fit(epochs, folder):
        clock[0] += (20 if not calls else 5) + 2 * epochs  # the first call warms up
        calls.append(epochs)

    assert cellpose_peer.seconds_an_epoch(fit) == 2


def test_cellpose_stops_in_time(monkeypatch) -> None:
    clock = iter((1.0, 2.0, 3.5))
    monkeypatch.setattr(cellpose_peer.time, "monotonic", lambda: next(clock))
    network = torch.nn.Identity()
    steps = cellpose_peer.count_until(network, end=3.0)
    network(0), network(0)
    with pytest.raises(cellpose_peer.TimeIsUp):
        network(0)
    assert len(steps) == 2


def test_instanseg_sees_half_the_resolution() -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    image[:, 6:] = 200
    image[..., 2] = 7  # a channel of one value
    labels = np.zeros((8, 12), np.int32)
    labels[2:6, 6:10] = 3
    seen, instances = instanseg_peer.prepared(image, labels)
    assert seen.dtype == np.float32 and instances.dtype == np.int32
    expected = np.zeros((4, 6, 3))
    expected[:, 3:, :2] = 1
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    expected = np.zeros((4, 6), int)
    expected[1:3, 3:5] = 3
    np.testing.assert_array_equal(instances, expected)


def test_instanseg_batches_are_windows_of_the_smallest_patch() -> None:
    sizes = ((40, 70), (64, 33))
    labels = [np.arange(1, h * w + 1, dtype=np.int32).reshape(h, w) for h, w in sizes]
    pairs = [(np.repeat(one[..., None], 3, axis=2).astype(np.float32), one) for one in labels]
    images, instances = instanseg_peer.batch(pairs, np.random.default_rng(0))
    assert images.shape == (instanseg_peer.BATCH, 3, 32, 32)  # a multiple of 16
    assert instances.shape == (instanseg_peer.BATCH, 1, 32, 32)
    np.testing.assert_array_equal(images, np.repeat(instances, 3, axis=1))


@pytest.mark.slow
def test_torchvision_trains_for_its_time_and_is_kept(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(torchvision_peer, "SIDE", 96)
    monkeypatch.setattr(torchvision_peer, "ROIS", 8)
    main(changed(settings, minutes=0.03), torchvision_peer.PEER)
    assert read_labels(settings.out / "first.tif").shape == (80, 96)
    record = read_json(settings.out / "peer.json")
    assert record["steps"] >= 1 and record["training_minutes"] >= 0.03
