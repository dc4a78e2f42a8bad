import threading

import numpy as np
import pytest
from skimage.color import rgb2hed
from skimage.measure import label as connected
from sklearn.metrics import roc_auc_score

from mrcnn.data import augment
from nuclei import tissue

STEPS = [augment.turn, augment.mirror, augment.zoom, augment.elastic, augment.stain, augment.blur]


@pytest.fixture(scope="module")
def pair():
    return tissue.generate("carcinoma", 192, 3)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("step", [*STEPS, augment.augment], ids=lambda step: step.__name__)
def test_a_step_is_repeatable_and_leaves_its_input_alone(pair, step):
    image, labels = pair[0].copy(), pair[1].copy()
    first, again = step(image, labels, rng(1)), step(image, labels, rng(1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (image == pair[0]).all()
    assert (labels == pair[1]).all()
    assert first[0].shape == (*first[1].shape, 3)
    assert first[0].dtype == np.uint8
    assert first[1].dtype == np.int32


def haematoxylin_tells_nuclei(image, labels) -> float:
    """The AUC of a pixel's haematoxylin for being part of a nucleus: however pale the dyes, it stays."""
    return roc_auc_score(labels.ravel() > 0, rgb2hed(image)[..., 0].ravel())


@pytest.mark.parametrize("step", [augment.turn, augment.elastic, augment.augment], ids=lambda f: f.__name__)
def test_labels_stay_on_their_nuclei(pair, step):
    before = haematoxylin_tells_nuclei(*pair)
    for seed in range(10):
        assert haematoxylin_tells_nuclei(*step(*pair, rng(seed))) > before - 0.02


def test_turns_are_the_eight_of_a_square():
    labels = np.int32([[1, 2], [3, 4]])
    image = np.repeat(labels[..., None], 3, axis=2).astype(np.uint8)
    found = set()
    for seed in range(60):
        turned, moved = augment.turn(image, labels, rng(seed))
        assert (turned[..., 0] == moved).all()
        found.add(tuple(moved.ravel().tolist()))
    expected = set()
    for quarter_turns in range(4):
        turned = np.rot90(labels, quarter_turns)
        expected |= {tuple(turned.ravel().tolist()), tuple(turned[:, ::-1].ravel().tolist())}
    assert len(expected) == 8
    assert found == expected


def test_mirror_exchanges_left_and_right_or_nothing():
    labels = np.int32([[1, 2, 3]])
    image = np.zeros((1, 3, 3), np.uint8)
    found = {tuple(augment.mirror(image, labels, rng(seed))[1][0].tolist()) for seed in range(20)}
    assert found == {(1, 2, 3), (3, 2, 1)}


def test_rescaling_by_one_interpolates_nothing_and_by_two_repeats_labels(pair):
    same = augment.rescale(*pair, 1)
    assert (same[0] == pair[0]).all()
    assert (same[1] == pair[1]).all()
    twice = augment.rescale(*pair, 2)[1]
    assert (twice == np.kron(pair[1], np.ones((2, 2), np.int32))).all()


def test_zoom_stays_between_its_limits(pair):
    sides = [augment.zoom(*pair, rng(seed), low=0.5, high=0.75)[1].shape[0] for seed in range(20)]
    assert 96 <= min(sides) < max(sides) <= 144


@pytest.mark.parametrize("kind", ["lymphoid", "stroma"])
def test_elastic_keeps_every_nucleus_in_one_piece(kind):
    image, labels = tissue.generate(kind, 192, 1)
    _, moved = augment.elastic(image, labels, rng(2), spacing=32, strength=7.9)
    assert (moved != labels).mean() > 0.02
    assert set(np.unique(moved)) == set(np.unique(labels))
    for number in np.unique(moved)[1:]:
        assert connected(moved == number, connectivity=2).max() == 1


def test_elastic_holds_the_borders_and_brings_nothing_from_outside():
    height, width = 70, 113
    rows, columns = np.mgrid[:height, :width].astype(np.int32)
    image = np.zeros((height, width, 3), np.uint8)
    _, from_row = augment.elastic(image, rows, rng(3), spacing=30, strength=7)
    _, from_column = augment.elastic(image, columns, rng(3), spacing=30, strength=7)
    assert (from_row[0] == 0).all()
    assert (from_row[-1] == height - 1).all()
    assert (from_column[:, 0] == 0).all()
    assert (from_column[:, -1] == width - 1).all()
    assert (np.diff(from_row, axis=0) >= 0).all()  # it folds nowhere
    assert (np.diff(from_column, axis=1) >= 0).all()
    assert 1 <= np.abs(from_row - rows).max() <= 7


def test_elastic_of_strength_zero_changes_nothing(pair):
    image, labels = augment.elastic(*pair, rng(), strength=0)
    assert (image == pair[0]).all()
    assert (labels == pair[1]).all()


@pytest.mark.parametrize("strength", [-1, 12, 20])
def test_elastic_refuses_what_could_fold(pair, strength):
    with pytest.raises(ValueError, match="a quarter of the spacing, 48 px"):
        augment.elastic(*pair, rng(), strength=strength)


def test_elastic_takes_images_smaller_than_the_spacing():
    image, labels = np.zeros((20, 1, 3), np.uint8), np.ones((20, 1), np.int32)
    assert (augment.elastic(image, labels, rng())[1] == 1).all()


def test_stain_jitter_of_strength_zero_changes_nothing_but_rounding():
    image = rng().integers(20, 250, (16, 16, 3)).astype(np.uint8)
    same = augment.jitter_stain(image, rng(), strength=0, shift=0)
    assert np.abs(same.astype(int) - image).max() <= 1


def test_stain_jitter_changes_the_dye_but_hardly_the_empty_background(pair):
    white = np.full((8, 8, 3), 255, np.uint8)
    for seed in range(10):
        changed, labels = augment.stain(*pair, rng(seed))
        assert labels is pair[1]
        assert 1 < np.abs(changed.astype(int) - pair[0]).mean() < 40
        assert augment.jitter_stain(white, rng(seed)).min() > 235


def test_blur_comes_with_its_chance(pair):
    blurred = [(augment.blur(*pair, rng(seed))[0] != pair[0]).any() for seed in range(100)]
    assert 20 <= sum(blurred) <= 40


def test_steps_are_composed_in_their_order():
    def double(image, labels, rng):
        return image, labels * 2

    def add(image, labels, rng):
        return image, labels + int(rng.integers(1, 2))

    image, labels = np.zeros((1, 1, 3), np.uint8), np.int32([[5]])
    assert augment.compose(double, add)(image, labels, rng())[1] == 11
    assert augment.compose(add, double)(image, labels, rng())[1] == 12
    assert augment.compose()(image, labels, rng())[1] == 5


class Compose:
    """What is used of albumentations: mirrors or not, by a random state that every call moves on."""

    transforms = ()

    def __init__(self):
        self.random_state = None

    def set_random_seed(self, seed):
        self.random_state = np.random.default_rng(seed)

    def __call__(self, *args, force_apply=False, **data):
        assert set(data) == {"image", "mask"} and data["mask"].dtype == np.int32
        if self.random_state.random() < 0.5:
            return {name: value[:, ::-1] for name, value in data.items()}
        return data


def test_a_compose_of_albumentations_moves_image_and_labels_alike_and_by_the_rng(pair):
    step = augment.as_augmentation(Compose())
    mirrored = []
    for seed in range(20):
        image, labels = step(*pair, rng(seed))
        assert labels.dtype == np.int32
        assert (image == step(*pair, rng(seed))[0]).all()
        mirrored.append((image != pair[0]).any())
        assert mirrored[-1] == (labels != pair[1]).any()
    assert 0 < sum(mirrored) < 20


def test_a_compose_of_albumentations_is_not_shared_by_threads(pair):
    step, found = augment.as_augmentation(Compose()), {}

    def work(seed):
        found[seed] = step(*pair, rng(seed))[1]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[seed] == step(*pair, rng(seed))[1]).all() for seed in range(8))


def test_a_compose_that_cannot_be_seeded_is_refused():
    class Old:
        transforms = ()

        def __call__(self, *args, **data):
            return data

    with pytest.raises(ValueError, match="a Compose of albumentations 2"):
        augment.as_augmentation(Old())


def test_an_augmenter_of_imgaug_is_refused_with_what_to_pass_instead():
    class Fliplr:
        def to_deterministic(self):
            return self

        def augment_image(self, image):
            return image

    with pytest.raises(ValueError, match="imgaug does not work .* pass a function .* albumentations"):
        augment.as_augmentation(Fliplr())


def test_what_is_no_augmentation_is_refused():
    assert augment.as_augmentation(None) is None
    assert augment.as_augmentation(augment.elastic) is augment.elastic
    for wrong in (3, "flip", augment, lambda image: image):
        with pytest.raises(ValueError, match="is no augmentation; pass a function"):
            augment.as_augmentation(wrong)
