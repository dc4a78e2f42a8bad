import numpy as np
import pytest
from skimage.measure import label, regionprops

from mrcnn.config import NucleusConfig
from mrcnn.inference import tta
from mrcnn.inference.tta import VIEWS, agree
from nuclei.errors import InputError


def detections(*boxes_and_scores):
    boxes = [box for box, _ in boxes_and_scores]
    return {
        "boxes": np.float32(boxes).reshape(-1, 4),
        "class_ids": np.ones(len(boxes), np.int32),
        "scores": np.float32([score for _, score in boxes_and_scores]),
        "masks": np.ones((len(boxes), 4, 4), np.float32),
    }


def test_there_are_eight_different_views():
    tile = np.arange(16).reshape(1, 4, 4)
    assert len({view.see(tile).tobytes() for view in VIEWS}) == 8
    assert (VIEWS[0].see(tile) == tile).all()


@pytest.mark.parametrize("view", VIEWS)
def test_what_a_view_shows_is_put_back_to_its_place(view):
    tile = np.zeros((1, 40, 40))
    tile[0, 3:9, 20:32] = np.arange(72).reshape(6, 12)  # a box of 6 x 12 px whose content tells up from down
    seen = view.see(tile)[0]
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    y1, x1, y2, x2 = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    found = {"boxes": np.float32([[y1, x1, y2, x2]]), "masks": seen[None, y1:y2, x1:x2]}
    undone = view.undo(found, side=40)
    assert undone["boxes"].tolist() == [[3, 20, 9, 32]]
    assert (undone["masks"][0] == tile[0, 3:9, 20:32]).all()


def test_the_same_object_in_two_views_is_averaged_by_score():
    first = detections(([0, 0, 10, 10], 0.9))
    second = detections(([0, 0, 10, 13], 0.3))
    second["masks"] *= 0
    fused = agree([first, second])
    assert fused["boxes"].tolist() == [[0, 0, 10, 10.75]]  # 0.75 * 10 + 0.25 * 13
    assert fused["scores"] == pytest.approx([0.6])
    assert fused["masks"][0] == pytest.approx(np.full((4, 4), 0.75))


def test_a_view_that_misses_an_object_counts_as_zero():
    fused = agree([detections(([0, 0, 10, 10], 0.8)), detections()])
    assert fused["scores"] == pytest.approx([0.4])


def test_two_objects_of_one_view_stay_two_and_the_surer_comes_first():
    first = detections(([0, 0, 10, 10], 0.9), ([0, 2, 10, 12], 0.7), ([50, 50, 60, 60], 0.8))
    second = detections(([50, 50, 60, 60], 0.8))
    fused = agree([first, second])
    assert fused["boxes"][:, 1].tolist() == [50, 0, 2]
    assert fused["scores"] == pytest.approx([0.8, 0.45, 0.35])


def test_nothing_found_in_any_view():
    fused = agree([detections(), detections()])
    assert fused["boxes"].shape == (0, 4)
    assert fused["masks"].shape == (0, 4, 4)


class BrightSpot:
    """Stands in for the network: the box of all bright pixels, not found where it lies in the upper half."""

    config = NucleusConfig()
    config.DETECTION_MIN_CONFIDENCE = 0.3

    def predict(self, images, times):
        return [self._find_in(image) for image in images]

    def _find_in(self, image):
        rows, columns = np.nonzero(image[..., 0])
        if rows.mean() < image.shape[0] / 2:
            return detections()
        return detections(([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], 0.8))


def test_all_views_of_all_tiles_are_asked():
    tiles = np.zeros((2, 32, 32, 3), np.uint8)
    tiles[0, 20:26, 20:28] = 255  # in the lower half of 4 of 8 views
    tiles[1, 2:6, 13:19] = 255  # in the upper half, at the middle between left and right
    one, all_views = tta.predict(BrightSpot(), tiles, 1), tta.predict(BrightSpot(), tiles, 8)
    assert [len(found["scores"]) for found in one] == [1, 0]
    assert all_views[0]["boxes"].tolist() == [[20, 20, 26, 28]]
    assert all_views[0]["scores"] == pytest.approx([0.4])


def test_an_answer_below_the_smallest_confidence_is_dropped():
    tiles = np.zeros((1, 32, 32, 3), np.uint8)
    tiles[0, 2:6, 10:14] = 255
    predictor = BrightSpot()
    assert len(tta.predict(predictor, tiles, 8)[0]["scores"]) == 1
    assert len(tta.predict(predictor, tiles, 3)[0]["scores"]) == 0  # one of three views sees it: 0.27


def test_a_number_of_views_that_does_not_exist():
    for n_views in (0, 9):
        with pytest.raises(InputError, match="between 1 and 8"):
            tta.check(n_views)


def test_agreement_is_the_overlap_with_the_average_and_zero_where_a_view_finds_nothing():
    first = detections(([0, 0, 10, 10], 0.5))
    second = detections(([0, 0, 10, 16], 0.5))
    fused = agree([first, second, detections()])  # the average is 10 x 13: overlaps of 100/130 and 130/160
    assert fused["agreement"] == pytest.approx([(10 / 13 + 13 / 16 + 0) / 3])


def test_equal_views_agree_wholly():
    assert agree([detections(([3, 4, 9, 12], 0.5))] * 4)["agreement"] == pytest.approx([1])


@pytest.mark.parametrize(
    ("width", "side"),
    [
        (14, 512),  # to 28 px
        (17, 448),  # 1.65 times as large, and 448 is the nearest multiple of 64
        (18, 256),  # not small
        (8, 512),  # twice at most
    ],
)
def test_a_tile_of_small_nuclei_is_enlarged(width, side):
    few = [([20 * i, 0, 20 * i + width, width], 0.9) for i in range(5)]
    assert tta.enlarged_side(detections(*few), 256) == side


def test_few_or_doubtful_nuclei_do_not_enlarge_a_tile():
    small = [([20 * i, 0, 20 * i + 14, 14], 0.9) for i in range(5)]
    doubtful = [(box, 0.3) for box, _ in small]
    large = [([0, 0, 40, 40], 0.9)] * 5
    assert tta.enlarged_side(detections(*small[:4]), 256) == 256
    assert tta.enlarged_side(detections(*small[:4], *doubtful), 256) == 256
    assert tta.enlarged_side(detections(*small[:4], *large), 256) == 256


class SeesEnlarged(BrightSpot):
    """Finds every bright spot, but in a tile of 128 px none that is narrower than 10 px."""

    def __init__(self):
        self.asked = []

    def _find_in(self, image):
        self.asked.append(len(image))
        spots = [spot.bbox for spot in regionprops(label(image[..., 0] > 127))]
        return detections(*[(box, 0.8) for box in spots if len(image) > 128 or box[2] - box[0] >= 10])


@pytest.mark.parametrize("n_views", [1, 2, 4])
def test_all_views_of_small_nuclei_are_enlarged_and_the_first_look_is_given_up(n_views):
    boxes = [[20 * i, 20 * i, 20 * i + 12, 20 * i + 12] for i in range(5)] + [[110, 10, 118, 18]]
    tiles = np.zeros((2, 128, 128, 3), np.uint8)  # the second one is empty and stays as it is
    for y1, x1, y2, x2 in boxes:
        tiles[0, y1:y2, x1:x2] = 255
    predictor = SeesEnlarged()
    found, nothing = tta.predict(predictor, tiles, n_views)
    assert sorted(found["boxes"].round().astype(int).tolist()) == sorted(boxes)
    assert found["scores"] == pytest.approx([0.8] * 6)
    assert len(nothing["scores"]) == 0
    assert predictor.asked == [128] * 2 + [256] * n_views + [128] * (n_views - 1)


def test_copies_that_fill_a_batch_are_not_looked_at_again():
    tile = np.zeros((1, 128, 128, 3), np.uint8)
    for i in range(5):
        tile[0, 20 * i : 20 * i + 12, 20 * i : 20 * i + 12] = 255
    predictor = SeesEnlarged()
    assert len(tta.predict(predictor, tile, n_views=1, count=4)) == 1
    assert predictor.asked == [128] * 4 + [256]


@pytest.mark.parametrize(("width", "side"), [(14, 1152), (17, 960), (18, 576)])
def test_a_large_tile_is_enlarged_to_one_of_few_sides(width, side):
    few = [([20 * i, 0, 20 * i + width, width], 0.9) for i in range(5)]
    assert tta.enlarged_side(detections(*few), 576) == side  # 17: to 949, and 960 is 5 times 192


def test_views_of_large_tiles_are_seen_one_by_one():
    tiles = np.zeros((1, 576, 576, 3), np.uint8)
    tiles[0, 500:560, 20:80] = 255
    batches = []

    class Counts(BrightSpot):
        def predict(self, images, times):
            batches.append((len(images), times))
            return super().predict(images, times)

    tta.predict(Counts(), tiles, 4)
    assert batches == [(1, 5.0625)] * 4
