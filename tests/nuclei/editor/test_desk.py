import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from nuclei.editor.candidates import Candidate
from nuclei.editor.costs import Costs
from nuclei.editor.desk import Desk, NotReadyError
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.io.images import write_labels
from nuclei.outlines import geojson
from nuclei.outlines.exporting import EXPORTED
from nuclei.outlines.importing import import_annotations

SIDE = 64
PROPOSED = [
    Candidate(shapely.box(0, 0, 10, 10), 0.9),
    Candidate(shapely.box(20, 0, 30, 10), 0.5),
    Candidate(shapely.box(40, 0, 50, 10), 0.2),
]
SQUARE = [[30, 30], [40, 30], [40, 40], [30, 40]]


@pytest.fixture
def folder(tmp_path):
    """data/ with the patches a and b, and c, which is annotated with one nucleus that has a hole."""
    image = np.full((SIDE, SIDE, 3), (220, 180, 210), np.uint8)
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[10:20, 10:20] = 1
    labels[14:16, 14:16] = 0
    for name in "abc":
        patches.write_patch(tmp_path / "data", name, image, labels if name == "c" else None)
    return tmp_path


def desk_of(folder, start="start"):
    return Desk(folder / "data", list("abc"), folder / "annotations", start, folder / "runs" / "costs.csv")


def areas(folder, name):
    path = folder / "annotations" / f"{name}.geojson"
    return [shape.outline.area for shape in geojson.read(path).shapes]


def states(desk):
    return [(each["state"], each["nuclei"]) for each in desk.patches()]


def test_a_patch_waits_for_its_first_outlines(folder):
    desk = desk_of(folder)
    with pytest.raises(NotReadyError):
        desk.view(0)
    assert states(desk) == [("not begun", 0), ("not begun", 0), ("done", 1)]
    desk.offer(0, PROPOSED)
    view = desk.view(0)
    assert [each["score"] for each in view["added"]] == [0.9, 0.5]
    assert view["all"] and view["scored"] and view["size"] == (SIDE, SIDE)
    assert states(desk)[0] == ("not begun", 2)
    exported = json.loads((folder / "annotations" / EXPORTED).read_text())
    assert list(exported["a"]) == ["start"]
    assert (folder / "annotations" / "a.png").exists()


def test_without_a_start_a_patch_begins_empty(folder):
    assert desk_of(folder, "none").view(0)["added"] == []


def test_every_change_is_on_disk_at_once_and_survives_a_restart(folder):
    desk = desk_of(folder)
    desk.offer(0, PROPOSED)
    answer = desk.act(0, {"do": "add", "points": SQUARE, "version": 0, "seconds": 2.5, "clicks": 3})
    ((ring,),) = [each["rings"] for each in answer["added"]]
    assert shapely.Polygon(ring).equals(shapely.Polygon(SQUARE)) and not answer["all"]
    assert areas(folder, "a") == [100, 100, 100]
    key = desk.view(0)["added"][1]["key"]
    answer = desk.act(0, {"do": "drop", "key": key, "version": 1})
    assert answer["removed"] == [key] and answer["added"] == [] and answer["undo"]
    again = desk_of(folder)
    assert [each["score"] for each in again.view(0)["added"]] == [0.9, None]
    assert again.view(0)["state"] == "in work"
    # What was dropped is still known, so the slider does not bring it back.
    again.act(0, {"do": "show_from", "score": 0.0})
    assert sorted(str(each["score"]) for each in again.view(0)["added"]) == ["0.2", "0.9", "None"]
    row = Costs(folder / "runs" / "costs.csv").of("a")
    assert (row.seconds, row.clicks, row.state) == (2.5, 3, "in work")
    assert row.actions["add"] == row.actions["drop"] == 1


def test_a_second_window_gets_everything(folder):
    desk = desk_of(folder)
    desk.offer(0, PROPOSED)
    desk.act(0, {"do": "add", "points": SQUARE, "version": 0})
    answer = desk.act(0, {"do": "undo", "version": 0})  # of a window that missed the first change
    assert answer["all"] and answer["count"] == 2 and answer["redo"]


def test_what_another_program_saves_is_read_again(folder):
    desk = desk_of(folder)
    desk.offer(0, PROPOSED)
    desk.view(0)
    geojson.write(folder / "annotations" / "a.geojson", [shapely.box(1, 1, 5, 5)], "a.png")
    assert desk.view(0)["count"] == 1
    geojson.write(folder / "annotations" / "b.geojson", [shapely.box(1, 1, 5, 5)], "b.png")
    assert states(desk)[1] == ("in work", 1)


def test_done_imports_the_masks(folder):
    desk = desk_of(folder)
    desk.offer(0, PROPOSED)
    answer = desk.done(0, {"seconds": 1, "clicks": 1})
    assert answer == {"notes": [], "concerns": [], "state": "done", "nuclei": 2}
    assert patches.read_masks(folder / "data" / "a").max() == 2
    assert states(desk)[0] == ("done", 2)
    desk.act(0, {"do": "add", "points": SQUARE})
    assert states(desk)[0] == ("in work", 3)
    assert desk.done(0, {})["nuclei"] == 3
    assert len(list((folder / "annotations" / "replaced").iterdir())) == 1  # the masks of the first time
    imported = import_annotations(folder / "annotations", folder / "data")
    assert imported.same == ["a"] and imported.new == []


def test_done_says_where_to_look(folder):
    desk = desk_of(folder, "none")
    desk.view(0)
    tiny = desk.act(0, {"do": "add", "points": [[1, 1], [4, 1], [4, 4], [1, 4]]})["added"][0]["key"]
    one = desk.act(0, {"do": "add", "points": SQUARE})["added"][-1]["key"]
    desk.act(0, {"do": "add", "points": (np.array(SQUARE) + 5).tolist()})
    answer = desk.done(0, {})
    assert [each["key"] for each in answer["concerns"]] == [tiny, one]
    assert "9 px of its own" in answer["concerns"][0]["text"]
    assert "shares 25 px" in answer["concerns"][1]["text"]
    assert answer["notes"][0] == "25 pixels of two nuclei given to the smaller one"


def test_done_refuses_what_import_refuses_and_says_where(folder):
    desk = desk_of(folder, "none")
    far = shapely.box(500, 500, 510, 510)
    geojson.write(folder / "annotations" / "a.geojson", [shapely.box(1, 1, 9, 9), far], "a.png")
    key = desk.view(0)["added"][1]["key"]
    answer = desk.done(0, {})
    assert "annotation of another image" in answer["refused"]
    assert [each["key"] for each in answer["concerns"]] == [key]
    assert not patches.is_annotated(folder / "data" / "a")


def test_an_empty_patch_is_done_only_when_a_person_insists(folder):
    desk = desk_of(folder, "none")
    assert "press Done again" in desk.done(0, {})["refused"]
    assert desk.done(0, {"empty": True})["state"] == "done"
    assert patches.is_annotated(folder / "data" / "a")


def test_masks_that_nobody_touches_stay_as_they_are(folder):
    before = patches.read_masks(folder / "data" / "c")
    desk = desk_of(folder)
    assert desk.view(2)["count"] == 1
    assert desk.done(2, {})["nuclei"] == 1
    np.testing.assert_array_equal(patches.read_masks(folder / "data" / "c"), before)  # with its hole


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": "remove"},
        {"do": ["drop"]},
        {"do": "drop"},
        {"do": "drop", "key": True},
        {"do": "drop", "key": 99},
        {"do": "add", "points": "abc"},
        {"do": "add", "points": [[0, 0]] * 30_000},
        {"do": "add", "points": [{}]},
        {"do": "propose", "x": "1", "y": 2},
        {"do": "propose", "x": float("nan"), "y": 2},
        {"do": "show_from", "score": 7},
        {"do": "merge", "keys": [None]},
        {"do": "move", "key": 1, "corner": -1, "x": 0, "y": 0},
    ],
)
def test_nonsense_changes_nothing(folder, request_):
    desk = desk_of(folder)
    desk.offer(0, PROPOSED)
    before = (folder / "annotations" / "a.geojson").read_bytes()
    with pytest.raises(InputError):
        desk.act(0, request_)
    assert (folder / "annotations" / "a.geojson").read_bytes() == before
    assert states(desk)[0] == ("not begun", 2)


def test_annotations_in_other_formats_are_not_passed_over(folder):
    write_labels(folder / "annotations" / "a.tif", np.ones((SIDE, SIDE), np.int32))
    with pytest.raises(InputError, match="a.tif is an annotation in another format"):
        desk_of(folder)


def test_a_broken_table_or_file_is_one_line(folder):
    path = folder / "runs" / "costs.csv"
    path.parent.mkdir()
    path.write_text("patch,seconds\na,b\n")
    with pytest.raises(InputError, match="is no table of annotation costs"):
        desk_of(folder)
    path.unlink()
    desk = desk_of(folder)
    desk.offer(0, PROPOSED)
    (folder / "annotations" / ".candidates" / "a.json").write_text("[]")
    with pytest.raises(InputError, match="delete it"):
        desk_of(folder).view(0)


def test_times_that_no_page_would_send_do_not_count(tmp_path):
    costs = Costs(Path(tmp_path / "costs.csv"))
    for value in (-5, float("inf"), "3", None, True):
        costs.add("a", None, value if value is not True else -1, value)
    assert costs.of("a").seconds == 0
    costs.add("a", "drop", 1e9, 5e9)
    assert costs.of("a").seconds == 600 and costs.of("a").clicks <= 1001
