import inspect
import random

import keras
import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Polygon, Rectangle  # noqa: E402

from mrcnn import utils, visualize  # noqa: E402

NAMES = ["BG", "nucleus"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch):
    """How often a figure was shown."""
    calls = []
    monkeypatch.setattr(plt, "show", lambda: calls.append(1))
    return calls


def scene(*corners, side=8, size=60):
    """A grey image with square nuclei at the given upper left corners: image, boxes, masks, class ids."""
    masks = np.zeros((size, size, len(corners)), bool)
    for number, (y, x) in enumerate(corners):
        masks[y : y + side, x : x + side, number] = True
    image = np.full((size, size, 3), 200, np.uint8)
    return image, utils.extract_bboxes(masks), masks, np.ones(len(corners), np.int32)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def patches(ax, kind):
    return [patch for patch in ax.patches if isinstance(patch, kind)]


def test_arguments_have_the_names_that_users_know():
    expected = {
        "display_images": "images titles cols cmap norm interpolation",
        "random_colors": "N bright",
        "apply_mask": "image mask color alpha",
        "display_instances": "image boxes masks class_ids class_names scores title figsize ax show_mask "
        "show_bbox colors captions",
        "display_differences": "image gt_box gt_class_id gt_mask pred_box pred_class_id pred_score pred_mask "
        "class_names title ax show_mask show_box iou_threshold score_threshold",
        "draw_rois": "image rois refined_rois mask class_ids class_names limit ax",
        "draw_box": "image box color",
        "display_top_masks": "image mask class_ids class_names limit",
        "plot_precision_recall": "AP precisions recalls ax",
        "plot_overlaps": "gt_class_ids pred_class_ids pred_scores overlaps class_names threshold ax",
        "draw_boxes": "image boxes refined_boxes masks captions visibilities title ax",
        "display_table": "table",
        "display_weight_stats": "model",
    }
    found = {name: " ".join(inspect.signature(getattr(visualize, name)).parameters) for name in expected}
    assert found == expected
    assert set(visualize.__all__) == set(expected)


def test_colors_differ_and_depend_on_the_seed():
    random.seed(1)
    colors = visualize.random_colors(300)
    assert len(set(colors)) == 300
    assert np.min(colors) >= 0
    assert np.max(colors) == 1
    random.seed(1)
    assert visualize.random_colors(300) == colors
    assert np.max(visualize.random_colors(5, bright=False)) == pytest.approx(0.7)
    assert visualize.random_colors(0) == []


def test_a_mask_is_blended_into_the_image_itself():
    image = np.full((2, 2, 3), 100, np.uint8)
    same = visualize.apply_mask(image, np.array([[1, 0], [0, 0]]), (1.0, 0.0, 0.5), alpha=0.5)
    assert same is image
    assert image[0, 0].tolist() == [178, 50, 114]  # (100 + 255) / 2, 100 / 2, (100 + 127.5) / 2
    assert (image[1] == 100).all()


def test_a_box_is_two_pixels_wide():
    image = visualize.draw_box(np.zeros((12, 12, 3), np.uint8), np.array([2, 3, 8, 9]), (9, 9, 9))
    assert np.unique(np.flatnonzero(image[5, :, 0])).tolist() == [3, 4, 9, 10]
    assert np.unique(np.flatnonzero(image[:, 5, 0])).tolist() == [2, 3, 8, 9]


def test_nuclei_of_one_class_get_an_outline_each_and_no_caption(shown):
    image, boxes, masks, class_ids = scene((5, 5), (5, 40), (40, 52))
    ax = visualize.display_instances(image, boxes, masks, class_ids, NAMES)
    assert texts(ax) == []
    assert len(patches(ax, Rectangle)) == len(patches(ax, Polygon)) == 3
    assert len(shown) == 1
    picture = ax.images[0].get_array()
    assert (picture[20, 20] == 200).all()
    assert (picture[8, 8] != 200).any()
    assert (image == 200).all()  # the image given stays as it is


def test_an_outline_runs_around_the_pixels_of_its_mask():
    image, boxes, masks, class_ids = scene((5, 10))
    ax = visualize.display_instances(image, boxes, masks, class_ids, NAMES, ax=plt.subplots()[1])
    corners = patches(ax, Polygon)[0].get_xy()
    # Half way between the pixels of the mask, 10 to 17 and 5 to 12, and those outside.
    assert (corners.min(axis=0).tolist(), corners.max(axis=0).tolist()) == ([9.5, 4.5], [17.5, 12.5])
    assert patches(ax, Rectangle)[0].get_bbox().extents.tolist() == [9.5, 4.5, 17.5, 12.5]


def test_what_is_switched_off_is_not_drawn(shown):
    image, boxes, masks, class_ids = scene((5, 5), (30, 30))
    ax = plt.subplots()[1]
    visualize.display_instances(
        image, boxes, masks, class_ids, NAMES, ax=ax, show_mask=False, show_bbox=False
    )
    assert (ax.images[0].get_array() == 200).all()
    assert patches(ax, Rectangle) == []
    assert len(patches(ax, Polygon)) == 2
    assert shown == []  # the caller's axis is the caller's to show


def test_captions_say_class_and_score_where_there_are_several():
    image, boxes, masks, _ = scene((5, 5), (30, 30))
    arguments = image, boxes, masks, np.array([1, 2])
    three, ax = ["BG", "tumour", "other"], plt.subplots(1, 4)[1]
    assert texts(visualize.display_instances(*arguments, three, ax=ax[0])) == ["tumour", "other"]
    scored = visualize.display_instances(*arguments, three, scores=[0.914, 0.5], ax=ax[1])
    assert texts(scored) == ["tumour 0.91", "other 0.50"]
    one = visualize.display_instances(*arguments[:3], [1, 1], NAMES, scores=[0.914, 0.5], ax=ax[2])
    assert texts(one) == ["0.91", "0.50"]
    own = visualize.display_instances(*arguments, three, captions=["a", ""], ax=ax[3])
    assert texts(own) == ["a"]


def test_padding_and_no_instances_at_all(capsys):
    image, boxes, masks, class_ids = scene((5, 5), (30, 30))
    boxes[1] = 0
    ax = visualize.display_instances(image, boxes, masks, class_ids, NAMES, ax=plt.subplots()[1])
    assert len(patches(ax, Polygon)) == 1
    ax = visualize.display_instances(image, boxes[:0], masks[..., :0], [], NAMES, ax=plt.subplots()[1])
    assert len(ax.images) == 1
    assert capsys.readouterr().out == "no instances to display\n"


def test_as_many_boxes_as_masks():
    image, boxes, masks, class_ids = scene((5, 5), (30, 30))
    with pytest.raises(ValueError, match="1 boxes, 2 masks and 2 class ids"):
        visualize.display_instances(image, boxes[:1], masks, class_ids, NAMES)


def test_lines_and_letters_shrink_with_the_nuclei():
    def sizes(figsize):
        image, boxes, masks, class_ids = scene((5, 5), size=600)
        ax = plt.subplots(figsize=figsize)[1]
        visualize.display_instances(image, boxes, masks, class_ids, NAMES, scores=[0.5], ax=ax)
        return patches(ax, Polygon)[0].get_linewidth(), ax.texts[0].get_size()

    assert sizes((4, 4)) == (0.6, 4)
    assert sizes((100, 100)) == (2, 11)


def test_differences_are_captioned_with_score_and_overlap():
    image, gt_boxes, gt_masks, gt_ids = scene((5, 5), (30, 30))
    _, boxes, masks, class_ids = scene((50, 5), (30, 32), (5, 5))
    scores = np.array([0.6, 0.7, 0.9])  # nowhere, 6 of 8 columns, exactly
    padded = np.concatenate([gt_boxes, np.zeros((1, 4), np.int32)])
    empty = np.concatenate([gt_masks, np.zeros((60, 60, 1), bool)], axis=2)
    ax = plt.subplots()[1]
    visualize.display_differences(
        image, padded, np.append(gt_ids, 0), empty, boxes, class_ids, scores, masks, NAMES, ax=ax
    )
    assert texts(ax) == ["0.90 / 1.00", "0.70 / 0.60", "0.60 / 0.00"]
    colors = [patch.get_edgecolor()[:3] for patch in patches(ax, Polygon)]
    assert colors == [(0, 1, 0)] * 2 + [(1, 0, 0)] * 3


def test_differences_without_any_truth():
    image, boxes, masks, class_ids = scene((5, 5))
    nothing = boxes[:0], class_ids[:0], masks[..., :0]
    ax = plt.subplots()[1]
    visualize.display_differences(image, *nothing, boxes, class_ids, np.array([0.9]), masks, NAMES, ax=ax)
    assert texts(ax) == ["0.90 / 0.00"]


def test_rois_are_drawn_up_to_the_limit(capsys):
    image, boxes, _, _ = scene((5, 5), (5, 30), (30, 5), (30, 30))
    minis = np.ones((4, 28, 28), np.float32)
    ax = visualize.draw_rois(image, boxes + 1, boxes, minis, np.array([1, 0, 1, 0]), NAMES)
    # Four proposals, two of them refined.
    assert len(patches(ax, Rectangle)) == 6
    assert texts(ax) == ["nucleus"] * 2
    assert capsys.readouterr().out == "positive ROIs: 2\nnegative ROIs: 2\npositive ratio: 0.50\n"
    few = visualize.draw_rois(image, boxes, boxes, minis, np.zeros(4, int), NAMES, limit=3)
    assert len(patches(few, Rectangle)) == 3


def test_boxes_before_and_after_refinement():
    image, boxes, masks, _ = scene((5, 5), (30, 30))
    ax = visualize.draw_boxes(image, boxes, boxes + 2, masks, ["a", None], [0, 2], title="all")
    assert len(patches(ax, Rectangle)) == 4
    assert len(patches(ax, Polygon)) == len(ax.lines) == 2
    assert texts(ax) == ["a"]
    assert ax.get_title() == "all"
    assert len(patches(visualize.draw_boxes(image, refined_boxes=boxes), Rectangle)) == 2
    with pytest.raises(ValueError, match="refined_boxes"):
        visualize.draw_boxes(image)


def test_images_stand_in_rows(shown):
    images = [np.zeros((4, 4, 3)), np.eye(4, dtype=bool), np.arange(16).reshape(4, 4)]
    figure = visualize.display_images(images, ["a", "b", "c"], cols=2)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", ""]
    assert len(shown) == 1


def test_top_masks_show_the_classes_that_cover_most(shown):
    image, _, masks, _ = scene((5, 5), (5, 30), (30, 5))
    class_ids = np.array([2, 1, 2])
    figure = visualize.display_top_masks(image, masks, class_ids, ["BG", "small", "large", "absent"])
    assert [ax.get_title() for ax in figure.axes] == ["H x W = 60 x 60", "large", "small"]
    large = figure.axes[1].images[0].get_array()
    assert (large[31, 6] > 0, large[6, 6] > 0, large[6, 31] > 0) == (True, True, False)
    assert large[31, 6] != large[6, 6]
    assert len(visualize.display_top_masks(image, masks, class_ids, NAMES + ["x"], limit=1).axes) == 2


def test_precision_against_recall():
    ax = visualize.plot_precision_recall(0.75, np.array([1, 0.5, 0]), np.array([0, 0.5, 1]))
    assert "0.750" in ax.get_title()
    assert ax.lines[0].get_ydata().tolist() == [1, 0.5, 0]


def test_few_overlaps_are_written_into_their_cells():
    overlaps = np.array([[0.8, 0.0], [0.7, 0.3]])
    gt_ids, pred_ids = np.array([1, 2, 0]), np.array([1, 2])
    ax = visualize.plot_overlaps(gt_ids, pred_ids, [0.9, 0.6], overlaps, ["BG", "a", "b"])
    assert texts(ax) == ["0.80\nmatch", "0.70\nwrong", "0.30"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a (0.90)", "b (0.60)"]


def test_many_overlaps_are_marked():
    ids = np.ones(100, int)
    ax = visualize.plot_overlaps(ids, ids, np.ones(100), np.eye(100), NAMES)
    assert texts(ax) == []
    assert [len(marks.get_offsets()) for marks in ax.collections] == [100, 0]


def test_a_table_has_aligned_columns(capsys):
    visualize.display_table([["name", "n"], ["a", 12]])
    assert capsys.readouterr().out == "name  n\na     12\n"


def test_weights_that_are_dead_or_too_large_are_marked(capsys):
    layers = [
        keras.layers.Dense(units, name=name) for name, units in (("dead", 3), ("large", 2), ("well", 2))
    ]
    model = keras.Sequential([keras.Input((2,)), *layers], name="net")
    model.get_layer("dead").kernel.assign(np.zeros((2, 3)))
    model.get_layer("large").kernel.assign(np.array([[2000.0, 0], [0, 0], [0, 0]]))
    visualize.display_weight_stats(model)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["WEIGHT", "NAME", "SHAPE", "MIN", "MAX", "STD"]
    marked = {line.split()[0]: "dead?" in line or "overflow?" in line for line in lines[1:]}
    assert [name for name, mark in marked.items() if mark] == ["net/dead/kernel", "net/large/kernel"]
    assert len(marked) == 6
