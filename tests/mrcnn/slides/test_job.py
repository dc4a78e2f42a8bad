import gzip
import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
import tifffile
import zarr

from mrcnn.config import fingerprint
from mrcnn.inference import tiling
from mrcnn.segmentation import segment_slides
from nuclei.errors import InputError
from nuclei.io import files
from nuclei.outlines import label_slides
from nuclei.outlines.polygons import outlines, paint
from nuclei.slides.slide import open_source
from tests.mrcnn.slides.stub import Stub
from tests.slide_files import damage, tissue, write_slide


def segment(slide, model, out, **options):
    jobs, troubles = segment_slides([slide], model, out, **{"block": 400, **options})
    return jobs[0], troubles


def nuclei(path) -> set[bytes]:
    """The outlines of a GeoParquet file."""
    shapes = geopandas.read_parquet(path).geometry
    return {shape.normalize().wkb for shape in shapes}


def test_the_nuclei_do_not_depend_on_the_size_of_the_blocks(slide, saved, tmp_path):
    found = [
        nuclei(segment(slide, saved, tmp_path / str(block), block=block)[0].table)
        for block in (300, 600, 4096)
    ]
    assert len(found[0]) > 90
    assert all(each == found[0] for each in found)


def test_they_are_those_of_the_image_as_a_whole(tmp_path, saved):
    path = write_slide(tmp_path / "s.svs", tissue(900, 1000))
    job, _ = segment(path, saved, tmp_path / "out")
    with open_source(path) as source:
        image = source.read(0, 0, 1000, 900)
    labels, scores = tiling.segment(Stub(), image)
    assert nuclei(job.table) == {outline.normalize().wkb for outline in outlines(labels)}
    table = geopandas.read_parquet(job.table)
    assert sorted(table["score"]) == pytest.approx(sorted(scores))


def test_the_table_has_outlines_in_full_resolution_and_measurements_in_um(slide, saved, tmp_path):
    job, troubles = segment(slide, saved, tmp_path / "out")
    assert not troubles
    table = geopandas.read_parquet(job.table)
    np.testing.assert_allclose(table["Area µm^2"], table.geometry.area / 16, rtol=1e-5)
    np.testing.assert_allclose(table["Centroid X µm"], table.geometry.centroid.x / 4, rtol=1e-5)
    assert table["Distance to nearest nucleus µm"].between(1, 100).all()
    assert table["Hematoxylin: Mean"].gt(0.05).all()


def test_a_finer_slide_is_seen_at_the_resolution_of_the_model(tmp_path, saved):
    image = tissue(600, 700)
    fine = write_slide(tmp_path / "fine.svs", image.repeat(2, axis=0).repeat(2, axis=1), mpp=0.125)
    coarse = write_slide(tmp_path / "coarse.svs", image)
    tables = [
        geopandas.read_parquet(segment(path, saved, tmp_path / path.stem)[0].table) for path in (fine, coarse)
    ]
    assert len(tables[0]) == pytest.approx(len(tables[1]), abs=3)
    assert tables[0].total_bounds[2] > 1300
    assert tables[0]["Area µm^2"].mean() == pytest.approx(tables[1]["Area µm^2"].mean(), rel=0.05)


def test_geojson_has_every_nucleus_with_its_measurements(slide, saved, tmp_path):
    job, _ = segment(slide, saved, tmp_path / "out")
    plain, packed = job.export("geojson"), job.export("geojson_gz")
    content = json.loads(plain.read_text("utf-8"))
    assert gzip.decompress(packed.read_bytes()).decode() == plain.read_text("utf-8")
    shapes = {shapely.geometry.shape(each["geometry"]).normalize().wkb for each in content["features"]}
    assert shapes == nuclei(job.table)
    first = content["features"][0]["properties"]
    assert first["objectType"] == "detection" and first["classification"]["name"] == "nucleus"
    assert {"score", "Area µm^2", "Hematoxylin: Mean", "Centroid X µm"} <= first["measurements"].keys()
    assert len({each["id"] for each in content["features"]}) == len(shapes)


def test_label_images_show_the_nuclei_of_the_table(slide, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(label_slides, "CHUNK", 256)
    monkeypatch.setattr(label_slides, "SMALLEST", 500)
    job, _ = segment(slide, saved, tmp_path / "out")
    expected, _ = paint(list(geopandas.read_parquet(job.table).geometry), (900, 1200))
    with tifffile.TiffFile(job.export("label_tiff")) as tiff:
        np.testing.assert_array_equal(tiff.asarray(), expected)
        assert tiff.pages[0].is_tiled and tiff.is_bigtiff
    group = zarr.open_group(job.export("ome_zarr"), mode="r")
    np.testing.assert_array_equal(group["0"][:], expected)
    np.testing.assert_array_equal(group["2"][:], expected[::4, ::4])
    (scales,) = group.attrs["multiscales"]
    assert scales["version"] == "0.4" and [axis["name"] for axis in scales["axes"]] == ["y", "x"]
    assert scales["datasets"][2]["coordinateTransformations"][0]["scale"] == [1.0, 1.0]
    assert (job.out / "s.ome.zarr" / "0" / "1" / "2").is_file()  # nested, as NGFF wants it


def test_a_region_keeps_the_nuclei_whose_centre_lies_in_it(slide, saved, tmp_path):
    region = shapely.box(200, 150, 700, 600)
    feature = {"type": "Feature", "geometry": shapely.geometry.mapping(region), "properties": {}}
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    whole = geopandas.read_parquet(segment(slide, saved, tmp_path / "whole")[0].table)
    part = segment(slide, saved, tmp_path / "part", region=tmp_path / "roi.geojson")[0].table
    inside = whole[whole.geometry.centroid.within(region)].geometry
    assert len(inside) > 20
    assert nuclei(part) == {shape.normalize().wkb for shape in inside}


def test_a_killed_run_goes_on_at_the_next_block(slide, saved, tmp_path, monkeypatch):
    expected = nuclei(segment(slide, saved, tmp_path / "whole")[0].table)
    seen, look = [], Stub.predict

    def predict(stub, images, times):
        seen.append(len(images))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return look(stub, images, times)

    monkeypatch.setattr(Stub, "predict", predict)
    with pytest.raises(KeyboardInterrupt):
        segment(slide, saved, tmp_path / "out")
    assert not (tmp_path / "out" / "s.parquet").exists()
    seen.extend([0])  # past the fatal one
    job, _ = segment(slide, saved, tmp_path / "out")
    assert nuclei(job.table) == expected
    batches = len(seen)
    segment(slide, saved, tmp_path / "out", block=1024)
    assert len(seen) == batches  # nothing is left to do


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(slide, saved, tmp_path, monkeypatch):
    replace, count = files.replace, []

    def full(source, target):
        count.append(target)
        if len(count) > 6:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched, pytest.raises(InputError, match="No space left on device"):
        patched.setattr(files, "replace", full)
        segment(slide, saved, tmp_path / "out")
    assert not (tmp_path / "out" / "s.parquet").exists()
    job, _ = segment(slide, saved, tmp_path / "out")
    assert nuclei(job.table) == nuclei(segment(slide, saved, tmp_path / "whole")[0].table)


def test_damage_is_named_and_the_rest_is_there(tmp_path, saved):
    image = tissue(800, 900)
    path = write_slide(tmp_path / "s.svs", image)
    whole = geopandas.read_parquet(segment(path, saved, tmp_path / "whole")[0].table)
    damage(path, 4 * 15 + 7)  # around x 480, y 288
    job, troubles = segment(path, saved, tmp_path / "out")
    assert (
        len(troubles) == 1
        and "s.svs is damaged: " in troubles[0]
        and "their nuclei are missing" in troubles[0]
    )
    found = geopandas.read_parquet(job.table)
    far = shapely.box(160, 0, 800, 640)
    assert 0 < len(found) < len(whole)
    outside = {shape.normalize().wkb for shape in whole.geometry if not shape.intersects(far)}
    assert outside and outside <= nuclei(job.table)
    assert segment(path, saved, tmp_path / "out")[1] == troubles  # said again


def test_a_block_that_fails_is_left_out_and_done_by_the_next_run(slide, saved, tmp_path, monkeypatch, caplog):
    whole = nuclei(segment(slide, saved, tmp_path / "whole")[0].table)
    seen, look = [], Stub.predict

    def predict(stub, images, times):
        seen.append(1)
        if len(seen) == 5:
            raise ValueError("the library stumbles")
        return look(stub, images, times)

    monkeypatch.setattr(Stub, "predict", predict)
    job, troubles = segment(slide, saved, tmp_path / "out")
    assert "1 block(s) of" in troubles[0] and "of s.svs failed and is left out: ValueError" in caplog.text
    assert len(nuclei(job.table)) < len(whole)
    job, troubles = segment(slide, saved, tmp_path / "out")
    assert not troubles and nuclei(job.table) == whole


def test_other_settings_set_the_result_aside(slide, saved, tmp_path):
    job, _ = segment(slide, saved, tmp_path / "out")
    job.export("geojson")
    job, _ = segment(slide, saved, tmp_path / "out", mpp=0.28)
    (kept,) = (tmp_path / "out" / "replaced").iterdir()
    assert {path.name for path in kept.iterdir()} == {"s.parquet", "s.geojson", "s"}
    assert job.table.exists() and not (tmp_path / "out" / "s.geojson").exists()
    other = shutil.copytree(saved, tmp_path / "other")
    (other / "mask_rcnn.h5").write_bytes(b"others")
    assert fingerprint(other) != fingerprint(saved)
    segment(slide, other, tmp_path / "out")
    assert len(list(tmp_path.glob("replaced/*/out/s.parquet"))) == 1


def test_a_slide_of_glass_has_no_nuclei(saved, tmp_path, caplog):
    path = write_slide(tmp_path / "s.svs", np.full((600, 600, 3), (242, 240, 243), np.uint8))
    job, troubles = segment(path, saved, tmp_path / "out")
    assert not troubles and "shows no tissue" in caplog.text
    assert json.loads(job.export("geojson").read_text()) == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mpp": 0.5}, "learnt at 0.25 um per px"),
        ({"mpp": -1}, "must be above 0"),
        ({"region": Path("no.geojson")}, "no.geojson does not exist"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "does not answer"),
    ],
)
def test_what_cannot_be_is_told(slide, saved, tmp_path, monkeypatch, options, words):
    monkeypatch.setattr("nuclei.cluster.CONNECT", 1)
    with pytest.raises(InputError, match=words):
        segment(slide, saved, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_region_elsewhere_and_one_without_an_area_are_told(slide, saved, tmp_path):
    for shapes, words in (
        ([shapely.box(5000, 0, 6000, 900)], "lies outside of"),
        ([], "no annotation with an area"),
    ):
        features = [
            {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": {}}
            for shape in shapes
        ]
        path = tmp_path / "roi.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        with pytest.raises(InputError, match=words):
            segment(slide, saved, tmp_path / "out", region=path)
    assert not (tmp_path / "out").exists()


def test_a_file_of_somebody_else_is_not_overwritten(slide, saved, tmp_path):
    segment(slide, saved, tmp_path / "out")
    other = shutil.copy(slide, tmp_path / "b.svs")
    (tmp_path / "out" / "b.geojson").write_text("drawn by hand")
    with pytest.raises(InputError, match="b.geojson was not made by segment.py"):
        segment(Path(other), saved, tmp_path / "out")
