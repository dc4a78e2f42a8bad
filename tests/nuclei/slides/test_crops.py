"""Crops of earlier runs, after a change of the settings or of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from nuclei.errors import InputError
from nuclei.folders.patches import image_path, list_patches, read_patch, write_masks, write_patch
from nuclei.folders.sources import read_sources
from nuclei.io.images import write_image
from nuclei.slides.cropping import crop_images
from nuclei.slides.slide import Source
from tests.kills import kill_after
from tests.slide_files import tissue, write_slide

OTHER = np.zeros((16, 16, 3), np.uint8)


def annotate(patch: Path) -> None:
    write_masks(patch, np.ones(read_patch(patch).shape[:2], np.int32))


def replaced(data: Path) -> list[str]:
    """The names of all patches that were set aside."""
    return sorted(path.name for path in data.glob("replaced/*/*"))


def assert_table_fits(data: Path, *own: str) -> None:
    """Each patch but the user's `own` has its row, and each row its patch."""
    rows = pd.read_csv(data / "sources.csv")["patch"]
    assert sorted(rows) == sorted(set(list_patches(data)) - set(own))


def test_another_stride_reuses_the_patches_at_the_same_places(images, data, reads, caplog):
    write_image(images / "a.png", tissue(64, 64))
    crop_images(images, data, size=16, stride=16)
    before = (data / "a_x48_y48" / "images").stat().st_mtime_ns
    reads.clear()
    with caplog.at_level("INFO"):
        sources = crop_images(images, data, size=16, stride=24)
    assert sorted(zip(sources["x"], sources["y"], strict=True)) == [
        (x, y) for x in (0, 24, 48) for y in (0, 24, 48)
    ]
    assert list_patches(data) == sorted(sources["patch"])
    assert len(reads) == 9 - 4  # the corners are there already
    assert (data / "a_x48_y48" / "images").stat().st_mtime_ns == before
    assert len(replaced(data)) == 16 - 4
    (line,) = [line for line in caplog.messages if "not cut any more" in line]
    assert "12 cut with another --stride" in line
    assert read_sources(data).equals(sources)


def test_a_grid_that_has_the_places_of_the_first_adds_to_it(images, data):
    write_image(images / "a.png", tissue(40, 64))
    before = crop_images(images, data, size=16, stride=16)
    assert before["y"].unique().tolist() == [0, 16, 24]
    assert set(before["patch"]) < set(crop_images(images, data, size=16, stride=8)["patch"])
    assert not replaced(data)


def test_annotated_patches_between_the_new_ones_stay(images, data):
    write_image(images / "a.png", tissue(64, 64))
    crop_images(images, data, size=16, stride=16)
    annotate(data / "a_x16_y0")
    sources = crop_images(images, data, size=16, stride=48)
    assert sorted(sources["patch"]) == ["a_x0_y0", "a_x0_y48", "a_x48_y0", "a_x48_y48"]
    assert list_patches(data) == sorted([*sources["patch"], "a_x16_y0"])
    assert len(replaced(data)) == 16 - 5
    assert_table_fits(data)


@pytest.mark.parametrize("change", [{"mpp": 0.5}, {"size": 32, "stride": 32}])
def test_another_size_or_resolution(images, data, change):
    write_slide(images / "a.svs", tissue(256, 256))
    settings = {"size": 64, "stride": 64, "mpp": 0.25}
    before = crop_images(images, data, **settings)
    sources = crop_images(images, data, **settings | change)
    assert list_patches(data) == sorted(sources["patch"])
    assert replaced(data) == sorted(before["patch"])
    assert_table_fits(data)
    assert read_patch(data / "a_x0_y0").shape[0] == (settings | change)["size"]

    annotate(data / "a_x0_y0")
    table = (data / "sources.csv").read_bytes()
    with pytest.raises(
        InputError, match=r"annotated .* \(1, such as a_x0_y0\); .* another --data, or pass --replace:"
    ):
        crop_images(images, data, **settings)
    assert list_patches(data) == sorted(sources["patch"]) and (data / "sources.csv").read_bytes() == table

    assert sorted(crop_images(images, data, **settings, replace=True)["patch"]) == sorted(before["patch"])
    (mask,) = data.glob("replaced/*/a_x0_y0/masks/*.png")
    assert mask.exists() and not (data / "a_x0_y0" / "masks").exists()


def test_the_resolution_that_images_are_said_to_have(images, data, reads):
    write_image(images / "a.png", tissue(64, 64))
    crop_images(images, data, size=16, stride=16)
    reads.clear()
    sources = crop_images(images, data, size=16, stride=16, source_mpp=0.25)  # taken as they are, as before
    assert set(sources["mpp"]) == {0.25} and not reads and not replaced(data)
    assert read_sources(data).equals(sources)
    assert len(crop_images(images, data, size=16, stride=16, source_mpp=0.125)) == 4
    assert len(replaced(data)) == 16


def test_patches_of_somebody_else_stay(images, data):
    write_patch(data, "mine", tissue(16, 16))
    write_patch(data, "a_x0_y0", OTHER)  # by chance the name of a patch
    write_image(images / "a.png", tissue(32, 32))
    for stride in (16, 8, 16):
        sources = crop_images(images, data, size=16, stride=stride)
        assert "a_x0_y0" not in set(sources["patch"])
        assert_table_fits(data, "mine", "a_x0_y0")
    assert (read_patch(data / "a_x0_y0") == OTHER).all()
    assert not {"mine", "a_x0_y0"} & set(replaced(data))


def test_a_patch_whose_name_is_taken_is_told(images, data, caplog):
    write_patch(data, "a_x0_y0", OTHER)
    write_image(images / "a.png", tissue(32, 32))
    crop_images(images, data, size=16, stride=16)
    assert "1 of 4 patches are not cut, since others in" in caplog.text and "such as a_x0_y0" in caplog.text


def test_a_table_that_was_lost_is_written_again(images, data):
    write_image(images / "a.png", tissue(32, 32))
    sources = crop_images(images, data, size=16, stride=16)
    (data / "sources.csv").unlink()
    assert crop_images(images, data, size=16, stride=16).equals(sources)
    assert read_sources(data).equals(sources)


def test_a_second_run_finds_nothing_to_do(images, data, tmp_path, monkeypatch, caplog):
    write_slide(images / "a.svs", tissue(256, 256))
    settings = {"size": 64, "stride": 64, "overviews": tmp_path / "overviews"}
    sources = crop_images(images, data, **settings)
    looked, look = [], Source.overview
    monkeypatch.setattr(Source, "overview", lambda *args: looked.append(args) or look(*args))
    with caplog.at_level("INFO"):
        assert crop_images(images, data, **settings).equals(sources)
    assert "are all there" in caplog.text and not looked

    next((data / "a_x0_y0" / "images").glob("*")).parent.parent.rename(tmp_path / "away")
    assert crop_images(images, data, **settings).equals(sources)
    assert (data / "a_x0_y0").exists() and looked


def test_an_image_that_another_of_its_name_replaced(images, data, caplog):
    image = tissue(64, 64)
    tifffile.imwrite(images / "a.tif", image, photometric="rgb")  # not compressed: as many bytes
    write_slide(images / "b.svs", tissue(128, 128))
    before = crop_images(images, data, size=32, stride=32)
    for path in images.iterdir():
        path.touch()  # as a copy: the same content at another time
    crop_images(images, data, size=32, stride=32)
    assert not replaced(data)

    annotate(data / "a_x0_y0")
    tifffile.imwrite(images / "a.tif", image[::-1], photometric="rgb")
    with caplog.at_level("INFO"):
        after = crop_images(images, data, size=32, stride=32)
    assert replaced(data) == ["a_x0_y32", "a_x32_y0", "a_x32_y32"] and "3 of an earlier a.tif" in caplog.text
    assert (read_patch(data / "a_x32_y0") == image[::-1][:32, 32:]).all()
    # What was annotated stays, as it was.
    assert (read_patch(data / "a_x0_y0") == image[:32, :32]).all() and "a_x0_y0" not in set(after["patch"])
    rows = read_sources(data).set_index("patch")["content"]
    assert rows["a_x0_y0"] == before["content"][0] != rows["a_x32_y0"]
    assert_table_fits(data)

    write_slide(images / "b.svs", tissue(128, 128)[::-1].copy())
    crop_images(images, data, size=32, stride=32)
    assert len([name for name in replaced(data) if name.startswith("b_")]) == 16


def test_an_annotated_patch_that_shows_the_same_goes_with_the_new_image(images, data):
    image = tissue(32, 64)
    write_image(images / "a.png", image)
    crop_images(images, data, size=32, stride=32)
    annotate(data / "a_x0_y0")
    image[:, 32:] = 255
    write_image(images / "a.png", image)
    assert sorted(crop_images(images, data, size=32, stride=32)["patch"]) == ["a_x0_y0", "a_x32_y0"]
    assert (data / "a_x0_y0" / "masks").exists() and replaced(data) == ["a_x32_y0"]


def test_an_annotated_patch_of_another_resolution_is_in_the_way_of_a_new_image(images, data):
    write_slide(images / "a.svs", tissue(128, 128))
    crop_images(images, data, size=64, stride=64)
    annotate(data / "a_x0_y0")
    write_slide(images / "a.svs", tissue(128, 128, seed=1), mpp=0.5)
    with pytest.raises(InputError, match="annotated patches cut at another size or resolution"):
        crop_images(images, data, size=64, stride=64, mpp=0.5)


def test_an_image_that_is_gone(images, data, tmp_path, caplog):
    for name in ("a", "b"):
        write_image(images / f"{name}.png", tissue(32, 32, seed=ord(name)))
    write_image(tmp_path / "more" / "c.png", tissue(32, 32))
    crop_images(images, data, size=16, stride=16)
    crop_images(tmp_path / "more", data, size=16, stride=16)
    annotate(data / "a_x16_y0")
    (images / "a.png").unlink()
    with caplog.at_level("INFO"):
        crop_images(images, data, size=16, stride=16)
    assert replaced(data) == ["a_x0_y0", "a_x0_y16", "a_x16_y16"]
    assert "3 of a.png, which is gone" in caplog.text
    # Those of another folder stay.
    assert {name[0] for name in list_patches(data)} == {"a", "b", "c"}
    assert_table_fits(data)


def test_an_image_of_the_same_stem(images, data):
    write_image(images / "a.png", tissue(64, 64))
    crop_images(images, data, size=64, stride=64)
    (images / "a.png").unlink()
    tifffile.imwrite(images / "a.tif", tissue(64, 64)[::-1], photometric="rgb")
    sources = crop_images(images, data, size=64, stride=64)
    assert sources["source"].tolist() == ["a.tif"] and replaced(data) == ["a_x0_y0"]
    assert read_sources(data).equals(sources)


@pytest.mark.parametrize("then", [{}, {"stride": 16}, {"size": 8, "stride": 16}])
def test_a_kill_at_any_moment_loses_nothing(images, tmp_path, monkeypatch, then):
    monkeypatch.setattr("nuclei.slides.cropping.WRITERS", 1)
    write_image(images / "a.png", tissue(32, 32))
    write_slide(images / "b.svs", tissue(32, 40))
    first, second = {"size": 16, "stride": 16}, {"size": 16, "stride": 12}
    own = [] if "size" in then else ["mine"]  # of the other size, it would be in the way
    for renames in range(100):
        data = tmp_path / str(renames)
        for name in own:
            write_patch(data, name, OTHER)
        crops = crop_images(images, data, **first)["patch"]
        before = {(name, image_path(data / name).read_bytes()) for name in crops}
        if not then:
            annotate(data / "a_x16_y0")
        killed = kill_after(monkeypatch, renames, lambda data=data: crop_images(images, data, **second))
        there = set(list_patches(data))
        assert set(pd.read_csv(data / "sources.csv")["patch"]) <= there
        assert set(read_sources(data)["patch"]) == there - set(own)
        sources = crop_images(images, data, **second | then)
        assert_table_fits(data, *own)
        assert set(sources["patch"]) <= set(list_patches(data))
        there = [*data.glob("*_x*"), *data.glob("replaced/*/*")]
        assert before <= {(path.name, image_path(path).read_bytes()) for path in there}
        assert then or (data / "a_x16_y0" / "masks").exists()
        if not killed:
            break
    assert renames > 10 and not killed
