"""The rounds with a stand-in for the network: which steps are made, from what, and what is kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrcnn import model
from mrcnn.config import CONFIG, WEIGHTS, NucleusConfig
from mrcnn.selftraining import pseudo_labels, rounds
from mrcnn.selftraining.rounds import SelfTraining
from mrcnn.selftraining.settings import Labelling, Training
from mrcnn.selftraining.splits import Material, Source, collect
from nuclei import tissue
from nuclei.errors import InputError
from nuclei.folders import patches


class Network:
    """Notes which folder it trains in; its weights follow from all that it learnt and began with."""

    trained: list[str] = []
    parts: list[tuple[int, int]] = []  # of each training: the step at which its rate begins, of how many
    predictor = log_dir = None

    def __init__(self, mode, config, model_dir: Path, seed: int):
        self.config, self.folder, self.state = config, Path(model_dir).parent, f"{seed} {config.to_dict()}"

    def find_last(self):
        raise FileNotFoundError

    def get_imagenet_weights(self):
        return "imagenet"

    def load_weights(self, path, by_name=False):
        self.state += Path(path).read_text() if Path(path).is_file() else str(path)

    def train(self, dataset, _, rate, epochs, augmentation, custom_callbacks):
        self.trained.append(self.folder.name)
        self.parts.append((rate.start, rate.steps))
        patches = [i for i in dataset.image_ids if "seed" not in dataset.image_info[i]]
        pixels = [dataset.load_image(i).tobytes() for i in patches]
        pixels += [dataset.load_labels(i)[0].tobytes() for i in patches]
        self.state += f"{rate.get_config()} {epochs} {hashlib.sha1(b''.join(pixels)).hexdigest()}"
        self.state += f"{len(dataset.image_ids) - len(patches)} generated"
        return {"loss": [1.0] * epochs}

    def save(self, folder: Path):
        (folder / WEIGHTS).write_text(hashlib.sha1(self.state.encode()).hexdigest())
        (folder / CONFIG).write_text(json.dumps(self.config.to_dict()))


@pytest.fixture
def labelled(monkeypatch) -> list[float]:
    """The confidence of each labelling of a patch, which finds one nucleus more each time."""
    done: list[float] = []
    found = np.zeros((64, 64), np.int32)

    def label(predictor, image, limits, n_views):
        done.append(limits.confidence)
        found[len(done) * 3 : len(done) * 3 + 2, :9] = len(done)
        return pseudo_labels.PseudoLabels(found * (found == 1), [0.9], found * (found > 1))

    monkeypatch.setattr(Network, "trained", [])
    monkeypatch.setattr(Network, "parts", [])
    monkeypatch.setattr(model, "MaskRCNN", Network)
    monkeypatch.setattr(model, "load", lambda *arguments, **changes: Network)
    monkeypatch.setattr(pseudo_labels, "label", label)
    return done


@pytest.fixture
def data(tmp_path):
    for seed, name in enumerate(("a", "b")):
        image, labels = tissue.generate("lymphoid", 64, seed)
        patches.write_patch(tmp_path / "data", name, image, labels if name == "a" else None)
    patches.write_patch(tmp_path / "data_synthetic", "a_0", *tissue.generate("lymphoid", 64, 9))
    return tmp_path


def training(data: Path, **changes) -> SelfTraining:
    material = collect(data / "data", data / "data_synthetic")
    settings = Training(steps=25, start="imagenet", generated=False)
    run = SelfTraining(material, data / "runs", data / "data_pseudo", 1, settings, Labelling())
    for name, value in changes.items():
        for part in ("training", "labelling"):
            if hasattr(getattr(run, part), name):
                run = replace(run, **{part: replace(getattr(run, part), **{name: value})})
                break
        else:
            run = replace(run, **{name: value})
    return run


def write_model(folder: Path, weights: str = "some weights") -> None:
    folder.mkdir()
    (folder / WEIGHTS).write_text(weights)
    (folder / CONFIG).write_text(json.dumps(NucleusConfig().to_dict()))


def made(run: SelfTraining) -> list[str]:
    """The trainings that a run makes anew."""
    Network.trained.clear()
    run.run()
    return list(Network.trained)


def kept(data: Path) -> list[str]:
    """Names of the results kept under a dated name."""
    return sorted(path.name for path in data.glob("**/replaced/*/*"))


def test_a_second_run_makes_nothing(data, labelled, caplog):
    run = training(data)
    assert made(run) == ["train_0", "train_1"] and labelled == [0.4]
    with caplog.at_level("INFO"):
        assert made(run) == [] and labelled == [0.4]
    assert caplog.text.count("is finished") == 3  # both trainings and the labels
    assert not kept(data)
    final, last = (data / "runs" / name for name in ("model", "train_1"))
    assert (final / WEIGHTS).read_text() == (last / WEIGHTS).read_text()
    pictures = {path.name for path in (data / "runs" / "label_1").glob("*.png")}
    assert pictures == {"pseudo_labels.png", "confidence.png", "nuclei.png"}


@pytest.mark.parametrize(
    ("name", "value", "trained"),
    [
        ("steps", 50, ["train_0", "train_1"]),
        ("batch", 2, ["train_0", "train_1"]),
        ("learning_rate", 2e-3, ["train_0", "train_1"]),
        ("seed", 1, ["train_0", "train_1"]),
        ("start", Path("model"), ["train_1"]),  # whose labels come first
        ("generated", True, ["train_0", "train_1"]),
        ("rounds", 2, ["train_0", "train_1", "train_2"]),
        ("rounds", 0, ["train_0"]),
        ("confidence", 0.5, ["train_1"]),
        ("agreement", 0.5, ["train_1"]),
        ("doubt", 0.1, ["train_1"]),
        ("views", 8, ["train_1"]),
    ],
)
def test_an_edited_setting_makes_anew_what_depends_on_it_and_keeps_the_rest(
    data, labelled, monkeypatch, name, value, trained
):
    write_model(data / "model")
    monkeypatch.chdir(data)
    run = training(data)
    made(run)
    before = {path: path.read_text() for path in data.glob("runs/*/" + WEIGHTS)}
    assert made(training(data, **{name: value})) == trained
    replaced = [step for step in trained if step != "train_2"]
    labels = ["data_pseudo", "label_1"] if "train_1" in trained else []
    no_longer_made = {("start", Path("model")): ["train_0"], ("rounds", 0): ["train_1", "label_1"]}
    others = no_longer_made.get((name, value), [])
    assert kept(data) == sorted([*replaced, *labels, *others, "model"])
    # Old weights are where they were, or under the dated name.
    now = {path.read_text() for path in data.glob("**/" + WEIGHTS)}
    assert set(before.values()) <= now
    # Back again, in the other direction.
    assert made(run)[0] == min([*trained, *others[:1]])


@pytest.mark.parametrize(
    ("changed", "trained"),
    [
        ("data/a", ["train_0", "train_1"]),
        ("data/b", ["train_1"]),
        ("data_synthetic/a_0", ["train_0", "train_1"]),
    ],
)
def test_a_step_depends_on_the_patches_that_it_reads(data, labelled, changed, trained):
    made(training(data))
    image, labels = tissue.generate("lymphoid", 64, 3)
    annotated = patches.is_annotated(data / changed)
    patches.write_patch((data / changed).parent, (data / changed).name, image, labels if annotated else None)
    assert made(training(data)) == trained


@pytest.mark.parametrize("step", ["train_0", "train_1"])
def test_weights_that_were_damaged_are_made_again(data, labelled, caplog, step):
    made(training(data))
    (data / "runs" / step / WEIGHTS).write_text("damaged")
    assert made(training(data)) == [step] and len(labelled) == 1
    assert f"{data / 'runs' / step / WEIGHTS} is damaged or was changed since it was trained" in caplog.text
    assert made(training(data)) == []


def test_a_model_that_was_damaged_is_copied_again(data, labelled):
    made(training(data))
    model = data / "runs" / "model" / WEIGHTS
    content = model.read_text()
    model.write_text("damaged")
    assert made(training(data)) == [] and model.read_text() == content


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("OUTLINED", ("annotated", "synthetic", "pseudo")),
        ("STEPS_PER_EPOCH", 5),
        ("SHARES", {"annotated": 1, "synthetic": 1, "pseudo": 1}),
    ],
)
def test_a_step_depends_on_the_constants(data, labelled, monkeypatch, constant, value):
    made(training(data))
    monkeypatch.setattr(rounds, constant, value)
    assert made(training(data)) == ["train_0", "train_1"]


def test_the_first_training_depends_on_the_weights_of_its_start(data, labelled):
    write_model(data / "model")
    run = training(data, start=data / "model")
    made(run)
    assert made(run) == []
    (data / "model" / WEIGHTS).write_text("others")
    assert made(run) == ["train_1"]


def test_a_step_depends_on_the_configuration_of_the_network(data, labelled, monkeypatch):
    made(training(data))
    monkeypatch.setattr(NucleusConfig, "MASK_CHANNELS", 32)
    assert made(training(data)) == ["train_0", "train_1"]


def test_the_labels_of_a_second_round_replace_those_of_the_first(data, labelled):
    run = training(data, rounds=2)
    assert made(run) == ["train_0", "train_1", "train_2"]
    labels = data / "data_pseudo" / "b"
    assert patches.read_masks(labels).max() == 1 and patches.read_undecided(labels).max() == 1
    assert not kept(data)
    assert made(run) == [] and len(labelled) == 2


@pytest.mark.parametrize("annotated", [True, False])
def test_a_start_that_knows_nuclei_labels_first(data, labelled, annotated):
    write_model(data / "start")
    material = collect(data / "data", data / "data_synthetic" if annotated else None, annotated=annotated)
    run = training(data, material=material, rounds=2, start=data / "start")
    assert made(run) == ["train_1", "train_2"] and len(labelled) == 2
    assert not (data / "runs" / "train_0").exists() and not kept(data)
    assert Network.parts == [(0, 50), (25, 50)]  # one cosine over both trainings
    assert made(run) == []


def test_imagenets_weights_need_patches_to_learn_from(data, labelled):
    material = collect(data / "data", None, annotated=False)
    with pytest.raises(InputError, match="--start imagenet knows no nuclei; give it patches to learn from"):
        made(training(data, material=material))
    assert not labelled and not Network.trained


def test_labels_that_were_deleted_are_made_again(data, labelled):
    made(training(data))
    before = patches.read_masks(data / "data_pseudo" / "b")
    (data / "data_pseudo" / "b").rename(data / "elsewhere")
    assert made(training(data)) == [] and len(labelled) == 2
    assert patches.read_masks(data / "data_pseudo" / "b").shape == before.shape


def test_a_killed_run_goes_on(data, labelled, monkeypatch):
    patches.write_patch(data / "data", "c", tissue.generate("lymphoid", 64, 5)[0])
    write, written = patches.write_patch, []

    def killed(folder, name, *arguments, **more):
        if written:
            raise KeyboardInterrupt
        written.append(name)
        write(folder, name, *arguments, **more)

    monkeypatch.setattr(patches, "write_patch", killed)
    with pytest.raises(KeyboardInterrupt):
        training(data).run()
    monkeypatch.setattr(patches, "write_patch", write)
    assert written == ["b"] and Network.trained == ["train_0"]
    assert made(training(data)) == ["train_1"]
    assert len(labelled) == 3  # c was asked for twice, b once
    assert not kept(data)


def test_another_setting_after_a_kill(data, labelled, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Network, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        training(data).run()
    assert made(training(data, steps=50)) == ["train_0", "train_1"]
    assert kept(data) == ["train_0"]


def test_files_of_others_are_named_before_anything_is_trained(data, labelled):
    (data / "data_pseudo").mkdir()
    (data / "data_pseudo" / "mine.txt").write_text("of value")
    with pytest.raises(InputError, match="data_pseudo/ holds files that were not made here"):
        training(data).run()
    assert not Network.trained and (data / "data_pseudo" / "mine.txt").exists()


def test_a_loss_that_is_no_number_is_told_with_the_way_out(data, labelled, monkeypatch):
    def diverged(*_, **__):
        raise FloatingPointError("the loss is no longer finite; train with a smaller learning rate")

    monkeypatch.setattr(Network, "train", diverged)
    with pytest.raises(InputError, match="train_0: the loss is no longer finite.*--learning-rate 0.000125"):
        training(data).run()


def test_without_patches_and_rounds_generated_tissue_alone_is_learnt(data, labelled):
    nothing = Source(data, [])
    material = Material({}, validation=nothing, unlabelled=nothing)
    run = replace(training(data, generated=True), material=material, rounds=0, pseudo=data / "runs")
    assert made(run) == ["train_0"]
