import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from pycocotools.coco import COCO

from mrcnn import model, segmentation
from mrcnn.config import NucleusConfig
from mrcnn.inference import tiling
from mrcnn.selftraining.start import FOLDER
from nuclei import tissue
from nuclei.errors import InputError
from nuclei.evaluation import metrics
from nuclei.io.images import read_labels, write_image, write_labels
from nuclei.outlines import geojson
from nuclei.outlines.polygons import paint
from segment import Settings, main
from tests.programs import assert_refused, call

PIXELS = np.full((300, 280, 3), 230, np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    model.MaskRCNN("inference", NucleusConfig(), folder).save(folder)
    return folder


@pytest.fixture
def segmented(monkeypatch):
    """The images that were segmented, by name; a stand-in for the network finds two nuclei in each."""
    names = []

    def find(predictor, image, overlap, progress, n_views):
        names.append(progress)
        labels = np.zeros(image.shape[:2], np.int32)
        labels[2:12, 3:9], labels[2:12, 9:20] = 2, 1
        return labels, np.float32([0.9, 0.75])

    monkeypatch.setattr(tiling, "segment", find)
    monkeypatch.setattr(model, "load", lambda *arguments, **options: SimpleNamespace(predictor=None))
    return names


def test_a_model_that_does_not_exist_is_told(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    refused = call(tmp_path, "segment.py", "a.png", "--model", "mine")
    assert_refused(refused, "mine holds no trained model", "pseudo_label.py")


def test_without_a_model_the_start_weights_outline_nuclei(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    image, truth = tissue.generate("hepatic", (256, 200), 0)
    write_image(Path("a.png"), image)
    main(Settings((Path("a.png"),)))
    assert "no model trained yet (runs/mrcnn/model/): outlines by the start weights" in caplog.text
    assert metrics.aji(truth, read_labels(Path("segmented/a.tif"))) > 0.5


def test_the_report_of_start_weights_given_by_name_is_where_it_always_is(segmented, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(Path("a.png"), PIXELS)
    main(Settings((Path("a.png"),), model=FOLDER))
    assert Path("runs/report.html").exists()
    assert not (FOLDER.parents[1] / "report.html").exists()


def test_bad_images_are_named_and_nothing_is_written(saved, tmp_path):
    (tmp_path / "c.png").write_text("not an image")
    for folder in ("x", "y"):
        write_image(tmp_path / folder / "a.png", PIXELS)
    latin_1 = os.fsdecode(b"caf\xe9.png")
    write_image(tmp_path / latin_1, PIXELS)
    for arguments, words in (
        (["b.png"], ["b.png does not exist"]),
        (["c.png"], ["c.png"]),
        ([latin_1], ["not UTF-8; rename it"]),
        (["x", "y"], ["would share the result a.tif"]),
        (["x", "--overlap", "256"], ["--overlap is 256"]),
    ):
        assert_refused(call(tmp_path, "segment.py", *arguments, "--model", saved), *words)
    assert not (tmp_path / "segmented").exists()


def test_a_model_or_a_backend_that_cannot_be_used_is_told_before_an_image_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("not an image")
    (tmp_path / "mask_rcnn.h5").touch()
    resized = {"IMAGE_SHAPE": [256, 256, 3], "IMAGE_RESIZE_MODE": "square"}
    (tmp_path / "config.json").write_text(json.dumps(resized))
    flags = ("segment.py", "a.png", "--model", ".")
    assert_refused(call(tmp_path, *flags), "learnt from resized images", "'square'")
    (tmp_path / "config.json").write_text(json.dumps(resized | {"IMAGE_RESIZE_MODE": "crop"}))
    monkeypatch.setenv("KERAS_BACKEND", "pytorch")
    assert_refused(call(tmp_path, *flags), "KERAS_BACKEND is 'pytorch'")


def test_a_place_that_cannot_hold_the_results_is_told_before_an_image_is_read(saved, tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    (tmp_path / "file").touch()
    for out in ("file", "file/below", "x" * 300):
        refused = call(tmp_path, "segment.py", "a.png", "--model", saved, "--out", out)
        assert_refused(refused, f"cannot write {out}: ")


@pytest.mark.slow
def test_images_of_any_size_get_labels_of_their_size_once(saved, tmp_path):
    write_image(tmp_path / "images" / "a.png", PIXELS)
    write_image(tmp_path / "images" / "b.png", PIXELS[:40, :50])
    first = call(tmp_path, "segment.py", "images", "--model", saved)
    assert first.returncode == 0, first.stderr
    assert read_labels(tmp_path / "segmented" / "a.tif").shape == (300, 280)
    assert read_labels(tmp_path / "segmented" / "b.tif").shape == (40, 50)
    assert (tmp_path / "segmented" / "overlays" / "a.png").exists()
    assert len(COCO(tmp_path / "segmented" / "coco.json").dataset["images"]) == 2
    again = call(tmp_path, "segment.py", "images", "--model", saved)
    assert "2 of 2 images were segmented before" in again.stdout


def test_a_damaged_result_is_made_again(saved, tmp_path, segmented, caplog):
    write_image(tmp_path / "a.png", PIXELS[:40, :50])
    settings = Settings((tmp_path / "a.png",), saved, tmp_path / "out")
    main(settings)
    labels = tmp_path / "out" / "a.tif"
    content = labels.read_bytes()
    labels.write_bytes(content[: len(content) // 2])
    main(settings)
    assert segmented == ["a.png", "a.png"] and read_labels(labels).max() == 2
    assert (
        f"{labels} cannot be read as an image: damaged, or of another format; it is made again" in caplog.text
    )
    main(settings)
    assert segmented == ["a.png", "a.png"]


def test_all_formats_show_the_same_nuclei_and_their_scores(saved, tmp_path, segmented):
    write_image(tmp_path / "a.png", PIXELS[:40, :50])
    main(Settings((tmp_path / "a.png",), saved, tmp_path / "out"))
    labels = read_labels(tmp_path / "out" / "a.tif")
    shapes = geojson.read(tmp_path / "out" / "a.geojson").shapes
    np.testing.assert_array_equal(paint([shape.outline for shape in shapes], labels.shape)[0], labels)
    features = json.loads((tmp_path / "out" / "a.geojson").read_text())["features"]
    assert [feature["properties"]["measurements"]["score"] for feature in features] == [0.9, 0.75]
    coco = COCO(tmp_path / "out" / "coco.json")
    assert [annotation["score"] for annotation in coco.dataset["annotations"]] == [0.9, 0.75]
    masks = [coco.annToMask(annotation) for annotation in coco.dataset["annotations"]]
    np.testing.assert_array_equal(masks[0] + 2 * masks[1], labels)


def test_another_format_needs_no_segmentation(saved, tmp_path, segmented):
    write_image(tmp_path / "a.png", PIXELS)
    out, images = tmp_path / "out", (tmp_path / "a.png",)
    main(Settings(images, saved, out, format=("label_tiff",)))
    assert sorted(path.name for path in out.iterdir()) == ["a.tif", "overlays", "scores", "settings.json"]
    for form, name in (("geojson", "a.geojson"), ("coco", "coco.json"), ("csv", "nuclei.csv")):
        main(Settings(images, saved, out, format=(form,)))
        assert (out / name).exists()
    assert segmented == ["a.png"]


def test_nothing_that_was_there_is_overwritten(saved, tmp_path, segmented):
    for place in ("other/a.png", "overlays/b.png", "more/c.png", "more/d.png"):
        write_image(tmp_path / place, PIXELS)
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "c.geojson").write_text("outlines of a person")
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "coco.json").write_text("annotations of a person")
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", PIXELS)
    write_labels(tmp_path / "truth" / "a.tif", np.eye(9, dtype=np.int32))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for images, out, words in (
        ("images", "images", "a.tif lies where the results go"),
        ("more", "drawn", "drawn/ holds files that were not made here"),
        ("more", "exported", "exported/ holds files that were not made here"),
        ("images", "truth", "truth/ holds files that were not made here"),
        ("overlays", ".", "b.png lies where the results go"),
    ):
        with pytest.raises(InputError, match=words):
            main(Settings((tmp_path / images,), saved, tmp_path / out))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    main(Settings((tmp_path / "images",), saved, tmp_path / "out"))
    main(Settings((tmp_path / "other",), saved, tmp_path / "out"))  # the same pixels
    assert segmented == ["a.tif"]
    (tmp_path / "out" / "d.geojson").write_text("outlines of a person")
    with pytest.raises(InputError, match="d.geojson was not made by segment.py"):
        main(Settings((tmp_path / "more",), saved, tmp_path / "out"))


def test_the_result_of_another_image_of_that_name_is_kept(saved, tmp_path, segmented):
    write_image(tmp_path / "a.png", PIXELS)
    settings = Settings((tmp_path / "a.png",), saved, tmp_path / "out")
    main(settings)
    write_image(tmp_path / "a.png", PIXELS[:100])
    main(settings)
    assert segmented == ["a.png", "a.png"]
    assert read_labels(tmp_path / "out" / "a.tif").shape == (100, 280)
    (kept,) = (tmp_path / "out" / "replaced").iterdir()
    assert read_labels(kept / "a.tif").shape == (300, 280)
    assert {path.name for path in kept.iterdir()} == {"a.tif", "a.geojson", "a.json", "a.csv"}
    assert len(COCO(tmp_path / "out" / "coco.json").dataset["images"]) == 1


@pytest.mark.parametrize(("name", "value"), [("confidence", 0.9), ("views", 2), ("overlap", 32)])
def test_an_edited_setting_segments_anew_and_keeps_what_was_there(saved, tmp_path, segmented, name, value):
    write_image(tmp_path / "a.png", PIXELS)
    settings = Settings((tmp_path / "a.png",), saved, tmp_path / "out")
    main(settings)
    main(replace(settings, **{name: value}))
    assert segmented == ["a.png", "a.png"]
    (kept,) = tmp_path.glob("replaced/*/out")
    assert (kept / "a.tif").exists() and (kept / "coco.json").exists()
    assert (tmp_path / "out" / "a.tif").exists()


def test_another_model_segments_anew(saved, tmp_path, segmented):
    write_image(tmp_path / "a.png", PIXELS)
    main(Settings((tmp_path / "a.png",), saved, tmp_path / "out"))
    other = shutil.copytree(saved, tmp_path / "other")
    main(Settings((tmp_path / "a.png",), other, tmp_path / "out"))  # the same weights elsewhere
    assert segmented == ["a.png"]
    (other / "mask_rcnn.h5").write_bytes(b"others")
    main(Settings((tmp_path / "a.png",), other, tmp_path / "out"))
    assert segmented == ["a.png", "a.png"]
    assert len(list(tmp_path.glob("replaced/*/out/a.tif"))) == 1


@pytest.mark.slow
def test_editing_a_constant_simply_works(saved, tmp_path, monkeypatch):
    """Run as a program: exit code 0 after every edit, and what it replaces is kept."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # which compiles nothing, so a program starts sooner
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}.png", PIXELS[:64, :64])
    other = shutil.copytree(saved, tmp_path / "other")
    (other / "config.json").write_text((saved / "config.json").read_text() + "\n")
    settings = {"--model": saved}
    places = ["images"]

    def anew(**edited) -> bool:
        """Whether a program with the edited settings segments anew."""
        settings.update({f"--{name}": value for name, value in edited.items()})
        flags = [part for name, value in settings.items() for part in (name, *np.atleast_1d(value))]
        finished = call(tmp_path, "segment.py", *places, *flags)
        assert finished.returncode == 0, finished.stderr
        return "images were segmented before" not in finished.stdout

    def kept() -> int:
        return len(list(tmp_path.glob("replaced/*/*/a.tif")))

    assert anew() and not anew() and kept() == 0
    assert not anew(format="label_tiff") and not anew(format=["geojson", "coco"])
    for count, (name, value) in enumerate(
        (("confidence", 0.9), ("views", 2), ("overlap", 32), ("model", other), ("confidence", 0.4)), start=1
    ):
        assert anew(**{name: value}), name
        assert kept() == count
    assert anew(out="elsewhere") and kept() == 5
    places[:] = ["images/a.png"]
    assert not anew()
    write_image(tmp_path / "c.png", PIXELS)
    places[:] = ["c.png"]
    assert anew() and kept() == 5
    assert {path.stem for path in (tmp_path / "elsewhere").glob("*.tif")} == {"a", "b", "c"}


def test_a_run_without_a_result_binds_nobody(saved, tmp_path, segmented, monkeypatch):
    write_image(tmp_path / "a.png", PIXELS)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(segmentation, "overlay", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        main(Settings((tmp_path / "a.png",), saved, tmp_path / "out"))
    main(Settings((tmp_path / "a.png",), saved, tmp_path / "out", views=4))


def test_a_killed_run_goes_on_where_it_was(saved, tmp_path, segmented, monkeypatch):
    for name in "abc":
        write_image(tmp_path / "images" / f"{name}.png", PIXELS)
    settings = Settings((tmp_path / "images",), saved, tmp_path / "out")
    find = segmentation.overlay

    def killed(image, labels):
        if segmented[-1] == "b.png":
            raise KeyboardInterrupt
        return find(image, labels)

    monkeypatch.setattr(segmentation, "overlay", killed)
    with pytest.raises(KeyboardInterrupt):
        main(settings)
    assert [path.name for path in (tmp_path / "out").glob("*.tif")] == ["a.tif"]
    assert not (tmp_path / "out" / "coco.json").exists()
    monkeypatch.setattr(segmentation, "overlay", find)
    main(settings)
    assert segmented == ["a.png", "b.png", "b.png", "c.png"]
    assert len(list((tmp_path / "out").glob("*.geojson"))) == 3
    assert len(COCO(tmp_path / "out" / "coco.json").dataset["images"]) == 3


def test_coco_holds_the_images_of_all_runs_into_the_folder(saved, tmp_path, segmented):
    for name in "ab":
        write_image(tmp_path / f"{name}.png", PIXELS)
        main(Settings((tmp_path / f"{name}.png",), saved, tmp_path / "out"))
    names = [image["file_name"] for image in COCO(tmp_path / "out" / "coco.json").dataset["images"]]
    assert names == ["a.png", "b.png"]
