import json

import numpy as np
import pandas as pd
import pytest

import demo
from nuclei import experiment
from nuclei.folders import patches
from nuclei.folders.runs import Run
from nuclei.folders.selected import read_selection, write_selection
from nuclei.io.images import write_image, write_labels
from nuclei.slides.cropping import crop_images
from tests.programs import call

SHORT = ("--size", "256", "--images", "1", "--k1", "2", "--samples", "2", "--steps", "4", "--effort", "0.03")


@pytest.mark.slow
def test_the_scripts_run_as_programs_from_images_to_scores(tmp_path):
    finished = call(tmp_path, "demo.py", "--out", "demo", *SHORT)
    assert finished.returncode == 0, finished.stderr
    figures = json.loads(finished.stdout.strip().splitlines()[-1])
    assert set(figures) == {"aji", "aji_label_free", "aji_start", "aji_annotated_only", "pq", "seconds"}
    assert 0 <= figures["aji"] <= 1
    assert figures["aji_label_free"] > 0.2

    out = tmp_path / "demo"
    selected = read_selection(out / "data")
    names = patches.list_patches(out / "data")
    # Only what was selected is annotated; the rest is labelled by the network.
    assert sorted(name for name in names if patches.is_annotated(out / "data" / name)) == sorted(selected)
    pairs = sorted(f"{name}_{number}" for name in selected for number in range(2))
    assert patches.list_patches(out / "data_synthetic") == pairs
    assert patches.list_patches(out / "data_pseudo") == sorted(set(names) - set(selected))
    pictures = {path.name for path in (out / "pictures").iterdir()}
    assert {"1_contact_sheet.png", "3_losses.png", "3_pseudo_labels.png"} <= pictures
    assert "demo/chain.png" in finished.stdout and (out / "chain.png").exists()

    # Everything is finished: a second run repeats nothing and ends with the same scores.
    again = call(tmp_path, "demo.py", "--out", "demo", *SHORT)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.strip().splitlines()[-1]) | {"seconds": 0} == figures | {"seconds": 0}
    # The labels, both trainings, that of the rival.
    assert again.stderr.count("is finished: nothing that it depends on has changed") == 4
    assert "learns from" not in again.stderr


def test_the_results_of_other_tissue_are_kept_aside(tmp_path, monkeypatch):
    out = tmp_path / "demo"
    Run(out, "demo", {"size": 512, "images": 3, "seed": 0}).begin()
    (out / "scores.json").write_text("before")
    for step in ("_generate", "choose_and_multiply", "train_and_segment", "score", "summary"):
        monkeypatch.setattr(demo, step, lambda *_: None)
    demo.main(demo.Settings(out, images=6))
    (kept,) = (tmp_path / "replaced").glob("*/demo/scores.json")
    assert kept.read_text() == "before"
    assert [path.name for path in out.iterdir()] == ["settings.json"]


def test_only_the_selected_patches_end_up_annotated(tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "PATCH", 32)
    labels = np.zeros((32, 64), np.uint16)
    labels[4:8, 40:50] = 7
    write_image(tmp_path / "images" / "a.png", np.zeros((32, 64, 3), np.uint8))
    write_labels(tmp_path / "labels" / "a.tif", labels)
    data = tmp_path / "data"
    crop_images(tmp_path / "images", data, size=32, stride=32)
    patches.write_masks(data / "a_x0_y0", np.ones((32, 32), np.int32))  # left by a run that was stopped
    write_selection(data, pd.DataFrame([{"patch": "a_x32_y0"}]))
    experiment.annotate_selected(data, tmp_path / "labels")
    assert not patches.is_annotated(data / "a_x0_y0")
    assert patches.read_masks(data / "a_x32_y0")[4:8, 8:18].all()
    assert patches.read_masks(data / "a_x32_y0").sum() == 40
