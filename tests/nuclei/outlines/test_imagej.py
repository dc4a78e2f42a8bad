import warnings
import zipfile

import numpy as np
import pytest
import roifile
import shapely

from nuclei.errors import InputError
from nuclei.outlines import imagej
from nuclei.outlines.registry import detect, read
from tests.nuclei.outlines.annotation_files import SQUARE, SQUARE_PIXELS, pixels


def test_imagej_rois_have_integer_corners(tmp_path):
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(1, 1, 2, 2)])
    imagej.write(tmp_path / "a.zip", [SQUARE, two], "a.png")
    simple, composite = roifile.roiread(tmp_path / "a.zip")
    assert simple.roitype == roifile.ROI_TYPE.TRACED
    assert sorted(simple.coordinates().tolist()) == [[2, 1], [2, 3], [4, 1], [4, 3]]
    assert (simple.left, simple.top, simple.name) == (2, 1, "0001")
    assert composite.composite
    assert (composite.left, composite.top, composite.right, composite.bottom) == (0, 0, 2, 2)
    assert len(composite.coordinates(multi=True)) == 2
    annotation = imagej.read(tmp_path / "a.zip")
    assert pixels(annotation) == [SQUARE_PIXELS, [[0, 0], [1, 1]]]
    assert [shape.image for shape in annotation.shapes] == ["a", "a"]


def roi(kind, **attributes):
    made = roifile.ImagejRoi()
    made.roitype, made.name = kind, "0007"
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_imagej_selections_that_are_areas(tmp_path):
    box = {"left": 2, "top": 1, "right": 4, "bottom": 3}
    subpixel = roifile.ImagejRoi.frompoints(np.array([[2, 1], [4, 1], [4.2, 3], [2, 3.3]]))
    rois = [roi(roifile.ROI_TYPE.RECT, **box), roi(roifile.ROI_TYPE.OVAL, **box), subpixel]
    roifile.roiwrite(tmp_path / "a.zip", rois, name=["1", "2", "3"])
    assert pixels(imagej.read(tmp_path / "a.zip")) == [SQUARE_PIXELS] * 3
    rois[0].tofile(tmp_path / "a.roi")  # what ImageJ saves where there is only one
    assert detect(tmp_path / "a.roi") == "imagej"
    assert pixels(read(tmp_path / "a.roi", "imagej")["a"]) == [SQUARE_PIXELS]


def test_selections_of_a_stack_are_no_nuclei_of_one_image(tmp_path):
    box = {"left": 2, "top": 1, "right": 4, "bottom": 3}
    everywhere, *others = [roi(roifile.ROI_TYPE.RECT, position=n, **box) for n in (0, 1, 2)]
    roifile.roiwrite(tmp_path / "a.zip", [everywhere, others[0]], name=["1", "2"])
    assert len(imagej.read(tmp_path / "a.zip").shapes) == 2
    roifile.roiwrite(tmp_path / "b.zip", [everywhere, *others], name=["1", "2", "3"])
    with pytest.raises(InputError, match=r"b\.zip has ROIs on 2 images of a stack"):
        imagej.read(tmp_path / "b.zip")


def test_a_text_of_imagej_is_no_area(tmp_path):
    box = {"left": 2, "top": 1, "right": 4, "bottom": 3}
    text = bytearray(roi(roifile.ROI_TYPE.RECT, **box).tobytes())
    text[48:50] = roifile.ROI_SUBTYPE.TEXT.to_bytes(2, "big")
    (tmp_path / "a.roi").write_bytes(text)
    with pytest.raises(InputError, match="ROI 0007 is a text, not an area"):
        imagej.read(tmp_path / "a.roi")


def test_imagej_rois_may_share_a_name(tmp_path):
    box = {"left": 2, "top": 1, "right": 4, "bottom": 3}
    other = {"left": 5, "top": 5, "right": 8, "bottom": 8}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the second name
        for place in (box, other):
            archive.writestr("nucleus.roi", roi(roifile.ROI_TYPE.RECT, **place).tobytes())
        archive.writestr("__MACOSX/._nucleus.roi", b"of macOS")
    assert [len(each) for each in pixels(imagej.read(tmp_path / "a.zip"))] == [4, 9]


def test_an_ellipse_of_imagej_does_not_cross_itself(tmp_path):
    roi(roifile.ROI_TYPE.OVAL, left=2, top=3, right=12, bottom=13).tofile(tmp_path / "a.roi")
    (shape,) = imagej.read(tmp_path / "a.roi").shapes
    assert shape.outline.is_valid
    assert 70 < shape.outline.area < 25 * np.pi


def test_bad_imagej_rois_are_refused_by_name(tmp_path):
    line = roi(roifile.ROI_TYPE.LINE, x2=5.0, y2=5.0)
    roifile.roiwrite(tmp_path / "a.zip", [line])
    with pytest.raises(InputError, match=r"a\.zip: ROI 0007 is a line"):
        imagej.read(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("readme.txt", "no ROI")
    (tmp_path / "c.zip").write_bytes(b"no zip")
    for name in ("b.zip", "c.zip"):
        with pytest.raises(InputError, match=f"{name} cannot be read as ImageJ ROIs"):
            imagej.read(tmp_path / name)
