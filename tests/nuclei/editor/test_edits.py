import numpy as np
import pytest
import shapely

from nuclei import tissue
from nuclei.editor import candidates
from nuclei.editor.candidates import Candidate
from nuclei.editor.edits import Editing
from nuclei.errors import InputError

SIDE = 64
SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]


def box(left, top, side=10):
    return shapely.box(left, top, left + side, top + side)


def blank(*proposed):
    return Editing(np.full((SIDE, SIDE, 3), 200, np.uint8), list(proposed))


def areas(editing):
    return [each.area for each in editing.outlines]


def test_draw_and_drop():
    editing = blank()
    first = editing.add(SQUARE)
    assert areas(editing) == [100] and editing.version == 1
    assert first.score is None
    editing.drop(first.key)
    assert areas(editing) == []
    with pytest.raises(InputError, match="not there any more"):
        editing.drop(first.key)
    assert editing.version == 2


def test_an_outline_drawn_over_another_replaces_it():
    editing = blank(Candidate(box(10, 10), 0.5), Candidate(box(40, 40), 0.9))
    editing.start_from_candidates()
    editing.add([[11, 10], [21, 10], [21, 20], [11, 20]])
    assert sorted(areas(editing)) == [100, 100]
    editing.add([[12, 12], [16, 12], [16, 16], [12, 16]])  # within it, but far smaller: another nucleus
    assert len(areas(editing)) == 3
    editing.show_from(0.0)  # what was replaced does not come back
    assert sorted(areas(editing)) == [16, 100, 100]


def test_undo_and_redo_have_no_end():
    editing = blank()
    seen = [editing.state]
    for number in range(300):
        editing.add(np.array(SQUARE) + number % 40)  # most replace the one before
        seen.append(editing.state)
    for state in reversed(seen[:-1]):
        editing.undo()
        assert editing.state is state
    assert not editing.can_undo
    editing.undo()  # nothing left: nothing happens
    for state in seen[1:]:
        editing.redo()
        assert editing.state is state
    assert not editing.can_redo
    editing.undo()
    editing.add(SQUARE)
    assert not editing.can_redo


def test_growing_and_shrinking_stop_at_neighbours_and_at_the_image():
    editing = blank()
    first, other = editing.add(SQUARE), editing.add(np.array(SQUARE) + (11, 0))  # a pixel between them
    editing.grow(first.key, -1)
    assert editing.nucleus(first.key).outline.bounds == pytest.approx((11, 11, 19, 19), abs=0.2)
    for _ in range(3):
        editing.grow(first.key, 1)
    assert editing.nucleus(first.key).outline.bounds[:2] == pytest.approx((8, 8), abs=0.2)
    assert editing.nucleus(first.key).outline.intersection(other.outline).area == 0
    assert editing.nucleus(other.key).outline.area == 100
    at_border = editing.add([[0, 40], [10, 40], [10, 50], [0, 50]])
    editing.grow(at_border.key, 1)
    assert editing.nucleus(at_border.key).outline.bounds == pytest.approx((0, 39, 11, 51), abs=0.2)
    small = editing.add([[40, 40], [43, 40], [43, 43], [40, 43]])
    with pytest.raises(InputError, match="too small"):
        editing.grow(small.key, -1)
    assert editing.nucleus(small.key).outline.area == 9


def test_what_leaves_the_image_is_cut_off():
    editing = blank()
    editing.add([[-10, 5], [10, 5], [10, 15], [-10, 15]])
    assert editing.outlines[0].bounds == (0, 5, 10, 15)
    for points in ([[0, 0], [1, 0], [1, 1]], [[-9, -9], [-1, -9], [-1, -1]], [[1, 1]], [[0, 0], [1, "a"]], 3):
        with pytest.raises(InputError):
            editing.add(points)
    with pytest.raises(InputError):
        editing.add([[0, 0], [np.nan, 0], [9, 9]])
    assert editing.version == 1


def test_a_line_that_crosses_itself_is_one_outline():
    editing = blank()
    editing.add([[0, 0], [20, 20], [20, 0], [0, 19]])
    assert editing.outlines[0].is_valid and editing.outlines[0].geom_type == "Polygon"


def test_move_a_corner():
    editing = blank()
    nucleus = editing.add(SQUARE)
    corners = editing.handles(nucleus.key)
    corner = int(np.argmin(np.abs(corners - (20, 20)).sum(axis=1)))
    editing.move(nucleus.key, corner, 24, 24)
    assert editing.outlines[0].equals(shapely.Polygon([[10, 10], [20, 10], [24, 24], [10, 20]]))
    assert editing.state.nuclei[0].key == nucleus.key
    with pytest.raises(InputError, match="cross itself"):
        editing.move(nucleus.key, corner, 0, 0)
    with pytest.raises(InputError, match="corner"):
        editing.move(nucleus.key, 4, 20, 20)
    with pytest.raises(InputError, match="outside"):
        editing.move(nucleus.key, corner, 99, 20)


def test_split_and_merge():
    editing = blank()
    nucleus = editing.add(SQUARE)
    other = editing.add(np.array(SQUARE) + 30)
    with pytest.raises(InputError, match="all the way"):
        editing.split(nucleus.key, [[15, 5], [15, 15]])
    editing.split(nucleus.key, [[15, 5], [15, 25]])
    assert sorted(areas(editing)) == [50, 50, 100]
    keys = [each.key for each in editing.state.nuclei if each.key != other.key]
    with pytest.raises(InputError, match="do not touch"):
        editing.merge([keys[0], other.key])
    with pytest.raises(InputError, match="into another"):
        editing.merge([keys[0], keys[0]])
    editing.merge(keys)
    assert sorted(areas(editing)) == [100, 100]
    editing.undo()
    editing.undo()
    assert areas(editing) == [100, 100]


def test_pieces_with_a_narrow_gap_merge():
    editing = blank()
    one, two = editing.add(SQUARE), editing.add(np.array(SQUARE) + [12, 0])
    merged = editing.merge([one.key, two.key])
    assert merged.outline.bounds == pytest.approx((10, 10, 32, 20))


def test_a_slider_shows_candidates_by_score():
    proposed = Candidate(box(0, 0), 0.9), Candidate(box(20, 0), 0.5), Candidate(box(40, 0), 0.2)
    editing = blank(*proposed)
    editing.start_from_candidates()
    assert [each.score for each in editing.state.nuclei] == [0.9, 0.5]
    editing.show_from(0.1)
    assert [each.score for each in editing.state.nuclei] == [0.9, 0.5, 0.2]
    editing.drop(editing.state.nuclei[1].key)
    drawn = editing.add([[20, 20], [30, 20], [30, 30], [20, 30]])
    editing.show_from(0.6)
    assert {each.score for each in editing.state.nuclei} == {0.9, None}
    editing.show_from(0.0)  # what was dropped stays dropped, what was drawn stays
    assert {each.score for each in editing.state.nuclei} == {0.9, 0.2, None}
    assert drawn in editing.state.nuclei
    editing.undo()
    editing.undo()
    editing.undo()
    editing.undo()
    assert [each.score for each in editing.state.nuclei] == [0.9, 0.5, 0.2]
    with pytest.raises(InputError):
        editing.show_from(1.5)


def test_a_changed_candidate_is_a_persons():
    editing = blank(Candidate(box(0, 0), 0.5))
    editing.start_from_candidates()
    key = editing.state.nuclei[0].key
    editing.move(key, 0, 12, 0)
    editing.show_from(1.0)
    assert [each.key for each in editing.state.nuclei] == [key]
    editing.show_from(0.0)
    assert [each.key for each in editing.state.nuclei] == [key]  # not a second time


def test_overlapping_candidates_are_one_nucleus_or_share():
    editing = blank(Candidate(box(0, 0), 0.9), Candidate(box(2, 0), 0.8), Candidate(box(7, 0), 0.7))
    editing.start_from_candidates()
    assert areas(editing) == [100, 70]  # the second is the first again, the third gives way


def test_candidates_are_recognised_after_a_restart():
    proposed = Candidate(box(0, 0), 0.9), Candidate(box(20, 0), 0.5)
    editing = blank(*proposed)
    editing.start([*proposed, Candidate(box(40, 40))])
    editing.recognise()
    assert [each.origin for each in editing.state.nuclei] == [0, 1, None]
    editing.show_from(0.8)
    assert [each.score for each in editing.state.nuclei] == [None, 0.9]


def test_a_click_gets_the_candidate_below_the_threshold():
    editing = blank(Candidate(box(0, 0), 0.1), Candidate(box(0, 0, 12), 0.3))
    editing.start_from_candidates()
    assert editing.propose(5, 5).outline.area == 144
    with pytest.raises(InputError, match="outline already"):
        editing.propose(5, 5)
    with pytest.raises(InputError, match="nothing stands out"):
        editing.propose(40, 40)
    with pytest.raises(InputError, match="outside"):
        editing.propose(-3, 5)


def test_a_click_on_tissue_outlines_the_nucleus_there():
    image, labels = tissue.generate("glandular", 256, 0)
    found = 0
    for label in range(1, labels.max() + 1):
        rows, columns = np.nonzero(labels == label)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        x, y = columns[middle] + 0.5, rows[middle] + 0.5
        candidate = candidates.from_click(image, x, y, [])
        if candidate is None:
            continue
        assert candidate.outline.contains(shapely.Point(x, y))
        truth = shapely.union_all(
            [shapely.box(c, r, c + 1, r + 1) for r, c in zip(rows, columns, strict=True)]
        )
        common = candidate.outline.intersection(truth).area
        found += common / candidate.outline.union(truth).area > 0.6
    assert found >= 0.6 * labels.max()


def test_a_click_never_takes_pixels_of_a_neighbour():
    image, labels = tissue.generate("lymphoid", 128, 0)
    others = [each.outline for each in candidates.from_labels(np.where(labels > 1, labels, 0))]
    rows, columns = np.nonzero(labels == 1)
    candidate = candidates.from_click(image, columns.mean(), rows.mean(), others)
    if candidate is not None:
        assert all(candidate.outline.intersection(other).area < 12 for other in others)


def test_masks_become_outlines_where_they_lie():
    mask = np.ones((6, 8), bool)
    candidate = candidates.from_mask(mask, 10, 20, 0.25)
    assert candidate.outline.bounds == (20, 10, 28, 16) and candidate.score == 0.25
