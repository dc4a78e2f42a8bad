from __future__ import annotations

import errno
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.sources import read_sources, write_sources
from nuclei.io.images import read_image, write_image
from nuclei.slides import cropping
from nuclei.slides.cropping import crop_images, list_sources
from nuclei.slides.readers import ScannerSlide
from nuclei.slides.slide import Source
from tests.slide_files import GLASS, TILE, damage, tissue, write_slide

IMAGE = tissue(10, 14)
COLUMNS = ["patch", "source", "x", "y", "mpp", "width", "height", "content", "folder"]


def half_glass(height: int = 256, width: int = 512) -> np.ndarray:
    """Glass on the left, tissue on the right."""
    image = np.full((height, width, 3), GLASS, np.uint8)
    image[:, width // 2 :] = tissue(height, width - width // 2)
    return image


def test_plain_images_are_cropped_everywhere_and_remembered(images, data):
    image = np.random.default_rng(1).integers(0, 255, (10, 14, 3)).astype(np.uint8)
    image[:8, :8] = 255  # glass, but somebody cut this image for a reason
    write_image(images / "my slide.png", image)
    sources = crop_images(images, data, size=8, stride=8)
    assert sources.columns.tolist() == COLUMNS
    assert sources["patch"].tolist() == [f"my_slide_x{x}_y{y}" for y in (0, 2) for x in (0, 6)]
    assert sources["mpp"].isna().all()
    assert sources[["width", "height"]].drop_duplicates().values.tolist() == [[14, 10]]
    assert (patches.read_patch(data / "my_slide_x6_y2") == image[2:10, 6:14]).all()
    assert read_sources(data).equals(sources)


def test_a_slide_is_cropped_where_it_shows_tissue(images, data, reads):
    image = half_glass()
    write_slide(images / "a.svs", image, mpp=0.2528)
    write_image(images / "b.png", image[:64, :64])
    sources = crop_images(images, data, size=64, stride=64)
    places = [(x, y) for y in range(0, 256, 64) for x in range(256, 512, 64)]
    assert list(zip(sources["x"], sources["y"], strict=True)) == [*places, (0, 0)]
    assert sources["mpp"].tolist()[:16] == [0.2528] * 16 and np.isnan(sources["mpp"].iloc[16])
    assert sources["source"].tolist() == ["a.svs"] * 16 + ["b.png"]
    assert [box[:2] for box in reads] == [*places, (0, 0)]
    assert (patches.read_patch(data / "a_x320_y128") == image[128:192, 320:384]).all()
    assert read_sources(data).equals(sources)


def test_places_are_in_px_of_the_wanted_resolution(images, data):
    image = half_glass(512, 1024)
    write_slide(images / "a.svs", image, mpp=0.25)
    sources = crop_images(images, data, size=64, stride=64, mpp=0.5)
    assert sources[["mpp", "width", "height"]].drop_duplicates().values.tolist() == [[0.5, 512, 256]]
    assert sources["x"].min() == 256
    expected = cv2.resize(image[128:256, 640:768], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(patches.read_patch(data / "a_x320_y64") - expected.astype(float)).mean() < 2


def test_overviews_are_drawn_once(images, data, tmp_path):
    write_slide(images / "a.svs", half_glass(300, 2048))
    write_image(images / "b c.png", tissue(64, 96))
    crop_images(images, data, size=64, stride=64, overviews=tmp_path / "overviews")
    (path,) = (tmp_path / "overviews").glob("a-*.png")
    picture = read_image(path)
    assert picture.shape == (150, 1024, 3)
    expected = cv2.resize(half_glass(300, 2048), (1024, 150), interpolation=cv2.INTER_AREA)
    assert np.abs(picture - expected.astype(float)).mean() < 2
    (other,) = (tmp_path / "overviews").glob("b_c-*.png")
    assert read_image(other).shape == (64, 96, 3)

    write_image(path, IMAGE)
    crop_images(images, data, size=64, stride=64, overviews=tmp_path / "overviews")
    assert read_image(path).shape == IMAGE.shape


def test_an_overview_is_not_taken_for_that_of_another_image_of_its_name(images, data, tmp_path):
    for number, value in enumerate((50, 200)):
        write_image(images / "a.png", np.full((64, 64, 3), value, np.uint8))
        sources = crop_images(images, data / str(number), 64, 64, overviews=tmp_path / "overviews")
        name = patches.overview_name("a.png", sources["content"][0])
        assert (read_image(tmp_path / "overviews" / name) == value).all()
        assert patches.stem_of_overview(tmp_path / name) == "a"


def test_a_run_that_was_stopped_goes_on(images, data, reads, monkeypatch):
    write_slide(images / "a.svs", half_glass())
    write_image(images / "b.png", IMAGE.repeat(8, axis=0).repeat(8, axis=1))
    read = Source.read

    def stop(source, *box):
        if len(reads) == 5:
            raise KeyboardInterrupt
        return read(source, *box)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(Source, "read", stop)
        crop_images(images, data, size=64, stride=64)
    # What was finished is usable.
    names = patches.list_patches(data)
    assert len(names) == 5 and sorted(read_sources(data)["patch"]) == names

    reads.clear()
    sources = crop_images(images, data, size=64, stride=64)
    assert len(reads) == len(sources) - 5
    reads.clear()
    assert crop_images(images, data, size=64, stride=64).equals(sources)
    assert not reads


def test_damaged_tiles_are_left_out_and_told(images, data, caplog):
    damage(write_slide(images / "a.svs", tissue(256, 256)), 5, 6)
    sources = crop_images(images, data, size=TILE, stride=TILE)
    assert len(sources) == 14
    assert sorted(read_sources(data)["patch"]) == patches.list_patches(data)
    (line,) = [line for line in caplog.messages if "damaged" in line]
    assert "a.svs: 2 of 16 patches lie on damaged parts of the file (the first at x 64, y 64)" in line


def test_a_slide_that_is_all_glass_is_passed_over(images, data, caplog):
    write_slide(images / "glass.svs", np.full((256, 256, 3), GLASS, np.uint8))
    with pytest.raises(InputError, match="no patch could be cut from .*images/"):
        crop_images(images, data, size=64, stride=64)
    write_slide(images / "tissue.svs", tissue(128, 128))
    assert len(crop_images(images, data, size=64, stride=64)) == 4
    assert caplog.text.count("glass.svs shows no tissue and is passed over") == 2


def test_what_lies_beside_a_slide_is_no_image(images, data):
    write_slide(images / "a.svs", tissue(128, 128))
    (images / "a").mkdir()  # the companion folder of a .mrxs
    write_image(images / "a" / "Slidedat.png", IMAGE)
    (images / "notes.txt").write_text("")
    assert set(crop_images(images, data, size=64, stride=64)["source"]) == {"a.svs"}
    (images / "b.vms").write_text("[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=c.jpg\n")
    (images / "c.jpg").write_bytes(b"")
    assert [path.name for path in cropping.list_sources(images)] == ["a.svs", "b.vms"]


def test_images_whose_patches_would_share_a_name_are_refused(images, data):
    for name in ("a b", "a_b"):
        write_image(images / f"{name}.png", IMAGE)
    with pytest.raises(InputError, match="rename one"):
        crop_images(images, data, size=8, stride=8)
    assert not data.exists()


def test_an_image_smaller_than_a_patch_is_found_before_anything_is_cut(images, data):
    write_image(images / "large.png", tissue(32, 32))
    write_image(images / "small.png", IMAGE)
    with pytest.raises(InputError, match=r"small\.png is 14 x 10 px, smaller than a patch of 16 px"):
        crop_images(images, data, size=16, stride=16)
    for path in images.iterdir():
        path.unlink()
    write_slide(images / "small.svs", tissue(100, 100))
    with pytest.raises(InputError, match=r"small\.svs is 50 x 50 px at 0\.5 um/px, smaller"):
        crop_images(images, data, size=64, stride=64, mpp=0.5)
    assert not data.exists()


def test_a_broken_image_is_refused_before_anything_is_cut(images, data):
    write_image(images / "a.png", IMAGE)
    write_image(images / "b.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    content = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(content[: len(content) // 2])  # the header is there
    with pytest.raises(InputError, match=r"b\.png"):
        crop_images(images, data, size=8, stride=8)
    assert not data.exists()


def test_a_grey_image_is_refused_before_anything_is_cut(images, data):
    write_image(images / "a.png", IMAGE)
    grey = np.random.default_rng(0).integers(0, 255, (10, 14, 1)).astype(np.uint8)
    write_image(images / "b.png", np.repeat(grey, 3, axis=2))
    with pytest.raises(InputError, match=r"b\.png is grey; give the image in the colours of its stain"):
        crop_images(images, data, size=8, stride=8)
    assert not data.exists()


def test_grey_parts_of_a_coloured_image_are_left_out_and_told(images, data, caplog):
    image = np.random.default_rng(0).integers(0, 255, (8, 16, 3)).astype(np.uint8)
    image[:, 8:] = image[:, 8:, :1]  # a label beside the tissue
    write_image(images / "a.png", image)
    crop_images(images, data, size=8, stride=8)
    assert patches.list_patches(data) == ["a_x0_y0"]
    assert "a.png: 1 of 2 patches show no colour (the first at x 8, y 0) and are left out" in caplog.text


def test_a_full_disk_is_one_clear_line_and_keeps_what_was_finished(images, data, monkeypatch):
    write_slide(images / "a.svs", tissue(256, 256))
    write, written = Path.write_bytes, []

    def fill_up(path, content):
        written.append(path)
        if len(written) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", fill_up)
        with pytest.raises(InputError, match="cannot write .*No space left on device; check"):
            crop_images(images, data, size=64, stride=64)
    names = patches.list_patches(data)
    assert len(names) == 6 and sorted(read_sources(data)["patch"]) == names
    assert len(crop_images(images, data, size=64, stride=64)) == 16


def test_a_folder_that_may_not_be_read(images, data, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(InputError, match="images cannot be read: Permission denied; check its permissions"):
        crop_images(images, data)


def test_patches_of_somebody_else_and_of_another_size_are_refused(images, data):
    patches.write_patch(data, "mine", tissue(16, 16))
    write_image(images / "a.png", tissue(32, 32))
    with pytest.raises(InputError, match="16 x 16 px, such as mine"):
        crop_images(images, data, size=8, stride=8)
    assert patches.list_patches(data) == ["mine"]


def test_a_table_of_an_older_version_is_read(images, data):
    write_image(images / "a.png", IMAGE)
    sources = crop_images(images, data, size=8, stride=8)
    write_sources(data, sources[["patch", "source", "x", "y"]])
    assert crop_images(images, data, size=8, stride=8).equals(sources)
    assert read_sources(data).equals(sources)


def test_patches_of_other_images_stay_in_the_table(images, data, tmp_path):
    write_image(images / "a.png", IMAGE)
    first = crop_images(images, data, size=8, stride=8)
    write_image(tmp_path / "more" / "b.png", IMAGE)
    second = crop_images(tmp_path / "more", data, size=8, stride=8)
    assert second["source"].unique().tolist() == ["b.png"]
    assert read_sources(data).equals(pd.concat([first, second], ignore_index=True))


def test_memory_does_not_grow_with_the_slide(images, data, monkeypatch):
    """No region that is decoded is larger than a block, whatever the size of the slide."""
    monkeypatch.setattr("nuclei.slides.slide.BLOCK", 128)
    write_slide(images / "a.svs", half_glass(640, 1280), levels=(1,))
    areas, region = [], ScannerSlide.region

    def watch(slide, level, left, top, width, height):
        areas.append(width * height)
        return region(slide, level, left, top, width, height)

    monkeypatch.setattr(ScannerSlide, "region", watch)
    crop_images(images, data, size=64, stride=64)
    assert max(areas) <= 140 * 140


def test_unreadable_tiff_strips_are_told_like_any_broken_image(images, data):
    tifffile.imwrite(images / "a.tif", tissue(64, 64), photometric="rgb")
    with (images / "a.tif").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(InputError, match=r"a\.tif"):
        crop_images(images, data, size=16, stride=16)


def test_images_whose_names_differ_in_case_alone_are_refused(images, data):
    # On Windows and macOS their patches would be the same folders.
    for name in ("Slide.png", "slide.jpg"):
        write_image(images / name, IMAGE)
    with pytest.raises(InputError, match="would share their names; rename one"):
        crop_images(images, data, size=8, stride=8)


def test_folders_of_images_within_the_folder_are_named(tmp_path, caplog):
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "notes").mkdir()
    assert [path.name for path in list_sources(tmp_path)] == ["a.png"] and not caplog.text
    write_image(tmp_path / "liver" / "b.png", np.zeros((8, 8, 3), np.uint8))
    assert [path.name for path in list_sources(tmp_path)] == ["a.png"]
    assert "left out the folders liver; put all images into one" in caplog.text
