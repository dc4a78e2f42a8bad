import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import annotations
from annotations import Export, Import
from mrcnn import model
from mrcnn.config import NucleusConfig
from mrcnn.inference import tiling
from mrcnn.selftraining.start import FOLDER
from nuclei import label_free, tissue
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.selected import SELECTION
from nuclei.io.images import read_image, read_labels, write_labels
from nuclei.outlines.polygons import fill_holes, renumber
from tests.nuclei.outlines.test_polygons import hard_labels
from tests.programs import assert_refused, call

SIDE = 96
FORMATS = ("geojson", "labelme", "imagej", "label_tiff", "coco")
FILES = ("a.geojson", "b.geojson")


@pytest.fixture
def folder(tmp_path, monkeypatch, caplog):
    """data/ with the selected patches a, not annotated, and b, annotated, and c, not selected."""
    for seed, (name, kind) in enumerate({"a": "glandular", "b": "stroma", "c": "lymphoid"}.items()):
        image, labels = tissue.generate(kind, SIDE, seed)
        if name == "b":
            labels = np.zeros_like(labels)
            labels[10:23, 10:22] = hard_labels()
        patches.write_patch(tmp_path / "data", name, image, labels if name == "b" else None)
    (tmp_path / "data" / SELECTION).write_text("patch\na\nb\n")
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    return tmp_path


def masks(folder, name):
    return patches.read_masks(folder / "data" / name)


def first_labels(folder, name):
    return fill_holes(label_free.segment(patches.read_patch(folder / "data" / name)))[0]


def edit(path, change):
    """Change the list of features of a GeoJSON."""
    content = json.loads(path.read_text())
    content["features"] = change(content["features"])
    path.write_text(json.dumps(content))


def move(by):
    """A change that moves all nuclei to the right, px."""

    def change(features):
        for feature in features:
            geometry = feature["geometry"]
            rings = geometry["coordinates"]
            for ring in rings if geometry["type"] == "Polygon" else [r for part in rings for r in part]:
                for point in ring:
                    point[0] += by
        return features

    return change


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_and_not_touched_comes_back_the_same(folder, form, capsys, caplog):
    before = masks(folder, "b")
    annotations.main(Export(start="baseline", format=(form,)))
    assert caplog.messages == [
        "1 patches start from the baseline",
        "1 patches start from the masks they have",
    ]
    shutil.copytree(folder / "data", folder / "other")
    shutil.rmtree(folder / "other" / "b" / "masks")
    annotations.main(Import())
    np.testing.assert_array_equal(masks(folder, "a"), first_labels(folder, "a"))
    np.testing.assert_array_equal(masks(folder, "b"), before)  # with its holes, since nobody changed it
    said = capsys.readouterr()
    assert "of 1 patches into data/; 1 others had theirs already" in said.out
    assert "nobody changed what a program drew in a (the baseline)" in caplog.text

    annotations.main(Import(data=Path("other"), fill_holes=False))
    np.testing.assert_array_equal(patches.read_masks(folder / "other" / "b"), before)
    shutil.rmtree(folder / "other" / "b" / "masks")
    annotations.main(Import(data=Path("other")))
    np.testing.assert_array_equal(patches.read_masks(folder / "other" / "b"), fill_holes(before)[0])
    assert "holes of 4 nuclei filled" in caplog.text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["slide.tif", "a.png", "exported", "b.v2"])
def test_a_patch_may_have_any_name(folder, form, name):
    (folder / "data" / "b").rename(folder / "data" / name)
    image = folder / "data" / name / "images" / "b.png"
    image.rename(image.with_name(f"{name}.png"))
    (folder / "data" / SELECTION).write_text(f"patch\n{name}\n")
    before = masks(folder, name)
    annotations.main(Export(start="none", format=(form,)))
    shutil.rmtree(folder / "data" / name / "masks")
    annotations.main(Import(fill_holes=False))
    np.testing.assert_array_equal(masks(folder, name), before)


def test_images_and_pictures_lie_beside_the_annotations(folder):
    annotations.main(Export(start="baseline"))
    image = patches.read_patch(folder / "data" / "a")
    np.testing.assert_array_equal(read_image(folder / "annotations" / "a.png"), image)
    picture = read_image(folder / "annotations" / "overlays" / "a.png")
    assert (picture != image).any(axis=2).sum() > 50
    assert {path.name for path in (folder / "annotations").iterdir()} == {
        *FILES, "a.png", "b.png", ".exported.json", "overlays"
    }  # fmt: skip


def test_patches_start_from_the_start_weights_as_long_as_there_is_no_model(folder, monkeypatch, caplog):
    used = []
    network = SimpleNamespace(predictor=None)
    monkeypatch.setattr(model, "load", lambda folder: used.append(folder) or network)
    monkeypatch.setattr(tiling, "segment", lambda _, image: (np.zeros(image.shape[:2], np.int32), None))
    annotations.main(Export())
    assert used == [FOLDER]
    assert "no model trained yet (runs/mrcnn/model/): outlines by the start weights" in caplog.text


def test_patches_start_from_a_model(folder, caplog):
    model.MaskRCNN("inference", NucleusConfig(), folder).save(folder / "model")
    annotations.main(Export(start="model", model=folder / "model", format=("label_tiff",)))
    assert "1 patches start from the model" in caplog.text
    assert read_labels(folder / "annotations" / "a.tif").shape == (SIDE, SIDE)
    np.testing.assert_array_equal(
        renumber(read_labels(folder / "annotations" / "b.tif")), renumber(masks(folder, "b"))
    )


def test_an_edited_file_is_never_overwritten(folder, capsys, caplog):
    annotations.main(Export(start="baseline", format=("geojson", "coco")))
    (folder / "annotations" / "a.geojson").write_text("edited")
    (folder / "annotations" / "b.geojson").unlink()
    annotations.main(Export(start="baseline", format=("geojson", "coco")))
    assert (folder / "annotations" / "a.geojson").read_text() == "edited"
    assert (folder / "annotations" / "b.geojson").exists()
    said = capsys.readouterr()
    assert "kept as they are, since somebody may have worked on them: a.geojson, coco.json" in caplog.text
    assert "wrote 1 patches" in said.out.splitlines()[-2]


def test_a_patch_without_any_nucleus_is_not_annotated_unless_told(folder, capsys, caplog):
    annotations.main(Export(start="none"))
    annotations.main(Import())
    assert not patches.is_annotated(folder / "data" / "a")
    said = capsys.readouterr()
    assert "left out 1 patches without a nucleus: a" in caplog.text
    assert "next: annotate a, which are selected too" in said.out
    annotations.main(Import(empty=True))
    assert masks(folder, "a").max() == 0
    said = capsys.readouterr()
    assert "next: python main_train.py" in said.out
    assert "nobody changed" not in caplog.text


def test_what_is_mended_is_said(folder, caplog):
    annotations.main(Export(start="baseline"))
    edit(folder / "annotations" / "a.geojson", lambda features: features + features[:2])
    annotations.main(Import())
    said = caplog.text
    assert "annotations/a.geojson (a): 2 nuclei drawn twice taken once" in said
    np.testing.assert_array_equal(masks(folder, "a"), first_labels(folder, "a"))


def test_an_annotation_is_replaced_only_on_demand_and_kept_then(folder, capsys):
    before = masks(folder, "b")
    annotations.main(Export(start="baseline"))
    edit(folder / "annotations" / "b.geojson", move(3))
    words = "data/ has other annotations of b (annotations/b.geojson)", "--replace"
    assert_refuses(capsys, Import(), *words)
    assert not patches.is_annotated(folder / "data" / "a")  # nothing is half-written
    np.testing.assert_array_equal(masks(folder, "b"), before)

    annotations.main(Import(replace=True))
    expected = fill_holes(np.roll(before, 3, axis=1))[0]
    np.testing.assert_array_equal(masks(folder, "b"), expected)
    (kept,) = (folder / "annotations" / "replaced").iterdir()
    np.testing.assert_array_equal(read_labels(kept), before)


def assert_refuses(capsys, settings, *words):
    """It raises one line with all the words, and has said nothing before."""
    capsys.readouterr()
    with pytest.raises(InputError) as error:
        annotations.main(settings)
    assert capsys.readouterr() == ("", "")
    (line,) = str(error.value).splitlines()
    assert not [word for word in words if word not in line], line


def test_bad_input_is_one_line_and_nothing_is_written(folder, capsys):
    annotations.main(Export(start="baseline"))
    out = folder / "annotations"
    good = (out / "a.geojson").read_text()
    twice = {"type": "FeatureCollection", "features": json.loads(good)["features"] * 2}
    (out / "a.geojson").write_text(json.dumps(twice))  # mended, but what is wrong with b comes alone
    of_b = good.replace('"image":"a"', '"image":"b"')
    for text, words in (
        (good, ["annotations/b.geojson: feature 1 was drawn on a, not on b"]),
        (good[:-9], ["annotations/b.geojson cannot be read as JSON"]),
        (of_b.replace("[[[", "[[[90000,90000],["), ["b.geojson: feature 1", "annotation of another image"]),
        (of_b.replace('"nucleus"', '"Tumor"'), ["b.geojson has objects of the classes Tumor", "--classes"]),
        (of_b.replace("Polygon", "LineString", 1), ["b.geojson: feature 1 is a LineString"]),
    ):
        (out / "b.geojson").write_text(text)
        assert_refuses(capsys, Import(), *words)
    assert not patches.is_annotated(folder / "data" / "a")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("d.geojson", ["d.geojson is of d, which is no patch of data/"]),
        ("a.json", ["a.geojson and annotations/a.json are both of a", "--format"]),
    ],
)
def test_files_of_no_patch_or_two_of_one_are_refused(folder, capsys, name, words):
    annotations.main(Export(start="baseline"))
    shutil.copy(folder / "annotations" / "a.geojson", folder / "annotations" / name)
    assert_refuses(capsys, Import(), *words)


def test_files_that_are_not_read_are_named(folder, caplog):
    annotations.main(Export(start="baseline"))
    out = folder / "annotations"
    for name in ("a.geojson.txt", "a_seg.npy", "a_mask.png", "Thumbs.db"):
        (out / name).touch()
    (out / "rois").mkdir()
    caplog.clear()
    annotations.main(Import())
    assert "annotations/: left out a.geojson.txt, a_mask.png, a_seg.npy, rois, of no format" in caplog.text
    caplog.clear()
    annotations.main(Import())
    (out / "a.geojson").rename(out / "a.png.GeoJSON")
    annotations.main(Import(format=("geojson",)))
    assert "left out" not in caplog.messages[-1]


def test_one_format_of_several_is_read(folder):
    annotations.main(Export(start="baseline", format=FORMATS))
    edit(folder / "annotations" / "a.geojson", lambda features: features[1:])
    annotations.main(Import(format=("geojson",)))
    assert masks(folder, "a").max() == first_labels(folder, "a").max() - 1


def test_a_label_tiff_of_another_size_is_refused(folder, capsys):
    write_labels(folder / "mine" / "a.tif", np.eye(SIDE + 1, dtype=np.int32))
    words = "mine/a.tif is of an image of 97 x 97 px, but a is 96 x 96 px"
    assert_refuses(capsys, Import(Path("mine")), words)


def test_wrong_places(folder, capsys):
    (folder / "empty").mkdir()
    empty = Path("empty")
    for settings, words in (
        (Import(Path("nowhere")), ["nowhere/ does not exist", "annotations.py export"]),
        (Import(Path("data/selected.csv")), ["selected.csv is a file; name the folder that it is in: data"]),
        (Import(empty), ["empty/ holds no annotation"]),
        (Import(empty, format=("coco",)), ["empty/ holds no coco annotation"]),
        (Export(data=empty), ["empty/selected.csv does not exist"]),
        (Export(start="model", model=empty), ["holds no trained model"]),
        (Export(format=()), ["--format names no format"]),
    ):
        assert_refuses(capsys, settings, *words)
    assert not (folder / "annotations").exists()


@pytest.mark.slow
def test_the_script_runs_as_a_program(folder):
    exported = call(
        folder, "annotations.py", "export", "--format", "labelme", "imagej", "--start", "baseline"
    )
    assert exported.returncode == 0, exported.stderr
    imported = call(folder, "annotations.py", "import", "--format", "imagej")
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.endswith("next: python main_train.py\n")
    assert_refused(call(folder, "annotations.py", "import", "nowhere"), "nowhere/ does not exist")
    wrong = call(folder, "annotations.py")
    assert wrong.returncode == 2
    assert "{edit, export, import}" in wrong.stderr
