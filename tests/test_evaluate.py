"""evaluate.py as a program: table, files, and one line for what the user can mend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluate import Settings, main
from nuclei.errors import InputError
from nuclei.evaluation.metrics import NAMES
from nuclei.evaluation.report import INVENTED, MATCHED, MISSED
from nuclei.io.images import read_image, read_labels, write_image, write_labels
from nuclei.outlines import results

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Two images: one predicted perfectly, one with a found, a missed and an invented nucleus."""
    truth = np.zeros((40, 50), np.int32)
    truth[2:12, 2:12], truth[20:30, 20:30] = 1, 2
    pred = np.zeros((40, 50), np.int32)
    pred[2:12, 2:11], pred[30:36, 40:46] = 1, 2
    paths = {name: tmp_path / name for name in ("pred", "truth", "images")}
    for name, p in {"a": truth, "b": pred}.items():
        write_labels(paths["truth"] / f"{name}.tif", truth)
        write_labels(paths["pred"] / f"{name}.tif", p)
        write_image(paths["images"] / f"{name}.png", np.full((40, 50, 3), 200, np.uint8))
    return paths


def evaluate(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "evaluate.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_program_writes_and_prints_the_scores(folders: dict[str, Path]) -> None:
    write_labels(folders["truth"] / "c.tif", np.ones((4, 4), int))
    result = evaluate(folders["pred"], folders["truth"])
    assert result.returncode == 0, result.stderr
    table = pd.read_csv(folders["pred"] / "scores.csv")
    assert table.columns.tolist() == ["image", "nuclei", "predicted", *NAMES]
    assert table["image"].tolist() == ["a", "b"]
    assert table.loc[0, list(NAMES)].eq(1).all()
    # b: one match of IoU 0.9; 1 TP, 1 FP, 1 FN
    assert table.loc[1, ["dq", "sq", "pq"]].tolist() == pytest.approx([0.5, 0.9, 0.45])

    summary = json.loads((folders["pred"] / "scores.json").read_text())
    assert summary["mean"]["pq"] == pytest.approx((1 + 0.45) / 2)
    assert summary["sd"]["pq"] == pytest.approx((1 - 0.45) / 2)
    assert [image["image"] for image in summary["images"]] == ["a", "b"]
    assert summary["settings"]["truth"] == str(folders["truth"])

    assert "mean of 2 images: dice 0." in result.stdout
    assert "pq 0.7250" in result.stdout
    assert "1 images of" in result.stdout  # c has no prediction
    assert "scores.png" in result.stdout
    assert read_image(folders["pred"] / "plots" / "scores.png").std() > 0


def test_average_precision_goes_by_the_scores_of_segment_py(folders: dict[str, Path]) -> None:
    def ap50() -> list[float]:
        main(Settings(folders["pred"], folders["truth"]))
        return pd.read_csv(folders["pred"] / "scores.csv")["ap50"].tolist()

    # b has one of two nuclei, and invents one: a precision of 1/2, or of 1 if the invented one comes last
    # up to a recall of 1/2, which is 51 of COCO's 101 places.
    assert ap50() == pytest.approx([1, 51 / 101 / 2])
    labels = read_labels(folders["pred"] / "b.tif")
    results.write(folders["pred"], "b.png", "", labels, [0.9, 0.8])
    assert ap50() == pytest.approx([1, 51 / 101])
    results.write(folders["pred"], "b.png", "", labels, [0.8, 0.9])
    assert ap50() == pytest.approx([1, 51 / 101 / 2])


@pytest.mark.parametrize("problem", ["missing", "size"])
def test_program_names_what_is_wrong_in_one_line(folders: dict[str, Path], problem: str) -> None:
    if problem == "missing":
        (folders["truth"] / "b.tif").unlink()
    else:
        write_labels(folders["truth"] / "b.tif", np.zeros((8, 9), int))
    result = evaluate(folders["pred"], folders["truth"])
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert "b.tif" in lines[0]
    if problem == "size":
        assert "50 x 40 px" in lines[0] and "9 x 8 px" in lines[0]
    assert not (folders["pred"] / "scores.csv").exists()


@pytest.mark.parametrize("which", ["pred", "truth"])
def test_a_mask_is_not_scored_as_labels(folders: dict[str, Path], which: str) -> None:
    places = [(2, 2), (2, 20), (20, 2)]
    mask = np.zeros((40, 50), np.uint8)
    (folders[which] / "b.tif").unlink()
    for count, (y, x) in enumerate(places, 1):
        mask[y : y + 8, x : x + 8] = 255
        write_image(folders[which] / "b.png", mask)
        if count < len(places):  # one nucleus, or one in two parts
            main(Settings(folders["pred"], folders["truth"]))
    result = evaluate(folders["pred"], folders["truth"])
    assert result.returncode == 1
    assert "b.png has one id in 3 separate places, so it is a mask" in result.stderr.splitlines()[-1]


def test_a_nucleus_in_pieces_that_segment_py_found_is_scored(folders: dict[str, Path]) -> None:
    pieces = np.zeros((40, 50), np.int32)
    pieces[2:12:4, 2:12] = 1
    results.write(folders["pred"], "b.png", "", pieces, [0.9])
    main(Settings(folders["pred"], folders["truth"]))
    assert pd.read_csv(folders["pred"] / "scores.csv")["predicted"].tolist() == [2, 1]


def test_overlays_colour_by_outcome(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    main(Settings(folders["pred"], folders["truth"], out=out, images=folders["images"]))
    picture = read_image(out / "compared" / "b.png")
    assert tuple(picture[2, 5]) == MATCHED
    assert tuple(picture[20, 25]) == MISSED
    assert tuple(picture[30, 42]) == INVENTED
    assert (picture[25, 25] == 200).all()
    assert len(picture) > 40  # the legend is below the image
    for color in (MATCHED, MISSED, INVENTED):
        assert (picture[40:] == color).all(axis=2).any()
    assert sorted(path.name for path in out.iterdir()) == ["compared", "plots", "scores.csv", "scores.json"]
    assert not list(folders["pred"].glob("scores*"))


def test_images_are_checked_before_the_scores(folders: dict[str, Path]) -> None:
    (folders["images"] / "a.png").unlink()
    with pytest.raises(InputError, match="a.tif"):
        main(Settings(folders["pred"], folders["truth"], images=folders["images"]))
    assert not (folders["pred"] / "scores.csv").exists()


@pytest.mark.parametrize("problem", ["size", "broken"])
def test_a_bad_image_shows_before_anything_is_written(folders: dict[str, Path], problem: str) -> None:
    if problem == "size":
        write_image(folders["images"] / "b.png", np.zeros((8, 9, 3), np.uint8))
    else:
        (folders["images"] / "b.png").write_text("no image")
    with pytest.raises(InputError, match=r"b\.png"):
        main(
            Settings(folders["pred"], folders["truth"], out=folders["pred"] / "out", images=folders["images"])
        )
    assert not (folders["pred"] / "out").exists()


def test_a_place_that_cannot_hold_the_scores_is_told_before_any_image_is_read(
    folders: dict[str, Path],
) -> None:
    (folders["pred"] / "a.tif").write_text("no image")
    (folders["truth"] / "file").touch()
    with pytest.raises(InputError, match="cannot write .*file"):
        main(Settings(folders["pred"], folders["truth"], out=folders["truth"] / "file"))


def test_second_run_replaces_the_scores(folders: dict[str, Path]) -> None:
    main(Settings(folders["pred"], folders["truth"]))
    write_labels(folders["pred"] / "a.tif", np.zeros((40, 50), int))
    main(Settings(folders["pred"], folders["truth"]))
    table = pd.read_csv(folders["pred"] / "scores.csv")
    assert table.loc[0, list(NAMES)].eq(0).all()
    assert table["predicted"].tolist() == [0, 2]


def test_a_table_of_another_program_stays(folders: dict[str, Path]) -> None:
    table = folders["pred"] / "scores.csv"
    table.write_text("model,score\nours,1\n")
    with pytest.raises(InputError, match=r"scores\.csv is not of this program.*--out"):
        main(Settings(folders["pred"], folders["truth"]))
    assert table.read_text() == "model,score\nours,1\n"


def test_folders_in_the_wrong_order_are_told(folders: dict[str, Path], caplog) -> None:
    pred, truth = folders["pred"], folders["truth"]
    with pytest.raises(InputError, match="are the same folder"):
        main(Settings(pred, pred / ".." / "pred"))
    (pred / "scores").mkdir()
    main(Settings(pred, truth))
    assert not caplog.text
    main(Settings(truth, pred))
    assert "pred/ was written by segment.py" in caplog.text
