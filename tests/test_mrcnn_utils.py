import numpy as np

from mrcnn import utils


def test_extract_bboxes_ends_are_exclusive_and_empty_masks_give_zeros():
    masks = np.zeros((8, 9, 2), bool)
    masks[2:5, 3:9, 0] = True
    assert utils.extract_bboxes(masks).tolist() == [[2, 3, 5, 9], [0, 0, 0, 0]]


def test_pasting_is_cut_at_the_image_and_empty_outside():
    full = np.ones((28, 28), np.float32)
    window, top, left = utils.paste_mask(full, (-5.0, 6.0, 5.0, 20.0), (10, 12))
    assert (window.shape, top, left) == ((5, 6), 0, 6)
    assert window.all()
    assert utils.paste_mask(full, (20.0, 20.0, 30.0, 30.0), (10, 12))[0].size == 0


def test_pasting_does_not_round_the_box():
    half = np.zeros((28, 28), np.float32)
    half[:, :14] = 1
    window, _, left = utils.paste_mask(half, (0.0, 2.5, 4.0, 12.5), (4, 20))
    assert left == 2
    # The mask ends at 2.5 + 5 = 7.5 px: pixels with centres 2.5 .. 7.5 belong to it, up to the tie.
    assert window[0].sum() in (5, 6)


def test_a_dataset_numbers_its_images_and_classes():
    dataset = utils.Dataset()
    dataset.add_class("nuclei", 1, "nucleus")
    dataset.add_class("nuclei", 1, "nucleus")
    dataset.add_image("nuclei", "a", "a.png", weight=2)
    dataset.prepare()
    assert dataset.class_names == ["BG", "nucleus"]
    assert dataset.image_ids.tolist() == [0]
    assert dataset.image_reference(0) == "a.png"


def test_masks_become_a_label_image():
    class Two(utils.Dataset):
        def load_mask(self, image_id):
            masks = np.zeros((2, 3, 2), bool)
            masks[0, :2, 0] = masks[:, 1, 1] = True  # they share one pixel
            return masks, np.int32([1, 1])

    labels, class_ids = Two().load_labels(0)
    assert labels.tolist() == [[1, 2, 0], [0, 2, 0]]
    assert class_ids.tolist() == [1, 1]
