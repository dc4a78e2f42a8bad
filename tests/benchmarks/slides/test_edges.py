import numpy as np
import shapely

from benchmarks.slides import edges, million

LINES = (np.array([100.0]), np.array([200.0]))


def figures(truth, found):
    return edges.figures(edges.match(np.array(truth, object), np.array(found, object)), LINES)


def test_nuclei_found_whole_are_neither_doubled_nor_cut():
    nuclei = [shapely.box(90, 10, 110, 30), shapely.box(10, 190, 30, 210), shapely.box(0, 0, 20, 20)]
    found = figures(nuclei, nuclei)
    assert found["nuclei_on_edges"] == 2
    assert found["doubled_on_edges"] == found["doubled_elsewhere"] == found["cut_on_edges"] == 0
    assert found["aji_on_edges"] == found["aji_elsewhere"] == 1


def test_halves_are_doubled_and_cut():
    whole = shapely.box(90, 10, 110, 30)
    found = figures(
        [whole, shapely.box(0, 0, 9, 9)], [shapely.box(90, 10, 100, 30), shapely.box(100, 10, 110, 30)]
    )
    assert found["doubled_on_edges"] == found["cut_on_edges"] == 1
    assert found["cut_at_other_lines"] == 0
    assert found["aji_elsewhere"] == 0


def test_what_ends_by_chance_at_a_line_is_counted_beside():
    nucleus, poor = shapely.box(130, 10, 150, 30), shapely.box(130, 10, 140, 30)
    found = figures([nucleus], [poor])
    assert (found["cut_on_edges"], found["cut_at_other_lines"]) == (0, 1)


def test_what_is_invented_on_an_edge_counts_there():
    nuclei = [shapely.box(90, 10, 110, 30), shapely.box(0, 0, 20, 20)]
    found = figures(nuclei, [*nuclei, shapely.box(90, 50, 110, 70)])
    assert found["aji_on_edges"] == 0.5 and found["aji_elsewhere"] == 1


def test_the_large_table_comes_back(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(million, "SIDE", 200)
    million.main(150, tmp_path)
    assert '"nuclei": 150' in capsys.readouterr().out
    assert million.read_back(tmp_path / "s.geojson") == 150
