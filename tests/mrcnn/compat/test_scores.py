import numpy as np
import pytest

from mrcnn import utils


def row(*spans, width=40):
    """Boxes and masks of a picture one pixel high, from (first column, end) of each object."""
    masks = np.zeros((1, width, len(spans)), bool)
    for number, (first, end) in enumerate(spans):
        masks[0, first:end, number] = True
    return utils.extract_bboxes(masks), np.ones(len(spans), np.int32), masks


def test_matches_by_hand():
    truth = row((0, 10), (20, 30))
    # In order of score: 8 of 12 px of the second, 9 of 10 px of the first, the first once more.
    boxes, class_ids, masks = row((0, 9), (22, 32), (0, 10))
    gt_match, pred_match, overlaps = utils.compute_matches(
        *truth, boxes, class_ids, np.array([0.8, 0.9, 0.7]), masks
    )
    assert overlaps == pytest.approx(np.array([[0, 8 / 12], [0.9, 0], [1, 0]]))
    assert gt_match.tolist() == [1, 0]
    assert pred_match.tolist() == [1, 0, -1]


def test_another_class_does_not_match_and_the_next_best_of_its_own_does():
    truth_boxes, _, truth_masks = row((0, 10), (2, 12))
    boxes, class_ids, masks = row((0, 10))
    arguments = boxes, class_ids * 2, np.array([0.9]), masks
    gt_match, pred_match, _ = utils.compute_matches(truth_boxes, np.array([1, 2]), truth_masks, *arguments)
    assert (gt_match.tolist(), pred_match.tolist()) == ([-1, 0], [1])  # 8 of 12 px


def test_padding_is_left_out():
    boxes, class_ids, masks = row((0, 10), (20, 30))
    padded = np.concatenate([boxes, np.zeros((3, 4), int)])
    scores = np.array([0.6, 0.7, 0, 0, 0])
    ids = np.append(class_ids, [0, 0, 0])
    empty = np.concatenate([masks, np.zeros((1, 40, 3), bool)], axis=2)
    gt_match, pred_match, overlaps = utils.compute_matches(padded, ids, empty, padded, ids, scores, empty)
    assert overlaps.shape == (2, 2)
    assert (gt_match.tolist(), pred_match.tolist()) == ([1, 0], [1, 0])


def literal_matches(gt_class_ids, pred_class_ids, overlaps, iou_threshold, score_threshold):
    """The definition, one pair at a time; predictions in order of score already."""
    gt_match, pred_match = [-1] * overlaps.shape[1], [-1] * overlaps.shape[0]
    for i, candidates in enumerate(overlaps):
        for j in np.argsort(-candidates, kind="stable"):
            if candidates[j] < score_threshold:
                break
            if gt_match[j] > -1:
                continue
            if candidates[j] < iou_threshold:
                break
            if pred_class_ids[i] == gt_class_ids[j]:
                gt_match[j], pred_match[i] = i, j
                break
    return gt_match, pred_match


@pytest.mark.parametrize("thresholds", [(0.5, 0.0), (0.2, 0.0), (0.0, 0.0), (0.1, 0.4)])
def test_matches_agree_with_the_definition(thresholds):
    rng = np.random.default_rng(7)
    starts = rng.integers(0, 150, 60)
    spans = np.stack([starts, starts + rng.integers(3, 15, 60)], axis=1)
    truth = row(*spans[:30], width=200)
    boxes, _, masks = row(*spans[10:50] + rng.integers(0, 2, (40, 2)), width=200)
    gt_ids, pred_ids = rng.integers(1, 3, 30), rng.integers(1, 3, 40)
    scores = -np.sort(-rng.random(40))
    found = utils.compute_matches(truth[0], gt_ids, truth[2], boxes, pred_ids, scores, masks, *thresholds)
    expected = literal_matches(gt_ids, pred_ids, found[2], *thresholds)
    assert (found[0].tolist(), found[1].tolist()) == expected


def test_average_precision_by_hand():
    truth = row((0, 10), (20, 30))
    boxes, class_ids, masks = row((0, 10), (12, 18), (20, 30))
    scores = np.array([0.9, 0.8, 0.7])
    ap, precisions, recalls, overlaps = utils.compute_ap(*truth, boxes, class_ids, scores, masks)
    # Right, wrong, right: precision 1 up to a recall of 1/2, then 2/3.
    assert precisions == pytest.approx([1, 1, 2 / 3, 2 / 3, 0])
    assert recalls == pytest.approx([0, 0.5, 0.5, 1, 1])
    assert ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert overlaps.shape == (3, 2)


def test_average_precision_is_0_without_predictions_and_without_instances():
    one, none = row((0, 10)), row()
    score = np.array([0.9])
    assert utils.compute_ap(*one, *none[:2], score[:0], none[2])[0] == 0
    assert utils.compute_ap(*none, *one[:2], score, one[2])[0] == 0
    assert utils.compute_ap(*none, *none[:2], score[:0], none[2])[0] == 0


def test_the_range_is_the_mean_over_its_thresholds(capsys):
    truth = row((0, 10))
    boxes, class_ids, masks = row((0, 8))  # 8 of 10 px: right up to 0.8
    arguments = *truth, boxes, class_ids, np.array([0.9]), masks
    assert utils.compute_ap_range(*arguments, iou_thresholds=[0.5, 0.7, 0.9]) == pytest.approx(2 / 3)
    assert capsys.readouterr().out.splitlines() == [
        "AP @0.50:\t 1.000",
        "AP @0.70:\t 1.000",
        "AP @0.90:\t 0.000",
        "AP @0.50-0.90:\t 0.667",
    ]
    default = utils.compute_ap_range(*arguments, verbose=0)
    singles = [utils.compute_ap(*arguments, iou_threshold=value)[0] for value in np.arange(0.5, 1.0, 0.05)]
    assert default == pytest.approx(np.mean(singles))
    assert capsys.readouterr().out == ""


def test_recall_counts_each_box_once():
    truth = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    found = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 24], [80, 80, 90, 90]])
    recall, positive = utils.compute_recall(found, truth, 0.5)
    assert recall == pytest.approx(1 / 3)
    assert positive.tolist() == [0, 1]
    assert utils.compute_recall(found[:0], truth, 0.5)[0] == 0
    assert utils.compute_recall(found, truth[:0], 0.5)[0] == 0
