import numpy as np
import pytest

from mrcnn.inference.tiling import Instance
from mrcnn.selftraining.pseudo_labels import Limits, divide

LIMITS = Limits(confidence=0.4, agreement=0.6)
NOTHING = np.zeros((20, 30), np.int32)


def instance(score, agreement):
    return Instance(np.ones((2, 2), bool), 0, 0, score, False, agreement=agreement)


@pytest.fixture
def labels():
    """Three nuclei side by side."""
    labels = NOTHING.copy()
    for number, left in enumerate((2, 10, 20), 1):
        labels[5:10, left : left + 5] = number
    return labels


def test_what_the_network_or_the_views_are_not_sure_of_is_undecided(labels):
    found = divide(labels, [instance(0.9, 0.5), instance(0.8, 0.7), instance(0.3, 0.9)], LIMITS, NOTHING)
    assert np.array_equal(found.certain > 0, labels == 2)
    assert found.certain.max() == 1
    assert found.scores == pytest.approx([0.8])
    assert np.array_equal(found.undecided, np.select([labels == 1, labels == 3], [1, 2]))


def test_what_is_stained_but_was_not_found_is_undecided(labels):
    stained = NOTHING.copy()
    stained[8:12, 2:6] = 1  # touches the first nucleus
    stained[14:18, 2:6] = 2
    found = divide(labels, [instance(0.9, 0.9)] * 3, LIMITS, stained)
    assert np.array_equal(found.certain, labels)
    assert np.array_equal(found.undecided, np.where(stained == 2, 1, 0))


def test_undecided_detections_and_stains_do_not_share_an_id(labels):
    stained = NOTHING.copy()
    stained[14:18, 2:6] = 1
    found = divide(labels, [instance(0.9, 0.9), instance(0.3, 0.9), instance(0.2, 0.9)], LIMITS, stained)
    ids = {found.undecided[labels == 2].min(), found.undecided[labels == 3].min(), found.undecided[15, 3]}
    assert ids == {1, 2, 3}


def test_nothing_found_leaves_nothing(labels):
    found = divide(NOTHING, [], LIMITS, NOTHING)
    assert not found.certain.any() and not found.undecided.any() and len(found.scores) == 0
