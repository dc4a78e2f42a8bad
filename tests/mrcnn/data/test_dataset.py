import warnings

import cv2
import numpy as np
import pytest

from mrcnn.utils import Dataset
from nuclei.errors import InputError


class Masked(Dataset):
    """Every image has the same masks."""

    def __init__(self, masks, class_ids):
        super().__init__()
        self.masks, self.ids = masks, class_ids
        for name in ("a.png", "b.png"):
            self.add_image("nuclei", name, name)

    def load_mask(self, image_id):
        return self.masks, self.ids


def two_sources():
    dataset = Dataset()
    dataset.add_class("coco", 12, "cat, domestic")
    dataset.add_class("nuclei", 12, "nucleus")
    dataset.add_class("coco", 12, "cat again")
    dataset.add_image("nuclei", "a", "folder/a.png", weight=2)
    dataset.prepare()
    return dataset


def test_classes_and_images_are_numbered():
    dataset = two_sources()
    assert dataset.class_names == ["BG", "cat", "nucleus"]
    assert dataset.num_classes == 3
    assert dataset.image_ids.tolist() == [0]
    assert dataset.image_info[0]["weight"] == 2
    assert dataset.image_reference(0) == dataset.source_image_link(0) == "folder/a.png"


def test_ids_of_a_source_and_internal_ones_lead_to_each_other():
    dataset = two_sources()
    assert dataset.sources == ["", "coco", "nuclei"]
    assert dataset.source_class_ids == {"": [0], "coco": [0, 1], "nuclei": [0, 2]}
    assert dataset.class_from_source_map == {".0": 0, "coco.12": 1, "nuclei.12": 2}
    assert dataset.image_from_source_map == {"nuclei.a": 0}
    assert dataset.map_source_class_id("nuclei.12") == 2
    assert dataset.get_source_class_id(2, "nuclei") == 12
    with pytest.raises(ValueError, match="'nuclei'"):
        dataset.get_source_class_id(2, "coco")


def test_there_are_no_images_before_prepare():
    dataset = Dataset()
    dataset.add_image("nuclei", "a", "a.png")
    assert dataset.image_ids.size == 0


def test_arguments_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match="dot"):
        Dataset().add_class("a.b", 1, "nucleus")
    with pytest.raises(ValueError, match="class_map"):
        Dataset().prepare({1: 2})
    with pytest.raises(ValueError, match="class_map"):
        Dataset(class_map={1: 2})


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        (np.uint8([[7]]), [7, 7, 7]),  # grey
        (np.uint8([[[1, 2, 3]]]), [3, 2, 1]),  # OpenCV writes blue first
        (np.uint8([[[1, 2, 3, 255]]]), [3, 2, 1]),
    ],
)
def test_an_image_is_read_as_rgb(tmp_path, pixel, expected):
    cv2.imwrite(str(tmp_path / "a.png"), pixel)
    dataset = Dataset()
    dataset.add_image("nuclei", "a", tmp_path / "a.png")
    image = dataset.load_image(0)
    assert image.dtype == np.uint8
    assert image.tolist() == [[expected]]


def test_a_missing_image_is_named(tmp_path):
    dataset = Dataset()
    dataset.add_image("nuclei", "a", tmp_path / "a.png")
    with pytest.raises(InputError, match="a.png"):
        dataset.load_image(0)


def test_without_a_load_mask_there_is_no_instance_and_a_warning(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 6, 3), np.uint8))
    dataset = Dataset()
    dataset.add_image("nuclei", "a", tmp_path / "a.png")
    with pytest.warns(UserWarning, match="a.png"):
        masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (0, 0, 0)
    assert len(class_ids) == 0
    with pytest.warns(UserWarning):
        labels, class_ids = dataset.load_labels(0)
    assert labels.shape == (4, 6)
    assert not labels.any()
    assert len(class_ids) == 0


def test_masks_become_a_label_image_and_one_warning_tells_of_overlaps(caplog):
    masks = np.zeros((2, 3, 2), bool)
    masks[0, :2, 0] = masks[:, 1, 1] = True  # they share one pixel
    dataset = Masked(masks, [1, 1])
    labels, class_ids = dataset.load_labels(0)
    (warning,) = caplog.messages
    assert "a.png overlap in 1 px" in warning
    assert labels.tolist() == [[1, 2, 0], [0, 2, 0]]
    assert class_ids.dtype == np.int32
    dataset.load_labels(1)
    assert caplog.messages == [warning]


def test_masks_that_do_not_overlap_are_not_reported():
    masks = np.eye(3, dtype=np.uint8)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels, _ = Masked(masks, np.ones(3)).load_labels(0)
    assert labels.tolist() == [[1, 2, 3]]


def test_as_many_class_ids_as_masks():
    with pytest.raises(ValueError, match=r"a\.png: 2 masks, but 1 class ids"):
        Masked(np.zeros((2, 2, 2), bool), [1]).load_labels(0)
