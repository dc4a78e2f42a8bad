"""The scores, against values worked out by hand on images of one row."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nuclei.evaluation import metrics


def row(text: str) -> np.ndarray:
    """A label image of one row, one digit a pixel."""
    return np.array([[int(digit) for digit in text]])


# Areas: truth 4 and 3; pred 3, 3 and 1.    Overlaps: (1, 1) 3 of 4 px, IoU 0.75;  (2, 2) 2 of 4 px, IoU 0.5.
TRUTH = row("111100222000")
PRED = row("111000022203")

# One prediction over two nuclei of 4 px: both IoUs are 4 / 8.
TWO = row("1111222200")
MERGED = row("5555555500")


def test_scores_by_hand() -> None:
    expected = {
        "dice": 2 * (3 + 2) / (7 + 7),
        "aji": (3 + 2) / (4 + 4 + 1),  # prediction 3 is unused: its pixel joins the union
        "aji_plus": (3 + 2) / (4 + 4 + 1),
        "dq": 1 / (1 + 2 / 2 + 1 / 2),  # an IoU of exactly 0.5 is no match: 1 TP, 2 FP, 1 FN
        "sq": 0.75,
        "pq": 0.4 * 0.75,
        "ap50": 2 / 3,  # but it is one to COCO: 2 of 3 predictions match, every true nucleus is found
    }
    scores = metrics.score(TRUTH, PRED)
    assert tuple(scores) == metrics.NAMES
    assert scores == pytest.approx(expected)


def test_one_prediction_over_two_nuclei() -> None:
    expected = {
        "dice": 1.0,
        "aji": (4 + 4) / (8 + 8),  # the prediction serves both
        "aji_plus": 4 / (8 + 4),  # it serves one; the other adds its 4 px to the union
        "dq": 0.0,
        "sq": 0.0,
        "pq": 0.0,
        "ap50": 51 / 101,  # precision 1 up to a recall of 0.5: COCO's recalls 0, 0.01, ..., 0.5
    }
    assert metrics.score(TWO, MERGED) == pytest.approx(expected)


def test_aji_goes_by_iou_not_by_intersection() -> None:
    # Prediction 1: 4 px, all inside, IoU 4 / 10. Prediction 2: 26 px, 6 inside, IoU 6 / 30.
    truth, pred = row("1" * 10 + "0" * 20), row("1" * 4 + "2" * 26)
    assert metrics.aji(truth, pred) == pytest.approx(4 / (10 + 26))
    assert metrics.aji_plus(truth, pred) == pytest.approx(4 / (10 + 26))


def test_aji_counts_a_nucleus_that_nothing_touches() -> None:
    # (1, 1): 2 of 4 px. Nucleus 2 (3 px) and prediction 2 (1 px) join the union.
    truth, pred = row("1111002220"), row("1100000002")
    for aji in (metrics.aji, metrics.aji_plus):
        assert aji(truth, pred) == pytest.approx(2 / (4 + 3 + 1))


def test_aji_plus_takes_the_best_total() -> None:
    # IoUs: (1, 1) 3 / 7, (1, 2) 1 / 4, (2, 1) 2 / 7, (2, 2) 0; prediction 1 is 6 px, in two pieces.
    truth, pred = row("11112220"), row("21110111")
    # 3 / 7 + 0 is less than 1 / 4 + 2 / 7, though 3 / 7 is the largest IoU.
    assert metrics.aji_plus(truth, pred) == pytest.approx((1 + 2) / (4 + 7))
    # Both nuclei take prediction 1; prediction 2, 1 px, joins the union.
    assert metrics.aji(truth, pred) == pytest.approx((3 + 2) / (7 + 7 + 1))


def test_aji_takes_the_larger_of_two_predictions_of_one_iou() -> None:
    # Prediction 1: 4 px, 2 inside, IoU 2 / 8. Prediction 2: 9 px, 3 inside, IoU 3 / 12. So HoVer-Net has it.
    truth, pred = row("11111100000000"), row("11222011222222")
    assert metrics.aji(truth, pred) == pytest.approx(3 / (12 + 4))
    assert metrics.aji_plus(truth, pred) == pytest.approx(3 / (12 + 4))


def test_aji_takes_the_lower_id_of_two_predictions_alike() -> None:
    # Of nucleus 1, both predictions have 2 px of a union of 5; prediction 2 has 1 px of nucleus 2, union 6.
    truth, pred = row("11112222000"), row("11222000001")
    assert metrics.aji(truth, pred) == pytest.approx((2 + 1) / (5 + 6))
    # With their ids swapped, prediction 1 serves both nuclei and the 3 px of prediction 2 join the union.
    swapped = np.array([0, 2, 1])[pred]
    assert metrics.aji(truth, swapped) == pytest.approx((2 + 1) / (5 + 6 + 3))
    assert metrics.aji_plus(truth, pred) == metrics.aji_plus(truth, swapped) == pytest.approx(3 / 11)


def test_images_without_background() -> None:
    # IoUs: (1, 1) 1 / 2, (2, 1) 1 / 4, (2, 2) 2 / 3.
    truth, pred = row("1222"), row("1122")
    assert metrics.aji(truth, pred) == metrics.aji_plus(truth, pred) == pytest.approx((1 + 2) / (2 + 3))
    assert metrics.panoptic_quality(truth, pred) == pytest.approx((0.5, 2 / 3, 1 / 3))


def test_panoptic_quality_at_another_threshold() -> None:
    # Above 0.3 both pairs match: 2 TP, 1 FP, 0 FN.
    assert metrics.panoptic_quality(TRUTH, PRED, iou=0.3) == pytest.approx((0.8, 0.625, 0.5))
    # Above 0.4 the prediction matches one of the two nuclei, not both: 1 TP, 1 FN.
    assert metrics.panoptic_quality(TWO, MERGED, iou=0.4) == pytest.approx((2 / 3, 0.5, 1 / 3))
    # Above 0.75 nothing does.
    assert metrics.panoptic_quality(TRUTH, PRED, iou=0.75) == (0.0, 0.0, 0.0)


def test_match_names_the_ids() -> None:
    assert metrics.match(TRUTH * 10, PRED * 7).tolist() == [[10, 7]]
    assert metrics.match(TRUTH * 10, PRED * 7, iou=0.3).tolist() == [[10, 7], [20, 14]]
    assert metrics.match(TRUTH, TRUTH * 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.8, 0.1], 1.0),  # the invented nucleus comes last
        ([0.8, 0.7, 0.9], 2 / 3),  # first: precisions 0, 1/2, 2/3; the best at or beyond each recall counts
        ([0.9, 0.7, 0.8], (51 + 50 * 2 / 3) / 101),  # between: 1 up to a recall of 0.5, 2/3 beyond
        ([0.5, 0.5, 0.5], 2 / 3),
    ],
)
def test_average_precision_follows_the_scores(scores: list[float], expected: float) -> None:
    assert metrics.average_precision(TRUTH, PRED, np.array(scores)) == pytest.approx(expected)


def test_average_precision_needs_one_score_per_prediction() -> None:
    with pytest.raises(ValueError, match="3 predicted nuclei"):
        metrics.average_precision(TRUTH, PRED, np.ones(2))


def test_perfect_prediction_scores_exactly_one() -> None:
    assert metrics.score(TRUTH, TRUTH * 3) == dict.fromkeys(metrics.NAMES, 1.0)


def test_two_empty_images_score_one() -> None:
    assert metrics.score(TRUTH * 0, TRUTH * 0) == dict.fromkeys(metrics.NAMES, 1.0)


@pytest.mark.parametrize(("truth", "pred"), [(TRUTH, TRUTH * 0), (TRUTH * 0, TRUTH)])
def test_one_empty_image_scores_zero(truth: np.ndarray, pred: np.ndarray) -> None:
    assert metrics.score(truth, pred) == dict.fromkeys(metrics.NAMES, 0.0)


def test_images_that_do_not_go_together() -> None:
    for measure in (metrics.score, metrics.dice, metrics.match):
        with pytest.raises(ValueError, match="one size"):
            measure(TRUTH, PRED[:, 1:])
        with pytest.raises(ValueError, match="2-D"):
            measure(TRUTH[0], PRED[0])
        with pytest.raises(ValueError, match="integers"):
            measure(TRUTH, PRED.astype(float))
        with pytest.raises(ValueError, match="ids"):
            measure(TRUTH, -PRED)


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares at random, and the same squares shifted, some dropped and some added."""
    rng = np.random.default_rng(seed)
    truth, pred = np.zeros((2, 120, 120), np.int64)
    for k in range(1, 30):
        y, x = rng.integers(5, 105, 2)
        dy, dx = rng.integers(-3, 4, 2)
        if k % 7:
            truth[y : y + 10, x : x + 10] = k
        if k % 5:
            pred[y + dy : y + dy + 9, x + dx : x + dx + 10] = k
    return truth, pred


@pytest.mark.parametrize("seed", range(3))
def test_ids_may_be_any_numbers(seed: int) -> None:
    truth, pred = random_pair(seed)
    rng = np.random.default_rng(seed)
    renamed = [np.append(0, rng.choice(2**31 - 2, 30, replace=False) + 1)[image] for image in (truth, pred)]
    assert metrics.score(*renamed) == pytest.approx(metrics.score(truth, pred))


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_coco_on_masks(seed: int) -> None:
    truth, pred = random_pair(seed)
    scores = np.random.default_rng(seed).random(len(np.unique(pred)) - 1)
    coco = COCO()
    images = [{"id": 1, "height": truth.shape[0], "width": truth.shape[1]}]
    coco.dataset = {"info": {}, "images": images, "categories": [{"id": 1}], "annotations": masks(truth)}
    coco.createIndex()
    predictions = [mask | {"score": value} for mask, value in zip(masks(pred), scores, strict=True)]
    reference = COCOeval(coco, coco.loadRes(predictions), "segm")
    reference.params.iouThrs = np.array([0.5])
    reference.evaluate()
    reference.accumulate()
    # The first area range is "all", the last limit the largest (100 predictions).
    expected = reference.eval["precision"][0, :, 0, 0, -1].mean()
    assert 0 < expected < 1
    assert metrics.average_precision(truth, pred, scores) == pytest.approx(expected)


def masks(labels: np.ndarray) -> list[dict]:
    """COCO annotations, one per nucleus in ascending order of the ids."""
    annotations = []
    for k in np.unique(labels[labels > 0]):
        mask = coco_mask.encode(np.asfortranarray(labels == k, np.uint8))
        area = float(coco_mask.area(mask))
        annotations.append({"id": int(k), "image_id": 1, "category_id": 1, "iscrowd": 0, "area": area})
        annotations[-1]["segmentation"] = mask
    return annotations


def test_only_pairs_that_touch_take_memory() -> None:
    labels = np.arange(1, 40_001).reshape(200, 200)  # a table of all pairs would take 13 GB
    o = metrics.overlaps(labels, labels)
    np.testing.assert_array_equal(o.truths, o.preds)
    assert o.iou.tolist() == [1.0] * 40_000
