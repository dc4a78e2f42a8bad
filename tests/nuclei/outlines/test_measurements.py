import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops_table

from nuclei import tissue
from nuclei.io.images import write_image
from nuclei.outlines import measurements, results

NAMES = {
    "Area px^2": "area",
    "Length px": "perimeter",
    "Major axis px": "axis_major_length",
    "Minor axis px": "axis_minor_length",
    "Eccentricity": "eccentricity",
    "Hematoxylin: Mean": "intensity_mean-0",
    "Hematoxylin: Std.Dev.": "intensity_std-0",
    "Eosin: Mean": "intensity_mean-1",
    "Eosin: Std.Dev.": "intensity_std-1",
}


def test_shape_and_stain_are_those_of_scikit_image():
    image, labels = tissue.generate("lymphoid", 200, 1)
    labels[labels == 3] = 0  # ids with a gap
    found = measurements.measure(image, labels)
    properties = ("area", "perimeter", "axis_major_length", "axis_minor_length", "eccentricity")
    stain = ("intensity_mean", "intensity_std")
    expected = regionprops_table(labels, measurements.absorbances(image), (*properties, *stain))
    for name, other in NAMES.items():
        np.testing.assert_allclose(found[name], expected[other], rtol=1e-4, atol=1e-4, err_msg=name)


def test_lengths_are_in_micrometres_where_the_resolution_is_known():
    image, labels = tissue.generate("hepatic", 128, 0)
    px, um = (measurements.table(image, labels, None, mpp) for mpp in (None, 0.5))
    np.testing.assert_allclose(um["Area µm^2"], px["Area px^2"] / 4, rtol=1e-6)
    for name in ("Length", "Major axis", "Centroid X", "Distance to nearest nucleus"):
        np.testing.assert_allclose(um[f"{name} µm"], px[f"{name} px"] / 2, rtol=1e-6)
    np.testing.assert_array_equal(um["Solidity"], px["Solidity"])


def test_a_square_and_an_l():
    labels = np.zeros((20, 20), np.int32)
    labels[2:10, 2:10] = 1
    labels[12:16, 12:20] = labels[12:20, 12:16] = 2
    found = measurements.measure(np.zeros((20, 20, 3), np.uint8), labels)
    assert found["Solidity"].tolist() == pytest.approx([1, 48 / 56])
    assert found["Eccentricity"][0] == 0
    assert found["Length px"][0] == 28  # of the centres of its border pixels


def test_a_stain_alone_shows_in_its_channel_alone():
    vector = np.array([0.651, 0.701, 0.290])
    colour = np.rint(255 * 10 ** -(0.5 * vector / np.linalg.norm(vector)))
    image = np.broadcast_to(colour.astype(np.uint8), (4, 4, 3))
    haematoxylin, eosin = measurements.absorbances(image)[0, 0]
    assert haematoxylin == pytest.approx(0.5, abs=0.01) and eosin == pytest.approx(0, abs=0.01)


def test_neighbours_by_hand():
    found = measurements.neighbours(np.array([[0.0, 0], [3, 4], [40, 0], [200, 200]]), mpp=0.25)
    distances = found["Distance to nearest nucleus µm"]
    assert distances.tolist()[:3] == pytest.approx([5, 5, np.hypot(37, 4)])
    assert found["Nuclei within 50 µm"].tolist() == [2, 2, 2, 0]
    assert np.isnan(measurements.neighbours(np.zeros((1, 2)))["Distance to nearest nucleus px"][0])
    assert len(measurements.neighbours(np.zeros((0, 2)))) == 0


def test_an_image_without_nuclei_has_an_empty_table():
    assert len(measurements.table(np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5), np.int32))) == 0


def test_one_table_for_all_images_at_one_resolution(tmp_path):
    for name in "ab":
        image, labels = tissue.generate("hepatic", 128, ord(name))
        write_image(tmp_path / f"{name}.png", image)
        results.write(tmp_path / "out", f"{name}.png", "", labels, np.ones(labels.max()))
        results.write_measurements(tmp_path / "out", tmp_path / f"{name}.png", 0.25)
    results.write_table(tmp_path / "out", 0.25)
    table = pd.read_csv(tmp_path / "out" / "nuclei.csv")
    assert table["image"].unique().tolist() == ["a.png", "b.png"]
    assert table["score"].eq(1).all() and table["Area µm^2"].gt(1).all()
