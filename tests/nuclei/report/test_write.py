import json
import re

import numpy as np
import pandas as pd
import pytest

import report
from nuclei import tissue
from nuclei.folders import patches
from nuclei.folders.selected import write_selection
from nuclei.io.images import write_image
from nuclei.outlines import results
from nuclei.report import measures, plots
from nuclei.report.page import duration, escape, table
from nuclei.report.places import MEMORY, REPORT, Places, below, remember
from nuclei.report.write import LATER, after_stage, write_report
from tests.programs import assert_refused, call

SIDE = 96
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A small finished run in its usual folders; a patch and an image have markup in their names."""
    monkeypatch.chdir(tmp_path)
    data, synthetic, pseudo = (tmp_path / name for name in ("data", "data_synthetic", "data_pseudo"))
    image, labels = tissue.generate("glandular", SIDE, 0)
    patches.write_patch(data, EVIL, image, labels)
    patches.write_patch(data, "b", *tissue.generate("stroma", SIDE, 1)[:1])
    write_selection(data, pd.DataFrame([{"patch": EVIL, "round": 1}, {"patch": "b", "round": 1}]))
    for number in range(2):
        patches.write_patch(synthetic, f"{EVIL}_{number}", image, labels)
    undecided = np.where(labels == 2, labels, 0)
    patches.write_patch(pseudo, "b", image, np.where(labels == 1, 1, 0), np.array([0.7]), undecided)
    selection = tmp_path / "runs" / "selection"
    selection.mkdir(parents=True)
    points = pd.DataFrame({"patch": [EVIL, "b"], "x": [0.5, 1], "y": [0.0, 2], "cluster": [0, ""]})
    points.to_csv(selection / "map.csv", index=False)
    costs = tmp_path / "runs" / "annotation.csv"
    costs.write_text("patch,state,nuclei,seconds,clicks\nb,in work,7,150.0,31\n")
    logs = tmp_path / "runs" / "mrcnn" / "train_0" / "logs" / "a"
    logs.mkdir(parents=True)
    (logs / "losses.csv").write_text("epoch,loss,rpn_loss\n1,2.0,1.0\n2,1.5,0.5\n")
    (logs / "validation.csv").write_text("epoch,aji\n1,0.2\n2,0.5\n")
    (tmp_path / "runs" / "mrcnn" / "model").mkdir()
    for name in ("good", "worse"):
        write_image(tmp_path / "images" / f"{name}.png", 255 - image if name == "worse" else image)
        results.write(tmp_path / "segmented", f"{name}.png", "", labels, np.linspace(1, 0.5, labels.max()))
    scores = pd.DataFrame({"image": ["good", "worse"], "nuclei": 9, "predicted": 8, "dice": 0.9, "pq": 0.5})
    scores.assign(aji=[0.8, 0.3]).to_csv(tmp_path / "segmented" / "scores.csv", index=False)
    return tmp_path


def written(path):
    return path.read_text(encoding="utf-8")


def test_a_whole_run_is_on_one_page(run, capsys):
    report.main(report.Settings(images=(run / "images",)))
    assert "wrote runs/report.html" in capsys.readouterr().out
    text = written(run / "runs" / REPORT)
    for part in (
        "2 patches",
        "1 patches, ",
        "2 pairs of 1 patches",
        "1 nuclei in 1 patches",
        "trained",
        "2 images",
    ):
        assert part in text
    assert "<td>2 min</td><td>31</td>" in text
    assert text.index("worse: ") < text.index("good: ")  # the worst image first
    assert "b not annotated" in text
    assert "worse is stained unlike every annotated patch" in text
    assert remember(run / "runs" / REPORT).places.images == (run / "images",)


def test_nothing_is_loaded_from_elsewhere_and_names_are_text(run):
    write_report(run / "runs" / REPORT, remember(run / "runs" / REPORT))
    text = written(run / "runs" / REPORT)
    assert EVIL not in text and escape(EVIL) in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "default-src 'none'" in text
    assert all('alt="' in image for image in re.findall(r"<img [^>]*>", text))
    assert all("aria-label=" in svg for svg in re.findall(r'<svg class="(?:zoom|plot)[^>]*>', text))


def test_transplants_are_shown(run):
    write_report(run / "runs" / REPORT, remember(run / "runs" / REPORT))
    assert "Transplants" not in written(run / "runs" / REPORT)
    write_image(run / "runs" / "csingan" / "transplant" / "samples.png", np.zeros((9, 9, 3), np.uint8))
    write_report(run / "runs" / REPORT, remember(run / "runs" / REPORT))
    assert "Transplants" in written(run / "runs" / REPORT)


def test_what_is_not_there_yet_is_said(tmp_path):
    patches.write_patch(tmp_path / "data", "a", *tissue.generate("glandular", SIDE, 0)[:1])
    write_report(tmp_path / REPORT, remember(tmp_path / REPORT))
    text = written(tmp_path / REPORT)
    assert text.count("<strong>not yet</strong>") == 6


def test_a_broken_result_is_a_warning(run):
    (run / "data_pseudo" / "b" / "scores.json").write_text("{")
    warnings = write_report(run / "runs" / REPORT, remember(run / "runs" / REPORT))
    assert [text for text in warnings if "scores.json cannot be read as JSON" in text]
    assert "cannot be shown" in written(run / "runs" / REPORT)


def test_a_stage_writes_it_beside_its_results_and_not_twice(run, caplog):
    out = run / "runs" / "mrcnn"
    caplog.set_level("INFO")
    after_stage("model", out, 100.0, data=run / "data", mrcnn=out)
    assert "the whole run on one page" in caplog.text
    path = run / "runs" / REPORT
    before = path.stat().st_mtime_ns
    after_stage("model", out, 1.0, data=run / "data", mrcnn=out)  # finished already: nothing to do
    assert path.stat().st_mtime_ns == before
    assert remember(path).seconds == {"model": 100.0}
    patches.write_masks(run / "data" / "b", np.zeros((SIDE, SIDE), np.int32))
    after_stage("model", out, 1.0, data=run / "data", mrcnn=out)
    assert path.stat().st_mtime_ns > before
    after_stage("model", out, 1.0, data=run / "others", mrcnn=out)
    memory = remember(path)
    assert memory.places.data == run / "others"
    assert memory.seconds == {"model": 1.0}


def test_who_runs_several_stages_writes_it_once_at_their_end(run, monkeypatch):
    path = run / "runs" / REPORT
    monkeypatch.setenv(LATER, "1")
    after_stage("model", run / "runs" / "mrcnn", 100.0, data=run / "data")
    assert not path.exists()
    monkeypatch.delenv(LATER)
    after_stage("segmented", run / "runs" / "mrcnn", 3.0)
    assert path.exists() and remember(path).seconds == {"model": 100.0, "segmented": 3.0}


def test_an_experiment_elsewhere_gets_none(run):
    after_stage("model", run / "elsewhere", 1.0, data=run / "data")
    assert not (run / REPORT).exists()


def test_a_finished_stage_never_fails(run, caplog):
    (run / "runs" / MEMORY).write_text("[]")
    after_stage("model", run / "runs" / "mrcnn", 1.0)
    assert "is no record of a report; delete it" in caplog.text


def test_bad_input_is_one_line(tmp_path):
    assert_refused(call(tmp_path, "report.py"), "data/ does not exist", "consis_based.py")
    assert_refused(call(tmp_path, "report.py", "--data", "nowhere"), "--data is nowhere")
    assert_refused(call(tmp_path, "report.py", "--out", "report.txt"), "--out is report.txt")
    assert list(tmp_path.iterdir()) == []


def test_places_of_a_run_in_one_folder(tmp_path):
    assert below(tmp_path).selection == tmp_path / "selection"
    assert below(tmp_path).segmented == tmp_path / "segmented"
    assert remember(tmp_path / REPORT).places == below(tmp_path)
    assert Places().data.name == "data"


def test_a_record_of_places_survives(run):
    write_report(run / "runs" / REPORT, remember(run / "runs" / REPORT))
    content = json.loads((run / "runs" / MEMORY).read_text())
    assert content["places"]["scores"] is None
    assert remember(run / "runs" / REPORT).places.scores is None


def test_times_are_said_as_a_person_says_them():
    assert [duration(s) for s in (4, 89, 120, 9000)] == ["4 s", "89 s", "2 min", "2.5 h"]


def test_tables_escape_what_they_hold():
    assert "&lt;b&gt;" in table(("a", "b"), [("<b>", 0.12345)])
    assert "0.123" in table(("a", "b"), [("<b>", 0.12345)])


def test_plots_of_nothing_are_nothing():
    assert plots.histogram({"a": []}, "x") == ""
    assert plots.lines({"a": [np.nan]}, "x", "y") == ""


def test_plots_hold_every_value():
    text = plots.lines({"loss": [3.0, 2.0, 1.0]}, "epoch", "loss")
    (points,) = re.findall(r'points="([^"]*)"', text)
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert heights == sorted(heights) and len(heights) == 3  # SVG's y runs down, so a falling loss rises
    assert "at the end loss 1" in text
    constant = plots.histogram({"a": [5.0, 5.0], "b": [5.0]}, "x")
    assert "a: median 5, 2 values" in constant


def test_axes_have_round_ticks():
    assert plots.Axis(0, 1, 0, 100).ticks == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert plots.Axis(0, 0, 0, 100).ticks == [0]


def test_doubts_about_synthetic_pairs():
    image, labels = tissue.generate("glandular", SIDE, 0)
    same = measures.compare([(image, labels)], (image, labels))
    assert same["edge"] == 0 and same["contrast"] == 1 and same["stain"] == 0
    assert measures.doubts(same) == ["a sample repeats the real patch (correlation 1.00)"]
    other = tissue.generate("glandular", SIDE, 1)
    darker = (other[0] * 0.5).astype(np.uint8)
    said = " ".join(measures.doubts(measures.compare([(darker, other[1])], (image, labels))))
    assert "the stain is off" in said


def test_implausible_nuclei():
    labels = np.zeros((60, 60), np.int32)
    labels[2:12, 2:12] = 1  # plausible
    labels[20:22, 2:4] = 2  # tiny
    labels[30:59, 2:59] = 3  # huge
    labels[33:59, 5:59] = 0
    image = np.full((60, 60, 3), 200, np.uint8)
    found = measures.nuclei_table(image, labels)
    assert list(found["area"]) == [100, 4, 57 * 3 + 26 * 3]
    assert measures.implausible(found, None) == 2  # the last is ragged
    assert len(measures.nuclei_table(image, labels * 0)) == 0
