"""The script as a program; tests/csingan/test_synthesis.py tests the same more quickly as a function."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from main_train import Settings
from nuclei.folders.patches import list_patches, read_masks, write_patch
from nuclei.io.images import write_image
from nuclei.report.places import REPORT
from nuclei.tissue import generate as tissue_of_the_demo
from tests.csingan.synthesis_runs import SIZE, tissue, write_data, write_folder
from tests.programs import ROOT, assert_refused, call

SCRIPT = "main_train.py"
QUICK = {"samples": 2, "effort": 1e-9}  # one step a scale


@pytest.fixture
def data(tmp_path) -> Path:
    return write_data(tmp_path)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_folder(tmp_path, "random_masks")


def flags(**settings) -> list[str]:
    words = []
    for name, value in settings.items():
        words += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def results(root: Path) -> dict[str, bytes]:
    """The content of all results that were not replaced; without records and the report, which have dates."""
    paths = [path for top in ("runs", "data_synthetic") for path in (root / top).rglob("*.*")]
    paths = [path for path in paths if path.suffix != ".json" and path.name != REPORT]
    names = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if "/replaced/" not in name}


def replaced(root: Path) -> set[tuple[str, bytes]]:
    """The paths, as they were, and the contents of all results that were replaced."""
    found = set()
    for path in root.rglob("replaced/*/**/*.*"):
        parts = list(path.relative_to(root).parts)
        at = parts.index("replaced")
        found.add(("/".join(parts[:at] + parts[at + 2 :]), path.read_bytes()))
    return found


class Runs:
    """Runs of the script, one after the other, each with one more constant changed."""

    def __init__(self, root: Path, **settings):
        self.root, self.settings, self.notes = root, QUICK | settings, ""

    def change(self, **settings) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Run with changed constants; returns the results before and after, of which none may be lost."""
        before = results(self.root)
        self.settings |= settings
        done = call(self.root, SCRIPT, *flags(**self.settings))
        assert done.returncode == 0, done.stderr
        assert "Next: python pseudo_label.py" in done.stdout
        self.notes = done.stderr
        after = results(self.root)
        assert before.items() <= after.items() | replaced(self.root)
        return before, after


def checkpoints(found: dict[str, bytes], patch: str) -> list[bytes]:
    return [found[path] for path in sorted(found) if path.endswith("tensors") and f"/{patch}/" in path]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ({"seed": 1}, {"effort": 0.02}, {"shapes": "all"}),
        ({"preset": "paper"},),
        ({"density": (0.9, 1.1)}, {"touching": 0.5}, {"gap": 2}, {"scale": (1, 1)}),
    ],
)
def test_constants_that_the_model_depends_on(data, tmp_path, changes):
    runs = Runs(tmp_path, patch="c")
    _, found = runs.change()
    for number, change in enumerate(changes, start=1):
        before, after = runs.change(**change)
        assert before == found
        assert "c: the model is trained anew" in runs.notes and "the old results are now in" in runs.notes
        assert checkpoints(before, "c") != checkpoints(after, "c")
        assert list_patches(tmp_path / "data_synthetic") == ["c_0", "c_1"]
        assert len(list((tmp_path / "runs" / "csingan" / "replaced").glob("*/c/settings.json"))) == number
        assert len(list((tmp_path / "data_synthetic" / "replaced").glob("*/c.json"))) == number
        found = after


@pytest.mark.slow
def test_constants_that_the_model_does_not_depend_on(data, tmp_path):
    runs, synthetic = Runs(tmp_path, patch="c"), tmp_path / "data_synthetic"
    _, first = runs.change()
    _, more = runs.change(samples=3)
    assert "c: the trained model is reused, new pairs are drawn from it (samples 2 -> 3)" in runs.notes
    assert list_patches(synthetic) == ["c_0", "c_1", "c_2"]
    _, larger = runs.change(size=2 * SIZE)
    assert read_masks(synthetic / "c_2").shape == (2 * SIZE, 2 * SIZE)
    _, elsewhere = runs.change(synthetic="elsewhere")
    assert list_patches(tmp_path / "elsewhere") == ["c_0", "c_1", "c_2"]
    assert elsewhere == larger
    _, same = runs.change(device="cpu", together=2)
    assert same == larger and "c: finished with the same settings, kept" in runs.notes
    for found in (more, larger):
        assert checkpoints(found, "c") == checkpoints(first, "c")


@pytest.mark.slow
def test_constants_that_name_files(data, folder, tmp_path):
    own = {path: path.read_bytes() for top in (data, folder) for path in top.rglob("*") if path.is_file()}
    runs = Runs(tmp_path, patch="c")
    _, first = runs.change()
    _, other_patch = runs.change(patch="a")
    assert first.items() <= other_patch.items()
    _, other_out = runs.change(out="runs/again")
    assert other_patch.items() <= other_out.items()
    assert checkpoints(other_out, "again/a") == checkpoints(other_out, "csingan/a")
    write_patch(tmp_path / "data2", "a", *tissue(5))
    before, other_data = runs.change(data="data2")
    assert checkpoints(before, "again/a") != checkpoints(other_data, "again/a")
    del runs.settings["patch"]
    before, of_folder = runs.change(folder="mine")
    assert before.items() <= of_folder.items()
    assert "m1" in list_patches(tmp_path / "data_synthetic")
    runs.change(seed=1)
    assert own == {path: path.read_bytes() for path in own}


@pytest.mark.slow
def test_a_killed_program_goes_on_to_the_same_results(data, tmp_path):
    settings = {"patch": "c", "samples": 2, "effort": 0.05}
    runs = Runs(tmp_path / "undisturbed", data=data, **settings)
    runs.root.mkdir()
    _, expected = runs.change()
    command = [sys.executable, str(ROOT / SCRIPT), *flags(**settings)]
    program = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "runs").rglob("scale_1.safetensors")) and program.poll() is None:
        time.sleep(0.01)
    program.kill()
    assert program.wait() != 0
    Runs(tmp_path, **settings).change()
    assert results(tmp_path) == expected


@pytest.mark.parametrize("out", [".", "mine/.."])
def test_the_files_of_a_folder_are_not_replaced_by_its_results(folder, tmp_path, out):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = call(tmp_path, SCRIPT, "--folder", "mine", "--out", out, "--synthetic", "pairs")
    assert_refused(refused, "the results of --folder mine would replace its own files", "--out")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def a_file_in_the_way(data: Path) -> list[str]:
    (data.parent / "pairs").touch()
    return ["--synthetic", "pairs"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (a_file_in_the_way, ["pairs is a file; name a folder"]),
        (lambda data: ["--data", "nowhere"], ["nowhere"]),
        (no_selection, ["selected.csv", "consis_based.py"]),
        (lambda data: ["--patch", "d"], ["no patch d", "--patch"]),
        (unannotated, ["a, b", "masks"]),
        (one_nucleus, ["b.png", "one nucleus"]),
        (lambda data: ["--samples", "0"], ["--samples"]),
        (lambda data: ["--transplants", "-1"], ["--transplants", "at least 0"]),
        (lambda data: ["--transplants", "3"], ["every patch in data/ is annotated", "--transplants"]),
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


@pytest.mark.slow
def test_transplants_show_the_backgrounds_of_other_patches(data, tmp_path):
    write_patch(data, "d", tissue_of_the_demo("lymphoid", 256, seed=3)[0])
    done = call(tmp_path, SCRIPT, "--samples", "1", "--effort", "1e-9", "--transplants", "2")
    assert done.returncode == 0, done.stderr
    assert list_patches(tmp_path / "data_synthetic") == ["a_0", "b_0", "transplant_0", "transplant_1"]
    assert read_masks(tmp_path / "data_synthetic" / "transplant_0").max() >= 5
    assert (tmp_path / "runs" / "csingan" / "transplant" / "samples.png").exists()
    without = call(tmp_path, SCRIPT, "--samples", "1", "--effort", "1e-9", "--transplants", "0")
    assert list_patches(tmp_path / "data_synthetic") == ["a_0", "b_0"]
    assert "transplants 2 -> 0" in without.stderr
    assert "network" not in without.stderr  # nothing else has changed


def test_help_names_every_constant(tmp_path):
    done = call(tmp_path, SCRIPT, "--help")
    assert done.returncode == 0
    assert all(f"--{field.name}" in done.stdout for field in fields(Settings))
