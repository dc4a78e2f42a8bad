from pathlib import Path

import pytest

from nuclei.errors import InputError
from nuclei.slides.regions import find_region


@pytest.mark.parametrize(
    "name", ["Pr\u00e4p.geojson", "Pra\u0308p.geojson", "Pr\u00e4p.svs.GEOJSON", "Pr\u00e4p.geojson.gz"]
)
def test_the_region_of_a_slide_is_found_by_whatever_name_qupath_and_systems_give_it(tmp_path, name):
    (tmp_path / name).touch()
    assert find_region(tmp_path, Path("Pr\u00e4p.svs")) == tmp_path / name
    assert find_region(tmp_path / name, Path("b.svs")) == tmp_path / name


def test_a_slide_without_a_region_is_named_and_two_regions_are_refused(tmp_path, caplog):
    caplog.set_level("INFO")
    assert find_region(tmp_path, Path("a.svs")) is None
    assert "a.svs has no region" in caplog.text
    for name in ("a.geojson", "a.svs.geojson"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"a\.geojson and a\.svs\.geojson are both regions of a\.svs"):
        find_region(tmp_path, Path("a.svs"))
