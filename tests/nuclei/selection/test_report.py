import numpy as np
import pandas as pd

from nuclei.folders.patches import write_patch
from nuclei.io.images import read_image, write_image
from nuclei.selection import report as report
from nuclei.selection.two_stage import Selected

SIZE = 64  # px
NAMES = [f"p{number}" for number in range(50)]


def test_the_contact_sheet_has_a_row_a_cluster_with_the_selected_patch_first(tmp_path):
    for name, level in {"a": 0, "b": 100, "c": 200}.items():
        write_patch(tmp_path, name, np.full((SIZE, SIZE, 3), level, np.uint8))
    chosen = [
        Selected(0, 1, 3.0, {"coarse": 1.0, "fine": 2.0}, (0, 1)),
        Selected(1, 2, 0.0, {}, (2,)),
    ]
    report.write_contact_sheet(tmp_path / "sheet.png", tmp_path, ["a", "b", "c"], chosen)
    sheet = read_image(tmp_path / "sheet.png")
    middle = sheet.shape[0] // 4  # of the first of two rows
    tiles = [sheet[middle, 8 + report.TILE // 2 + number * (report.TILE + 8), 0] for number in range(3)]
    assert tiles == [100, 0, 255]  # the selected one, what it stands for, nothing


def test_the_map_draws_clusters_and_what_known_patches_stand_for(tmp_path):
    features = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    chosen = [Selected(0, 3, 1.0, {}, tuple(range(10))), Selected(1, 12, 1.0, {}, tuple(range(10, 20)))]
    report.write_map(tmp_path / "map.png", features, np.arange(30), NAMES[:30], chosen)
    assert read_image(tmp_path / "map.png").std() > 0
    table = pd.read_csv(tmp_path / "map.csv", index_col="patch")
    assert list(table.loc[["p3", "p19", "p20"], "cluster"].fillna(-1)) == [0, 1, -1]
    assert len(table) == 30 and np.isfinite(table[["x", "y"]]).all(axis=None)


def test_a_large_pool_is_thinned_out_and_keeps_its_stars(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MAP_POINTS", 5)
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    chosen = [Selected(0, 7, 1.0, {}, tuple(range(50)))]
    report.write_map(tmp_path / "map.png", features, np.arange(50), NAMES, chosen)
    assert (tmp_path / "map.png").exists()


def test_patches_that_are_all_alike_make_no_map(tmp_path):
    report.write_map(
        tmp_path / "map.png", np.ones((4, 3)), np.arange(4), NAMES[:4], [Selected(0, 0, 0, {}, (0, 1, 2, 3))]
    )
    assert not (tmp_path / "map.png").exists()


def test_source_pictures_show_where_the_selected_patches_lie(tmp_path):
    overviews, folder = tmp_path / "overviews", tmp_path / "sources"
    # At a quarter of the size: 512 px wide, of which the left half is covered by patches.
    write_image(overviews / "my_slide-9-ab.png", np.full((64, 128, 3), 100, np.uint8))
    sources = pd.DataFrame(
        [("a", "my slide.svs", 0, 0), ("b", "my slide.svs", 0, 128), ("c", "other.svs", 0, 0)],
        columns=["patch", "source", "x", "y"],
    ).assign(width=512, content="9-ab")
    selection = sources.iloc[[1]].assign(cluster=7)
    write_image(overviews / "earlier-8-cd.png", np.full((64, 128, 3), 100, np.uint8))
    folder.mkdir()
    (folder / "earlier.png").write_bytes(b"of another selection")
    (folder / "mine.png").write_bytes(b"of somebody else")
    report.write_source_pictures(folder, overviews, selection, sources, size=128)

    assert sorted(path.name for path in folder.iterdir()) == ["mine.png", "my_slide.png"]
    picture = read_image(folder / "my_slide.png")
    assert picture[10, 20].tolist() == [100, 100, 100]  # a patch that was not selected
    assert picture[10, 100].tolist() == [177, 177, 177]  # no patch: 100 // 2 + 127
    assert picture[48, 0].tolist() == list(report.FRAME)  # the frame of the selected one
