"""The folder of segment.py: GeoJSON and COCO show the same nuclei as the label image, with their scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nuclei import tissue
from nuclei.errors import InputError
from nuclei.io.files import read_json, write_json
from nuclei.io.images import write_labels
from nuclei.outlines import geojson, results
from nuclei.outlines.polygons import paint
from tests.nuclei.outlines.test_polygons import hard_labels, random_labels

IMAGES = {
    "hard.png": hard_labels(),  # holes, several parts, one pixel
    "noise.tif": random_labels(0, 40),
    "none.jpg": np.zeros((5, 7), np.int32),
    "tissue.v2.png": tissue.generate("glandular", 128, seed=5)[1],
}


PIXELS = results.fingerprint(np.zeros((2, 3, 3), np.uint8))


def scores_of(labels: np.ndarray) -> np.ndarray:
    return np.linspace(0.95, 0.5, labels.max(), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all images, in every format."""
    folder = tmp_path_factory.mktemp("results") / "new"
    for image, labels in IMAGES.items():
        results.write(folder, image, PIXELS, labels, scores_of(labels))
        results.write_geojson(folder, Path(image).stem)
    results.write_coco(folder)
    return folder


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_written_is_read(folder: Path, image: str) -> None:
    name, labels, scores = results.read(folder, Path(image).stem)
    assert name == image
    np.testing.assert_array_equal(labels, IMAGES[image])
    np.testing.assert_allclose(scores, scores_of(IMAGES[image]), atol=1e-6)


@pytest.mark.parametrize("image", IMAGES)
def test_geojson_shows_the_same_nuclei(folder: Path, image: str) -> None:
    path = folder / f"{Path(image).stem}.geojson"
    shapes = geojson.read(path).shapes
    labels, contested = paint([shape.outline for shape in shapes], IMAGES[image].shape)
    np.testing.assert_array_equal(labels, IMAGES[image])
    assert contested == 0
    features = json.loads(path.read_text())["features"]
    assert {feature["properties"]["objectType"] for feature in features} <= {"detection"}
    assert {feature["properties"]["classification"]["name"] for feature in features} <= {"nucleus"}
    measured = [feature["properties"]["measurements"]["score"] for feature in features]
    np.testing.assert_allclose(measured, scores_of(IMAGES[image]), atol=1e-6)


def test_coco_shows_the_same_nuclei_of_all_images(folder: Path) -> None:
    theirs = COCO(folder / "coco.json")
    assert [record["file_name"] for record in theirs.dataset["images"]] == list(IMAGES)
    for image_id, labels in enumerate(IMAGES.values(), 1):
        annotations = theirs.loadAnns(theirs.getAnnIds(imgIds=image_id))
        painted = np.zeros_like(labels)
        for label, annotation in enumerate(annotations, 1):
            mask = theirs.annToMask(annotation).astype(bool)
            assert not painted[mask].any()
            painted[mask] = label
            assert annotation["area"] == mask.sum()
        np.testing.assert_array_equal(painted, labels)
        found = [annotation["score"] for annotation in annotations]
        np.testing.assert_allclose(found, scores_of(labels), atol=1e-6)
    assert theirs.loadCats(1)[0]["name"] == "nucleus"


def test_coco_can_be_evaluated_by_pycocotools(folder: Path) -> None:
    truth, found = COCO(folder / "coco.json"), COCO(folder / "coco.json")
    evaluation = COCOeval(truth, truth.loadRes(found.dataset["annotations"]), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_an_image_is_finished_once_its_labels_are_there(tmp_path: Path) -> None:
    labels = hard_labels()
    results.write(tmp_path, "a.png", PIXELS, labels, scores_of(labels))
    assert results.is_written(tmp_path, "a", PIXELS)
    (tmp_path / "a.tif").unlink()  # as where a run was killed before it wrote them
    assert not results.is_written(tmp_path, "a", PIXELS)
    results.write_coco(tmp_path)
    assert COCO(tmp_path / "coco.json").dataset["images"] == []


def test_labels_of_another_image_or_maker_are_never_taken_for_ours(tmp_path: Path) -> None:
    results.write(tmp_path, "a.png", PIXELS, np.eye(3, dtype=int), [0.5])
    other = results.fingerprint(np.zeros((3, 2, 3), np.uint8))  # as many pixels, another shape
    assert results.is_written(tmp_path, "a", PIXELS) and not results.is_written(tmp_path, "a", other)
    write_labels(tmp_path / "truth.tif", np.eye(3, dtype=int))
    with pytest.raises(InputError, match=r"truth\.tif was not made by segment\.py"):
        results.is_written(tmp_path, "truth", PIXELS)


def test_a_new_result_does_not_keep_the_exports_of_the_old_one(tmp_path: Path) -> None:
    results.write(tmp_path, "a.png", PIXELS, np.eye(3, dtype=int), [0.5])
    results.write_geojson(tmp_path, "a")
    results.write_coco(tmp_path)
    results.write(tmp_path, "a.png", PIXELS, np.zeros((3, 3), int), [])
    assert not (tmp_path / "coco.json").exists()
    results.write_geojson(tmp_path, "a")
    assert geojson.read(tmp_path / "a.geojson").shapes == []


def test_exports_that_are_there_stay(tmp_path: Path) -> None:
    results.write(tmp_path, "a.png", PIXELS, np.eye(3, dtype=int), [0.5])
    for name in ("a.geojson", "coco.json"):
        (tmp_path / name).write_text("corrected by hand")
    results.write_geojson(tmp_path, "a")
    results.write_coco(tmp_path)
    assert (tmp_path / "a.geojson").read_text() == (tmp_path / "coco.json").read_text() == "corrected by hand"


def test_scores_go_with_their_nuclei(tmp_path: Path) -> None:
    results.write(tmp_path, "a.png", PIXELS, np.array([[1, 2, 3]]), [0.9, 0.8, 0.7])
    write_labels(tmp_path / "a.tif", np.array([[1, 0, 3]]))  # one deleted
    assert results.read(tmp_path, "a")[2] == [0.9, 0.7]
    write_labels(tmp_path / "a.tif", np.array([[9, 0, 4]]))  # the others renumbered: 4 is the one with 0.7
    assert results.read(tmp_path, "a")[2] == [0.7, 0.9]


def test_scores_of_nuclei_that_were_changed_are_dropped_with_a_warning(tmp_path: Path, caplog) -> None:
    results.write(tmp_path, "a.png", PIXELS, np.array([[1, 2, 0]]), [0.9, 0.8])
    write_labels(tmp_path / "a.tif", np.array([[1, 2, 2]]))
    assert results.read(tmp_path, "a")[2] is None
    assert "a.tif: 1 nuclei changed or added by hand have no score" in caplog.text
    results.write_geojson(tmp_path, "a")
    results.write_coco(tmp_path)
    assert "measurements" not in (tmp_path / "a.geojson").read_text()
    assert "score" not in (tmp_path / "coco.json").read_text()


def test_only_label_images_of_ours_have_scores(tmp_path: Path, caplog) -> None:
    labels = np.array([[0, 2, 3]])
    results.write(tmp_path, "a.png", PIXELS, np.array([[1, 2, 3]]), [0.9, 0.8, 0.7])
    assert results.read_scores(tmp_path / "a.tif", labels) == [0.8, 0.7]
    assert results.read_scores(tmp_path / "a.tif", labels * 0) == []
    assert results.read_scores(tmp_path / "a.png", labels) is None
    assert results.read_scores(tmp_path / "b.tif", labels) is None
    write_json(tmp_path / "scores" / "a.json", {"image": "a.png", "scores": [0.9, 0.8, 0.7]})
    assert results.read_scores(tmp_path / "a.tif", labels) is None
    assert "a.json is of an earlier version: its scores are left out" in caplog.text


def test_a_broken_record(tmp_path: Path) -> None:
    results.write(tmp_path, "a.png", PIXELS, np.array([[1, 2]]), [0.9, 0.8])
    (tmp_path / "scores" / "a.json").write_text("{}")
    with pytest.raises(InputError, match=r"a\.json has no valid 'image'"):
        results.read(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "scores"]


@pytest.mark.parametrize("scores", [[0.9], ["high", 0.8]])
def test_a_record_that_somebody_edited_is_refused(tmp_path: Path, scores: list) -> None:
    results.write(tmp_path, "a.png", PIXELS, np.array([[1, 2]]), [0.9, 0.8])
    path = tmp_path / "scores" / "a.json"
    write_json(path, {**read_json(path), "scores": scores})
    with pytest.raises(InputError, match=r"scores.a\.json is damaged; delete it, or segment"):
        results.read(tmp_path, "a")
