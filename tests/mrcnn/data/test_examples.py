import numpy as np
import pytest

from mrcnn import utils
from mrcnn.config import NucleusConfig
from mrcnn.data import augment, examples


class Dataset(utils.Dataset):
    """One image, its labels and class ids, as given."""

    def __init__(self, image, labels, class_ids=(1, 1, 1)):
        super().__init__()
        self.given = image, labels, class_ids
        self.add_class("nuclei", 1, "nucleus")
        self.add_image("nuclei", 0, "slide.png")
        self.prepare()

    def load_image(self, image_id):
        return self.given[0]

    def load_labels(self, image_id):
        return self.given[1:]


def config(mode="crop", min_dim=64, max_dim=64, min_scale=0):
    changed = NucleusConfig()
    changed.IMAGE_RESIZE_MODE, changed.IMAGE_MIN_SCALE = mode, min_scale
    changed.IMAGE_MIN_DIM, changed.IMAGE_MAX_DIM = min_dim, max_dim
    return changed


def picture(height, width):
    """Grey, with a black rectangle of label 1 from (10, 20) to (30, 50)."""
    image, labels = np.full((height, width, 3), 200, np.uint8), np.zeros((height, width), np.int32)
    image[10:30, 20:50], labels[10:30, 20:50] = 0, 1
    return image, labels


def load(image, labels, settings, augmentation=None, seed=0, **dataset):
    made = Dataset(image, labels, **dataset)
    return examples.load_example(made, settings, 0, augmentation, np.random.default_rng(seed))


def test_an_image_of_the_size_of_the_network_is_taken_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    labels = np.random.default_rng(1).integers(0, 4, (64, 64)).astype(np.int32)
    found = load(image, labels, config())
    assert (found.image == image).all()
    assert (found.labels == labels).all()
    assert found.scale == 1
    assert found.window == (0, 0, 64, 64)


def test_crop_takes_windows_of_image_and_labels_at_the_same_random_places():
    image, labels = picture(100, 90)
    found = [load(image, labels, config(), seed=seed) for seed in range(8)]
    assert all(((example.image[..., 0] == 0) == (example.labels == 1)).all() for example in found)
    assert len({example.labels.tobytes() for example in found}) > 4


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        (config(min_dim=128), 1),  # padded: nuclei keep their size
        (config(min_dim=64, min_scale=1.5), 1.5),
        (config(min_dim=64), 1),
    ],
)
def test_crop_enlarges_first_where_the_settings_ask_for_it(settings, scale):
    image, labels = picture(64, 80)
    found = load(image, labels, settings, lambda image, labels, rng: (image, labels))
    assert found.scale == scale
    assert found.image.shape == (settings.IMAGE_MIN_DIM, settings.IMAGE_MIN_DIM, 3)
    assert found.original_shape == (64, 80, 3)


def test_square_pads_with_the_median_colour_and_moves_labels_along():
    image, labels = picture(60, 120)
    found = load(image, labels, config("square", 120, 256))
    assert found.scale == 2
    assert found.window == (68, 8, 188, 248)
    assert found.image.shape == (256, 256, 3)
    assert (found.image[:68] == 200).all()
    assert (found.image[188:] == 200).all()
    rows, columns = np.nonzero(found.labels)
    assert (rows.min(), rows.max() + 1) == (68 + 20, 68 + 60)
    assert (columns.min(), columns.max() + 1) == (8 + 40, 8 + 100)


def test_pad64_and_none_keep_the_size_of_the_image():
    image, labels = picture(60, 100)
    assert load(image, labels, config("pad64", 0)).image.shape == (64, 128, 3)
    found = load(image, labels, config("none"))
    assert (found.image == image).all()
    assert found.window == (0, 0, 60, 100)


@pytest.mark.parametrize("mode", ["crop", "square", "pad64", "none"])
@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_what_an_augmentation_enlarges_or_shrinks_keeps_its_size(mode, factor):
    def zoom(image, labels, rng):
        return augment.rescale(image, labels, factor)

    image, labels = picture(64, 64)
    found = load(image, labels, config(mode), zoom)
    assert found.image.shape == (64, 64, 3)
    if factor < 1:
        assert (found.image[32:] == 200).all()  # no black margin


def test_an_augmentation_sees_no_more_of_a_large_image_than_it_needs():
    def note(image, labels, rng):
        seen.append(image.shape)
        return image, labels

    seen = []
    for height, width in ((500, 80), (64, 64), (300, 300)):
        load(*picture(height, width), config(), note)
    assert seen == [(96, 80, 3), (64, 64, 3), (96, 96, 3)]


def test_an_augmentation_that_loses_the_labels_is_told():
    image, labels = picture(64, 64)
    with pytest.raises(
        ValueError, match=r"the augmentation returned an image \(64, 64, 3\) uint8 with labels"
    ):
        load(image, labels, config(), lambda image, labels, rng: (image, labels[:10]))


@pytest.mark.parametrize(
    ("image", "labels", "class_ids", "message"),
    [
        (np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64), int), [], r"\(64, 64, 4\) uint8"),
        (np.zeros((64, 64), np.uint8), np.zeros((64, 64), int), [], r"must be \(H, W, 3\) uint8"),
        (np.zeros((64, 64, 3)), np.zeros((64, 64), int), [], "float64; with IMAGE_CHANNEL"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 65), int), [], r"masks are of \(64, 65\) px"),
        (np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 2), [1], "labels from 2 to 2 with 1 class ids"),
        (
            np.zeros((64, 64, 3), np.uint8),
            np.zeros((64, 64), int),
            [1, 2],
            "class id 2; with NUM_CLASSES = 2",
        ),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), int), [0], "class id 0"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), int), [-2], "class id -2"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line_with_the_image(image, labels, class_ids, message):
    with pytest.raises(ValueError, match=rf"^slide\.png: .*{message}") as error:
        load(image, labels, config(), class_ids=class_ids)
    assert "\n" not in str(error.value)


def test_regions_to_ignore_have_negative_class_ids():
    image, labels = picture(64, 64)
    assert load(image, labels, config(), class_ids=[-1]).class_ids.tolist() == [-1]


def test_fit_pads_without_inventing_nuclei():
    image = np.full((50, 60, 3), 200, np.uint8)
    padded, moved = examples.fit(image, np.ones((50, 60), np.int32), (64, 64), np.random.default_rng(0))
    assert padded.shape == (64, 64, 3)
    assert (padded == 200).all()
    assert moved.sum() == 50 * 60


def test_instances_are_those_in_view():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 3:9] = 2
    labels[10, 5:9] = 4  # a line
    labels[18:, 18:] = 7
    found = examples.find_instances(labels)
    assert [label for label, _ in found] == [2, 7]
    assert examples.boxes_of(found).tolist() == [[2, 3, 6, 9], [18, 18, 20, 20]]
    assert examples.boxes_of([]).shape == (0, 4)
