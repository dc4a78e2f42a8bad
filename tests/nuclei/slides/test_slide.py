from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nuclei.errors import InputError
from nuclei.io.images import write_image
from nuclei.slides import levels, readers
from nuclei.slides.levels import UnreadableRegion
from nuclei.slides.slide import UNREADABLE, open_source, tissue_mask
from tests.slide_files import GLASS, TILE, damage, tissue, write_pyramid, write_slide

IMAGE = tissue(300, 400)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference, grey levels."""
    assert a.shape == b.shape
    return np.abs(a.astype(float) - b).mean()


@pytest.mark.parametrize("write", [write_slide, write_pyramid])
def test_a_slide_is_read_as_it_is_at_its_own_resolution(tmp_path, write):
    # OpenSlide reads the first, tifffile the second.
    path = write(tmp_path / "a.tif", IMAGE)
    with open_source(path, mpp=0.25, source_mpp=0.25) as source:
        assert (source.width, source.height, source.mpp, source.is_slide) == (400, 300, 0.25, True)
        assert (source.read(37, 101, 130, 90) == IMAGE[101:191, 37:167]).all()
        assert (source.read(0, 0, 400, 300) == IMAGE).all()


@pytest.mark.parametrize("write", [write_slide, write_pyramid])
@pytest.mark.parametrize("mpp", [0.125, 0.2, 0.4, 0.5, 1.3])
def test_a_slide_is_read_at_another_resolution_without_seams(tmp_path, write, mpp):
    path = write(tmp_path / "a.tif", IMAGE)
    with open_source(path, mpp=mpp, source_mpp=0.25) as source:
        size = int(400 * 0.25 / mpp), int(300 * 0.25 / mpp)
        assert (source.width, source.height, source.mpp) == (*size, mpp)
        whole = source.read(0, 0, *size)
        shown = IMAGE[: round(size[1] * mpp / 0.25), : round(size[0] * mpp / 0.25)]
        assert difference(whole, cv2.resize(shown, size, interpolation=cv2.INTER_AREA)) < 3

        left, top = size[0] // 3, size[1] // 2
        pieces = [
            [source.read(x, y, w, h) for x, w in ((0, left), (left, size[0] - left))]
            for y, h in ((0, top), (top, size[1] - top))
        ]
        assembled = np.vstack([np.hstack(row) for row in pieces])
        assert np.abs(assembled.astype(int) - whole).max() <= 2  # the rounding of the kernel


def test_positions_do_not_drift_across_a_slide(tmp_path):
    # A line 3000 px from the left is found at the same um when the slide is read at 0.3 um/px.
    image = np.full((128, 3200, 3), 255, np.uint8)
    image[:, 3000:3006] = 0
    with open_source(write_slide(tmp_path / "a.svs", image, mpp=0.2528), mpp=0.3) as source:
        strip = source.read(source.width - 400, 20, 400, 10)
    darkness = 255 - strip[..., 0].mean(axis=0)
    centre = source.width - 400 + (darkness * (np.arange(400) + 0.5)).sum() / darkness.sum()
    assert centre * 0.3 == pytest.approx(3003 * 0.2528, abs=0.05)


def test_a_level_close_to_the_wanted_resolution_is_taken_as_it_is(tmp_path):
    path = write_slide(tmp_path / "a.svs", IMAGE, mpp=0.2455)
    with open_source(path, mpp=1) as source:
        assert (source.width, source.height) == (100, 75)
        assert source.mpp == pytest.approx(0.982)
        assert (
            source.read(0, 0, 100, 75) == cv2.resize(IMAGE, (100, 75), interpolation=cv2.INTER_AREA)
        ).all()


def test_only_a_fine_enough_level_is_read(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", IMAGE, levels=(1, 2, 4))
    damage(path, *range(12), level=1)
    with open_source(path, mpp=1, source_mpp=0.25) as source:
        source.read(0, 0, source.width, source.height)
    with open_source(path, mpp=0.7, source_mpp=0.25) as source, pytest.raises(UnreadableRegion):
        source.read(0, 0, source.width, source.height)


def test_a_coarser_slide_is_enlarged_and_that_is_told_once(tmp_path, caplog):
    path = write_slide(tmp_path / "a.svs", IMAGE, mpp=0.5)
    for _ in range(2):
        with open_source(path, mpp=0.25) as source:
            assert (source.width, source.height, source.mpp) == (800, 600, 0.25)
    (line,) = caplog.messages
    assert "a.svs has 0.5 um/px and is enlarged to 0.25" in line


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("subifds", [False, True])
def test_16_bits_planes_and_subifds(tmp_path, planar, subifds):
    image = IMAGE.astype(np.uint16) * 257
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "tile": (TILE, TILE), "planarconfig": planar, "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        for factor in (1, 4):
            level = image[::factor, ::factor]
            level = np.moveaxis(level, -1, 0) if planar == "separate" else level
            branch = {"subifds": 1} if subifds and factor == 1 else {}
            tiff.write(level, subfiletype=int(factor > 1), **options, **branch)
    with open_source(path, source_mpp=0.25) as source:
        assert source.is_slide
        assert (source.read(50, 60, 200, 200) == IMAGE[60:260, 50:250]).all()
    with open_source(path, mpp=1, source_mpp=0.25) as source:
        assert (source.read(0, 0, 100, 75) == IMAGE[::4, ::4]).all()


def test_grey_and_transparent_slides(tmp_path):
    grey = write_pyramid(tmp_path / "grey.tif", IMAGE[..., 0], photometric="minisblack")
    opacity = np.zeros((300, 400, 1), np.uint8)
    opacity[:, 200:] = 255
    clear = write_pyramid(tmp_path / "clear.tif", np.dstack([IMAGE, opacity]), extrasamples=["unassalpha"])
    with open_source(grey, source_mpp=0.25) as source:
        assert (source.read(0, 0, 400, 300) == IMAGE[..., :1]).all()
    with open_source(clear, source_mpp=0.25) as source:
        pixels = source.read(0, 0, 400, 300)
    assert (pixels[:, :200] == 255).all() and (pixels[:, 200:] == IMAGE[:, 200:]).all()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}, 0.25),
        ({"metadata": {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}}, 0.5),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),  # no microscope's
    ],
)
def test_the_resolution_that_a_tiff_states(tmp_path, options, expected):
    path, shared = tmp_path / "a.tif", {"tile": (TILE, TILE), "photometric": "rgb"}
    with tifffile.TiffWriter(path, ome="metadata" in options) as tiff:
        tiff.write(IMAGE, subifds=1, **({"metadata": None} | shared | options))
        tiff.write(IMAGE[::4, ::4], subfiletype=1, metadata=None, **shared)
    assert readers.open_levels(path).mpp == (expected and (pytest.approx(expected),) * 2)


def test_a_slide_without_resolution_names_the_flag(tmp_path):
    path = write_slide(tmp_path / "a.svs", IMAGE, mpp=None)
    with pytest.raises(InputError, match=r"a\.svs does not state.*objective is 40x.*--source-mpp 0.25"):
        open_source(path)
    with open_source(path, source_mpp=0.5, mpp=0.5) as source:
        assert (source.width, source.mpp) == (400, 0.5)
    # A resolution that the slide states is not overruled.
    with open_source(write_slide(path, IMAGE, mpp=0.25), source_mpp=0.5, mpp=0.5) as source:
        assert source.width == 200


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_plain_images_are_taken_as_they_are_unless_their_resolution_is_given(tmp_path, name):
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, IMAGE, tile=(TILE, TILE), photometric="rgb")  # one level, and small
    else:
        Image.fromarray(IMAGE).save(tmp_path / name, quality=95)
    with open_source(tmp_path / name, mpp=0.25) as source:
        assert (source.width, source.height, source.mpp, source.is_slide) == (400, 300, None, False)
        assert difference(source.read(10, 20, 100, 50), IMAGE[20:70, 10:110]) < 2
    with open_source(tmp_path / name, mpp=0.25, source_mpp=0.125) as source:
        assert (source.width, source.height, source.mpp) == (200, 150, 0.25)


def test_an_overview_shows_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("nuclei.slides.slide.BLOCK", 90)
    small = cv2.resize(IMAGE, (200, 150), interpolation=cv2.INTER_AREA)
    for path in (write_slide(tmp_path / "a.svs", IMAGE), write_slide(tmp_path / "b.svs", IMAGE, levels=(1,))):
        with open_source(path) as source:
            assert difference(source.overview(200), small) < 2
            assert source.overview(9999).shape == IMAGE.shape


@pytest.mark.parametrize("write", [write_slide, write_pyramid])
@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
def test_a_damaged_tile_leaves_the_rest_readable(tmp_path, monkeypatch, write, compression):
    monkeypatch.setattr("nuclei.slides.slide.BLOCK", TILE)
    path = write(tmp_path / "a.tif", IMAGE, compression=compression)
    damage(path, 8)  # the second row, the second column
    with open_source(path, source_mpp=0.25) as source:
        with pytest.raises(UnreadableRegion, match=r"a\.tif is damaged near x 64, y 64"):
            source.read(TILE, TILE, TILE, TILE)
        assert difference(source.read(0, 0, 400, TILE), IMAGE[:TILE]) < 3
        overview = source.overview(400)
    assert (overview[TILE : 2 * TILE, TILE : 2 * TILE] == UNREADABLE).all()
    assert difference(overview[: TILE // 2], IMAGE[: TILE // 2]) < 3
    assert tissue_mask(overview)[70:120, 70:120].all()


def test_a_truncated_slide(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", IMAGE, levels=(4, 8))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(InputError, match=r"a\.tif"), open_source(path, source_mpp=1, mpp=1) as source:
        source.read(0, 0, source.width, source.height)


def test_files_that_are_no_images(tmp_path):
    for name in ("a.svs", "a.tif", "a.mrxs", "a.png", "a.vms"):
        (tmp_path / name).write_bytes(b"not a slide")
        with pytest.raises(InputError, match=name):
            open_source(tmp_path / name)
    with pytest.raises(InputError, match="No such file"):
        open_source(tmp_path / "nowhere.svs")
    with pytest.raises(InputError, match="above 0"):
        open_source(tmp_path / "a.png", mpp=0)


def test_an_unreadable_file(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    write_image(tmp_path / "a.png", IMAGE)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(
        InputError, match=r"a\.png cannot be opened: Permission denied; check its permissions"
    ):
        open_source(tmp_path / "a.png")


def test_a_plain_image_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(levels, "PLAIN_PIXELS", 1000)
    write_image(tmp_path / "a.png", IMAGE)
    with pytest.raises(InputError, match=r"a\.png is 400 x 300 px, too large.*tiled TIFF"):
        open_source(tmp_path / "a.png")


@pytest.mark.parametrize(
    "stored",
    [
        {},  # in one piece, as ImageJ writes
        {"bigtiff": True, "byteorder": ">"},
        {"planarconfig": "separate"},
        {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
        {"rowsperstrip": 7, "compression": "zlib", "planarconfig": "separate"},
    ],
)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_large_plain_tiff_is_read_piece_by_piece(tmp_path, monkeypatch, stored, depth):
    monkeypatch.setattr(readers, "SLIDE_SIDE", 399)
    monkeypatch.setattr(readers, "read_image", None)  # which decodes the whole
    pixels = IMAGE.astype(depth) * (257 if depth == np.uint16 else 1)
    where = {key: value for key, value in stored.items() if key in ("bigtiff", "byteorder")}
    how = {key: value for key, value in stored.items() if key not in where}
    with tifffile.TiffWriter(tmp_path / "a.tif", **where) as tiff:
        in_planes = pixels.transpose(2, 0, 1) if "planarconfig" in how else pixels
        tiff.write(in_planes, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3, **how)
    with open_source(tmp_path / "a.tif") as source:
        assert (source.width, source.height, source.mpp, source.is_slide) == (400, 300, None, False)
        assert (source.read(37, 101, 130, 190) == IMAGE[101:291, 37:167]).all()
        assert (source.read(0, 0, 400, 300) == IMAGE).all()


def test_a_large_plain_tiff_with_colours_times_their_opacity(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "SLIDE_SIDE", 399)
    opacity = np.full((300, 400, 1), 51, np.uint8)  # a fifth
    pixels = np.concatenate([np.full((300, 400, 3), 20, np.uint8), opacity], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    with open_source(tmp_path / "a.tif") as source:  # a fifth of 100 over four fifths of white
        assert np.abs(source.read(0, 0, 400, 300).astype(int) - 224).max() <= 1


def test_a_large_plain_tiff_that_ends_too_early(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "SLIDE_SIDE", 399)
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="rgb")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-400])  # of the last row
    with open_source(tmp_path / "a.tif") as source:
        assert (source.read(0, 0, 400, 200) == IMAGE[:200]).all()
        with pytest.raises(UnreadableRegion, match="damaged near x 0, y 256"):
            source.read(0, 100, 400, 200)


def test_a_tiff_of_one_piece_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(levels, "PLAIN_PIXELS", 1000)
    monkeypatch.setattr(readers, "SLIDE_SIDE", 399)
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="rgb", compression="zlib", rowsperstrip=300)
    with pytest.raises(InputError, match=r"a\.tif is 400 x 300 px, too large.*tiled TIFF"):
        open_source(tmp_path / "a.tif")


def test_reading_beyond_the_border_is_a_mistake(tmp_path):
    write_image(tmp_path / "a.png", IMAGE)
    with open_source(tmp_path / "a.png") as source:
        for box in ((300, 0, 101, 10), (-1, 0, 10, 10), (0, 0, 0, 10)):
            with pytest.raises(ValueError):
                source.read(*box)


def noisy(colour: tuple[int, int, int], height: int = 256, width: int = 256) -> np.ndarray:
    """A plain area as a scanner and JPEG render it."""
    noise = np.random.default_rng(0).normal(colour, 2, (height, width, 3))
    return noise.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("glass", [GLASS, (255, 255, 255), (228, 227, 231), (247, 245, 236), (0, 0, 0)])
def test_tissue_is_told_from_glass(glass):
    overview = noisy(glass)
    overview[80:160, 40:200] = tissue(80, 160)
    expected = np.zeros((256, 256), bool)
    expected[80:160, 40:200] = True
    assert (tissue_mask(overview) != expected).mean() < 0.03


@pytest.mark.parametrize("glass", [GLASS, (255, 255, 255), (228, 227, 231)])
def test_a_slide_that_is_all_glass_has_no_tissue(glass):
    assert not tissue_mask(noisy(glass)).any()


@pytest.mark.parametrize("stroma", [(230, 180, 210), (240, 215, 228), (150, 60, 140)])
def test_a_slide_that_is_all_tissue_is_kept_whole(stroma):
    overview = noisy(stroma)
    overview[64:128] = tissue(64, 256)
    assert tissue_mask(overview).all()


def test_green_and_black_pens_are_no_tissue():
    overview = noisy(GLASS)
    overview[20:60, 20:200] = (20, 150, 70)
    overview[100:140, 20:200] = (25, 25, 28)
    assert tissue_mask(overview).mean() < 0.02


def test_damage_hides_no_more_of_an_overview_than_it_must(tmp_path):
    path = write_slide(tmp_path / "a.svs", np.full((1024, 1024, 3), GLASS, np.uint8), levels=(1,))
    damage(path, 17)  # of 16 x 16 tiles: the second row and column
    with open_source(path) as source:
        overview = source.overview(256)
    hidden = (overview == UNREADABLE).all(axis=2)
    assert hidden[16:32, 16:32].all()
    assert not hidden[64:].any() and not hidden[:, 64:].any()  # 256 px of the slide
