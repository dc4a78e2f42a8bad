"""The plan of the experiment and its tables; the runs themselves are scripts, which have their own tests."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.label_efficiency import __main__ as experiment
from benchmarks.label_efficiency import execute, report
from benchmarks.label_efficiency.begin import begin
from benchmarks.label_efficiency.plan import ROWS, RUN, Plan, Run, Settings, held, list_runs, turn
from benchmarks.label_efficiency.report import STEPS_OF_THE_METHOD
from nuclei.errors import InputError
from nuclei.evaluation.metrics import NAMES
from nuclei.experiment import tissue_folders
from nuclei.io.files import write_json
from nuclei.io.images import write_image, write_labels
from tests.programs import ROOT


def add_run(out, row, budget, seed, aji, minutes=7.5, steps=100):
    """A finished run that scored so on the images a, b, ..."""
    folder = out / "runs" / Run(row, budget, seed).name
    folder.mkdir(parents=True)
    scores = {**dict.fromkeys(NAMES, 0.5), "aji": aji}
    table = pd.DataFrame({"image": list("abcd")[: len(aji)], "nuclei": 9, "predicted": 7, **scores})
    table.to_csv(folder / "scores.csv", index=False)
    code = {"code": "abc123"}
    fields = {"row": row, "budget": budget, "seed": seed, "steps": steps}
    write_json(folder / RUN, {**fields, "annotated_share": 0.049, "minutes": minutes, **code})
    return folder


def test_the_first_table_comes_first_then_the_seeds_then_the_budgets():
    runs = list_runs(Settings("folder", seeds=2, draws=3, budgets=(3, 12), peers=("stardist",)))
    names = [run.name for run in runs]
    assert names[:12] == [
        "label_free_0_0",
        "start_weights_0_0",
        "annotated_only_12_0",
        "synthetic_12_0",
        "whole_method_12_0",
        "full_supervision_0_0",
        "stardist_12_0",
        "random_patches_12_0",
        "random_patches_12_1",
        "random_patches_12_2",
        "self_trained_12_0",
        "self_trained_target_12_0",
    ]
    assert {name.rpartition("_")[2] for name in names[12:17]} == {"1"}
    assert names[17:19] == ["paper_rule_12_0", "paper_rule_12_1"]
    others = "whole_method_target", "paper_rule", "paper_rule_alone", "random_patches", "random_patches_alone"
    rows = [f"{row}_3" for row in (*STEPS_OF_THE_METHOD, *others)]
    rows += [f"{row}_12" for row in others if f"{row}_12_0" not in names[:19]]
    budgets = [f"{row}_{seed}" for seed in (0, 1) for row in rows]
    imagenet = [
        f"{row}_{seed}"
        for seed in (0, 1)
        for row in ("annotated_only_imagenet_12", "full_supervision_imagenet_0")
    ]
    generated = ["stardist_no_label_0_0", "stardist_pretrained_12_0", "stardist_pretrained_12_1"]
    transplants = [f"transplants_{budget}_{seed}" for seed in (0, 1) for budget in (3, 12)]
    assert names[19:] == budgets + imagenet + generated + transplants
    assert len(set(names)) == len(names)


def runs_of(*runs):
    """A table of runs that scored so: image -> AJI."""
    return pd.DataFrame(
        [
            {"image": image, "aji": aji, "seed": seed}
            for seed, run in enumerate(runs)
            for image, aji in run.items()
        ]
    )


def test_the_difference_is_paired_by_image_and_averaged_over_runs():
    ours, other = runs_of({"a": 0.6, "b": 0.7}, {"a": 0.6, "b": 0.7}), runs_of({"a": 0.5, "b": 0.6})
    assert report.difference(ours, other) == [0.1, 0.1, 0.1]


def test_runs_that_differ_widen_the_interval_of_the_difference():
    ours, other = runs_of({"a": 0.5, "b": 0.6}, {"a": 0.7, "b": 0.8}), runs_of({"a": 0.5, "b": 0.6})
    # Of two runs both drawn are the first, or both the second, in a quarter of the cases each.
    assert report.difference(ours, other) == [0.1, 0.0, 0.2]


def test_runs_of_one_seed_are_compared_with_each_other():
    ours = runs_of({"a": 0.5, "b": 0.6}, {"a": 0.7, "b": 0.8})
    other = runs_of({"a": 0.4, "b": 0.5}, {"a": 0.6, "b": 0.7})
    assert report.difference(ours, other) == [0.1, 0.1, 0.1]


def test_tables_plots_and_overlays_of_what_is_finished(tmp_path):
    where = tissue_folders(tmp_path / "tissue")
    image = np.full((32, 32, 3), 220, np.uint8)
    labels = np.zeros((32, 32), np.int32)
    labels[4:12, 4:12] = 1
    folders = [add_run(tmp_path, "label_free", 0, 0, [0.4, 0.2])]
    folders += [add_run(tmp_path, "annotated_only", 12, 0, [0.5, 0.3])]
    folders += [add_run(tmp_path, "annotated_only", 12, 1, [0.5, 0.3], minutes=None)]  # was killed
    folders += [add_run(tmp_path, "whole_method", 12, 0, [0.7, 0.4], minutes=None)]
    add_run(tmp_path, "synthetic", 3, 0, [0.3, 0.3])
    add_run(tmp_path, "annotated_only", 3, 0, [0.2, 0.1])
    add_run(tmp_path, "whole_method", 3, 0, [0.1, 0.1])  # not on the overlays: has no label images
    for stem in "ab":
        write_image(where.test_images / f"{stem}.png", image)
        for folder in (where.test_labels, *(folder / "segmented" for folder in folders)):
            write_labels(folder / f"{stem}.tif", labels)
    groups, made_with = {"test_near": ["a"], "test_far": ["b"]}, {"weights": "generated"}
    figures = report.write(tmp_path, where, groups, 12, made_with)
    assert json.loads((tmp_path / "results.json").read_text()) == figures
    whole = figures["whole_method"]
    assert whole["aji"] == pytest.approx(0.55)  # the run with 3 patches is not in the first table
    assert whole["aji_sd"] == pytest.approx(0.15)
    assert (whole["aji_test_near"], whole["aji_test_far"]) == (0.7, 0.4)
    assert figures["annotated_only"]["runs"] == 2
    assert figures["annotated_only"]["code"] == ["abc123"]
    assert figures["annotated_only"]["minutes"] == 7.5
    assert whole["minutes"] is None
    assert figures["differences"]["whole_method - label_free"][0] == pytest.approx(0.25)
    assert figures["differences"]["whole_method - annotated_only"][0] == pytest.approx(0.15)
    assert figures["differences"]["annotated_only - label_free"][0] == pytest.approx(0.1)
    assert figures["budgets"]["whole_method"]["3"]["aji"] == pytest.approx(0.1)
    assert (whole["steps"], whole["start"], figures["label_free"]["start"]) == (100, "generated", None)
    # Of two images both drawn are a, or both b, in a quarter of the cases each.
    assert figures["gain_of_pairs"] == {"3": {"aji": 0.15, "low": 0.1, "high": 0.2}}
    assert figures["made_with"] == made_with
    scores = pd.read_csv(tmp_path / "scores.csv").set_index(["row", "budget", "seed", "image"])
    assert len(scores) == 14  # seven runs of two images
    assert scores.loc[("whole_method", 12, 0, "b"), ["nuclei", "predicted", "aji"]].tolist() == [9, 7, 0.4]
    text = (tmp_path / "results.md").read_text()
    assert text.endswith("weights: generated\n")
    lines = text.splitlines()
    assert (
        "| 12 patches: + pseudo labels: the whole method | 4.9 % | 1 | 100 | 0.550 (0.150) | 0.700 | 0.400 |"
        in text
    )
    rows = [line.split(" | ")[0] for line in lines[2:8]]
    assert rows == [
        "| label-free: Otsu, watershed",
        "| 3 patches: annotated patches only",
        "| 3 patches: + synthetic pairs",
        "| 3 patches: + pseudo labels: the whole method",
        "| 12 patches: annotated patches only",
        "| 12 patches: + pseudo labels: the whole method",
    ]
    assert {"rows.png", "budgets.png", "best.png", "worst.png"} <= {p.name for p in tmp_path.iterdir()}


def test_every_row_is_compared_with_full_supervision_which_comes_before_other_tools(tmp_path):
    for row, budget, aji in (
        ("stardist", 12, [0.1, 0.1]),
        ("full_supervision", 0, [0.5, 0.3]),
        ("annotated_only", 3, [0.4, 0.2]),
        ("self_trained", 12, [0.5, 0.5]),  # whose number of patches has no meaning: it has no label
    ):
        add_run(tmp_path, row, budget, 0, aji)
    report.write(tmp_path, tissue_folders(tmp_path), {}, 12, {})
    table = [
        line.strip("| ").split(" | ") for line in (tmp_path / "results.md").read_text().splitlines()[2:6]
    ]
    assert [cells[0] for cells in table] == [
        "start weights, self-trained on unlabelled patches",
        "3 patches: annotated patches only",
        "full supervision",
        "12 patches: StarDist from random weights",
    ]
    assert table[1][-1] == "-0.100 (-0.100 to -0.100)"
    assert "to" not in table[2][-1]


def test_nothing_is_written_before_a_run_is_finished(tmp_path):
    assert report.write(tmp_path, tissue_folders(tmp_path), {}, 12, {}) == {}
    assert not (tmp_path / "results.json").exists()


def test_pairs_are_not_compared_with_a_shorter_training(tmp_path):
    add_run(tmp_path, "annotated_only", 3, 0, [0.5], steps=50)
    add_run(tmp_path, "synthetic", 3, 0, [0.6])
    add_run(tmp_path, "annotated_only", 12, 0, [0.5])
    add_run(tmp_path, "synthetic", 12, 0, [0.6])
    figures = report.write(tmp_path, tissue_folders(tmp_path / "tissue"), {}, 12, {})
    assert figures["gain_of_pairs"] == {"12": {"aji": 0.1, "low": 0.1, "high": 0.1}}


def test_what_all_runs_share_is_kept_and_other_settings_are_refused(tmp_path):
    where = tissue_folders(tmp_path)
    settings = Settings("folder", minutes=5, steps=110, rounds=1, out=tmp_path)
    begun = begin(settings, where)
    assert begun["steps"] == 100  # a whole number of epochs of 25
    assert "processor cores" in begun["device"]
    assert begun["start"] == date.today().isoformat()
    assert begin(settings, where) == begun
    assert begin(replace(settings, steps=None), where) == begun
    for other in ({"minutes": 6}, {"steps": 200}, {"batch": 2}, {"views": 1}):
        with pytest.raises(InputError, match="begun with other settings"):
            begin(replace(settings, **other), where)


def test_every_training_of_ours_has_as_many_steps_but_those_with_more_to_learn(tmp_path):
    plan = Plan(
        Settings("folder", rounds=2, full_steps=900, imagenet_steps=800), tissue_folders(tmp_path), 20
    )
    steps = {run.row: plan.steps_of(run) for run in list_runs(plan.settings) if run.row in ROWS}
    assert steps["start_weights"] == 0
    assert steps["annotated_only"] == steps["synthetic"] == steps["paper_rule_alone"] == 20
    # After each of two labellings; the start weights, which know nuclei, make the first.
    assert steps["self_trained"] == steps["whole_method"] == steps["random_patches"] == 40
    assert (steps["full_supervision"], steps["annotated_only_imagenet"]) == (900, 800)
    imagenet = replace(plan, settings=replace(plan.settings, weights="imagenet"))
    assert imagenet.steps_of(Run("whole_method", 12, 0)) == 60  # and before the first


def test_runs_made_elsewhere_count_and_are_not_repeated(tmp_path):
    where = tissue_folders(tmp_path / "tissue")
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    add_run(elsewhere, "label_free", 0, 0, [0.4, 0.2])
    add_run(elsewhere, "synthetic", 12, 1, [0.5, 0.3])
    report.write(elsewhere, where, {}, 12, {})
    add_run(here, "synthetic", 12, 0, [0.7, 0.3], minutes=3)
    kept = report.read_kept(elsewhere / "scores.csv")
    plan = Plan(Settings("folder"), where, 100)
    report.check_steps(kept, plan, elsewhere / "scores.csv")
    assert set(kept["folder"]) == {"label_free_0_0", "synthetic_12_1"}
    figures = report.write(here, where, {}, 12, {}, kept)
    assert figures["synthetic"]["aji_runs"] == [0.5, 0.4]
    assert figures["synthetic"]["minutes"] == 5.2  # of 3 and 7.5
    assert figures["label_free"]["aji"] == pytest.approx(0.3)
    add_run(here, "synthetic", 12, 1, [0.9, 0.7])  # made here as well: once is enough
    figures = report.write(here, where, {}, 12, {}, kept)
    assert figures["synthetic"]["aji_runs"] == [0.5, 0.8]
    assert len(pd.read_csv(here / "scores.csv")) == 6
    with pytest.raises(InputError, match="has trainings of 100 steps, not 200"):
        report.check_steps(kept, replace(plan, steps=200), elsewhere / "scores.csv")
    with pytest.raises(InputError, match=r"of 100 steps, not 6000 \(full_supervision\)"):
        report.check_steps(kept.assign(row="full_supervision"), plan, elsewhere / "scores.csv")
    (elsewhere / "scores.csv").write_text("row,image\n")
    with pytest.raises(InputError, match="has no column budget, seed, .*; it is no scores.csv"):
        report.read_kept(elsewhere / "scores.csv")


def test_a_peer_without_its_environment_is_named_at_once(tmp_path, monkeypatch):
    assert execute.peer_python("torchvision") == Path(sys.executable)
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    (tmp_path / "benchmarks" / "peers").mkdir(parents=True)
    (tmp_path / "benchmarks" / "peers" / "requirements-stardist.txt").touch()
    with pytest.raises(InputError, match="stardist needs an environment of its own: make peers"):
        experiment.main(Settings(tmp_path / "nowhere", peers=("stardist",)))
    kept = [run for run in list_runs(Settings("folder")) if run.row.startswith("stardist")]
    kept = pd.DataFrame([{**asdict(run), "steps": 0} for run in kept]).reindex(columns=report.KEPT)
    kept.to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(InputError, match="nowhere/splits.json does not exist"):  # it need not run again
        experiment.main(Settings(tmp_path / "nowhere", peers=("stardist",), kept=tmp_path / "scores.csv"))


def test_patches_are_shared_by_the_rows_that_choose_alike():
    plan = Plan(Settings("folder", out=ROOT), tissue_folders(ROOT), 50)
    assert plan.stages(Run("synthetic", 12, 1)) == plan.stages(Run("stardist", 12, 1))
    assert plan.stages(Run("random_patches", 12, 1)) != plan.stages(Run("whole_method", 12, 1))


def test_a_program_that_outlives_the_process_that_started_it_keeps_its_turn(tmp_path):
    program = f"""
import subprocess, sys
from pathlib import Path
from benchmarks.label_efficiency.plan import held, turn
out = Path({str(tmp_path)!r})
with turn(out, out / "runs" / "a"):
    child = [sys.executable, "-c", "print('ours', flush=True); input()"]
    subprocess.run([*held(out, out / "runs" / "a"), *child])
"""
    command = [sys.executable, "-c", program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=ROOT) as killed:
        assert killed.stdout.readline() == "ours\n"
        killed.kill()
        killed.wait()
        with turn(tmp_path, tmp_path / "runs" / "a", wait=False) as ours:
            assert not ours
        with turn(tmp_path, tmp_path / "runs" / "b", wait=False) as ours:
            assert ours
        killed.stdin.close()  # which ends the program
        with turn(tmp_path, tmp_path / "runs" / "a") as ours:
            assert ours


def test_a_program_that_fails_under_a_lock_says_so(tmp_path):
    command = [*held(tmp_path, "a"), sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, check=False, cwd=ROOT).returncode == 3


def test_another_tools_run_has_its_own_steps_and_minutes(tmp_path, monkeypatch):
    where = tissue_folders(tmp_path / "tissue")
    write_image(where.train_images / "a.png", np.zeros((512, 512, 3), np.uint8))
    monkeypatch.setattr(execute, "_peer", lambda *_: {"steps": 1234, "training_minutes": 5.6})
    monkeypatch.setattr(execute, "program", lambda *_, **__: None)
    execute.execute(Plan(Settings("folder", out=tmp_path), where, 600), Run("stardist", 1, 0), tmp_path)
    made = json.loads((tmp_path / RUN).read_text())
    assert (made["steps"], made["minutes"], made["annotated_share"]) == (1234, 5.6, 0.25)


@pytest.mark.slow
def test_a_run_that_is_finished_or_another_process_works_at_is_passed_over(tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    write_json(folder / "splits.json", {"train": ["a"], "test": ["b"]})
    where = tissue_folders(out / "tissue")
    monkeypatch.setattr(experiment.annotated_images, "sort_images", lambda *_: where)
    monkeypatch.setattr(report.pictures, "draw_overlays", lambda *_: None)
    executed = []

    def pretend(plan, run, folder):
        executed.append(run.name)
        add_run(out, run.row, run.budget, run.seed, [0.5])

    monkeypatch.setattr(experiment, "execute", pretend)
    settings = Settings(folder, minutes=1, steps=100, seeds=1, draws=1, budgets=(), peers=(), out=out)
    add_run(out, "synthetic", 12, 0, [0.4])
    with turn(out, out / "runs" / "annotated_only_12_0"):  # as another process does
        experiment.main(settings)
    assert "annotated_only_12_0" not in executed and "synthetic_12_0" not in executed
    assert executed[:2] == ["label_free_0_0", "start_weights_0_0"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["synthetic"]["aji"] == 0.4
    executed.clear()
    experiment.main(settings)
    assert executed == ["annotated_only_12_0"]
    executed.clear()
    elsewhere = replace(settings, out=tmp_path / "elsewhere", steps=150, kept=out / "scores.csv")
    with pytest.raises(InputError, match="of 100 steps, not 150"):
        experiment.main(elsewhere)
    assert not executed
