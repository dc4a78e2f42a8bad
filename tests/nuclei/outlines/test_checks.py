import numpy as np
import pytest
import shapely
import shapely.affinity

from nuclei.errors import InputError
from nuclei.outlines.checks import to_labels
from nuclei.outlines.polygons import outlines
from nuclei.outlines.shapes import Annotation, Shape

SIZE = (40, 60)


def check(*polygons, kinds=None, classes=("nucleus",), size=None, image=""):
    kinds = kinds or [""] * len(polygons)
    shapes = [
        Shape(p, f"a.geojson: feature {n}", kind, image)
        for n, (p, kind) in enumerate(zip(polygons, kinds, strict=True), 1)
    ]
    return to_labels(Annotation("a.geojson", shapes, size), "a", SIZE, classes)


def areas(labels):
    return np.bincount(labels.ravel())[1:].tolist()


def box(left, top, width=10, height=10):
    return shapely.box(left, top, left + width, top + height)


def test_good_outlines_are_taken_without_a_word():
    labels, notes = check(box(0, 0), box(10, 0), box(50, 30), image="a", size=SIZE)
    assert areas(labels) == [100, 100, 100]
    assert labels[0, 9:11].tolist() == [1, 2]
    assert notes == []
    assert not check()[0].any()


def test_an_outline_that_crosses_itself_is_mended():
    eight = shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20)])
    labels, notes = check(eight, box(30, 10))
    assert labels[2, 10] == labels[17, 10] == 0
    assert labels[10, 2] == labels[10, 17] == 1
    assert notes == [
        "1 outline crossing or touching itself mended",
        "1 nucleus of several parts kept as one each",
    ]


def test_the_smaller_nucleus_gets_what_two_share():
    labels, notes = check(box(0, 0, 20, 20), box(15, 5), box(18, 0, 20, 20))
    assert areas(labels)[1] == 100
    assert labels.max() == 3
    assert notes == ["120 pixels of two nuclei given to the smaller one"]


def test_a_nucleus_drawn_twice_is_taken_once():
    labels, notes = check(box(0, 0, 20, 20), box(0, 0, 20, 19.5), box(30, 0), box(30, 0))
    assert areas(labels) == [400, 100]
    assert notes == ["2 nuclei drawn twice taken once"]


def test_nothing_is_dropped_or_kept_without_a_word():
    point_like = shapely.Polygon([(5, 5), (6, 6), (7, 7)])
    between_centres = shapely.box(20.6, 20.6, 21.4, 21.4)
    parts = shapely.MultiPolygon([box(30, 0), box(45, 0)])
    labels, notes = check(shapely.Polygon(), point_like, between_centres, parts, box(0, 30, 3, 3))
    assert areas(labels) == [200, 9]
    assert notes == [
        "2 outlines around nothing left out",
        "1 nucleus without a pixel of its own left out",
        "1 nucleus of several parts kept as one each",
        "1 nucleus below 10 px kept",
    ]


def test_a_nucleus_is_cut_off_at_the_border():
    labels, notes = check(box(55, 35), box(-0.2, 0))
    assert areas(labels) == [25, 100]
    assert notes == ["1 nucleus cut off at the border"]


@pytest.mark.parametrize(
    "polygon", [box(70, 10), box(-10.5, -10.5), box(51, 5, 20, 20), box(20_000, 31_000), box(0, -11, 30, 30)]
)
def test_an_annotation_of_another_place_is_refused(polygon):
    with pytest.raises(InputError, match=r"a\.geojson: feature 2 lies at .* outside of the image of 60 x 40"):
        check(box(0, 0), polygon)


def test_an_annotation_of_another_image_is_refused():
    with pytest.raises(InputError, match="feature 1 was drawn on b, not on a"):
        check(box(0, 0), image="b")
    with pytest.raises(InputError, match="of an image of 40 x 60 px, but a is 60 x 40 px"):
        check(box(0, 0), size=(60, 40))


def test_a_frame_around_everything_is_refused():
    with pytest.raises(InputError, match="feature 1 covers nearly the whole image"):
        check(shapely.box(0, 0, 60, 40), box(3, 3))
    background = shapely.box(0, 0, 60, 40).difference(shapely.box(5, 5, 45, 35))
    with pytest.raises(InputError, match="feature 2 reaches around nearly the whole image"):
        check(box(10, 10), background)


def test_classes():
    three = [box(0, 0), box(20, 0), box(40, 0)]
    assert check(*three, kinds=["Nucleus", "nucleus", ""])[0].max() == 3
    with pytest.raises(InputError, match=r"a\.geojson has objects of the classes Tumor \(2\), Stroma \(1\)"):
        check(*three, kinds=["Tumor", "Stroma", "Tumor"])
    assert check(*three, kinds=["Tumor", "tumor", ""], classes=("nucleus", "TUMOR"))[0].max() == 3
    labels, notes = check(*three, kinds=["Region*", "Ignore*", ""])
    assert labels.max() == 1
    assert notes == ["2 objects of Region*, Ignore* left out"]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_scribbled_becomes_labels_or_is_refused(seed):
    rng = np.random.default_rng(seed)
    scribbles = [
        shapely.Polygon(rng.uniform(0, 12, (rng.integers(3, 12), 2)) + rng.uniform(-2, (50, 30)))
        for _ in range(30)
    ]
    labels, _ = check(*scribbles)
    assert labels.shape == SIZE
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert labels.max() >= 20


def test_outlines_drawn_by_hand_move_by_less_than_a_pixel():
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radius = 12 + rng.uniform(-1, 1, 30)
    drawn = shapely.Polygon(np.stack([30 + radius * np.cos(angle), 20 + radius * np.sin(angle)], axis=1))
    labels, _ = check(drawn)
    (outline,) = outlines(labels)
    assert drawn.hausdorff_distance(outline) < 1


def test_an_object_of_several_nuclei_is_refused():
    three = shapely.MultiPolygon([box(0, 0), box(20, 0), box(40, 0)])
    with pytest.raises(InputError, match="feature 2 is one object in 3 separate places, so it holds several"):
        check(box(0, 20), three)
    crumbs = shapely.MultiPolygon([box(0, 0), box(20, 0), box(40, 0, 3, 3), box(50, 0, 3, 3)])
    labels, notes = check(crumbs)
    assert labels.max() == 1
    assert notes == ["1 nucleus of several parts kept as one each"]


def test_coordinates_in_another_unit_are_told(caplog):
    nuclei = [box(12 * n, 2, 8, 8) for n in range(5)]
    with pytest.raises(
        InputError, match=r"a\.geojson has coordinates from 0 to 1 alone, .* export them in px"
    ):
        check(*(shapely.affinity.scale(one, 1 / 60, 1 / 40, origin=(0, 0)) for one in nuclei))
    check(*nuclei)
    check(*nuclei[:2])
    assert not caplog.text
    check(*(shapely.affinity.scale(one, 0.25, 0.25, origin=(0, 0)) for one in nuclei))
    assert "a.geojson: all 5 nuclei lie in the upper left quarter of the image" in caplog.text


def test_classes_are_compared_as_a_person_reads_them():
    assert (
        check(
            box(0, 0),
            box(20, 0),
            kinds=["nucleus ", "Zellko\u0308rper"],
            classes=["nucleus", "zellk\u00f6rper"],
        )[0].max()
        == 2
    )
