import json

import keras
import numpy as np
import pytest

from mrcnn import data, model, tiles
from mrcnn.config import Config, NucleusConfig
from mrcnn.network import Trainer
from nuclei import metrics, patches, tissue
from nuclei.errors import InputError


class Tiny(NucleusConfig):
    IMAGE_DIM = 128
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 10
    MAX_GT_INSTANCES = 40
    DETECTION_MAX_INSTANCES = 64
    TOP_DOWN_PYRAMID_SIZE = 48
    RPN_CHANNELS = 48
    MASK_CHANNELS = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 128


PAIRS = {kind: tissue.generate(kind, 128, 3) for kind in ("lymphoid", "glandular")}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    for kind, pair in PAIRS.items():
        patches.write_patch(folder, kind, *pair)
    found = data.PatchDataset()
    found.add_patches(folder, list(PAIRS))
    found.prepare()
    return found


def make(folder, seed=0):
    network = model.MaskRCNN("training", Tiny(), folder, seed)
    network.load_imagenet_weights()
    return network


@pytest.fixture(scope="module")
def overfitted(dataset, tmp_path_factory):
    network = make(tmp_path_factory.mktemp("model"))
    losses = network.train(dataset, None, model.WarmUpAndDecay(1e-3, 80), epochs=8)
    return network, losses


def test_detections_less_likely_than_background_are_found_when_asked_for(tmp_path):
    config = Tiny()
    config.DETECTION_MIN_CONFIDENCE = 0.2
    network = model.MaskRCNN("inference", config, tmp_path)
    # Every region gets the logits 1 for background and 0 for a nucleus.
    logits = network.keras_model.box_head.get_layer("mrcnn_class_logits")
    weights, _ = logits.get_weights()
    logits.set_weights([np.zeros_like(weights), np.float32([1, 0])])
    scores = network.find(PAIRS["lymphoid"][0][None])[0]["scores"]
    assert len(scores) > 0
    assert scores == pytest.approx(1 / (1 + np.e))


def test_outlines_that_are_a_guess_are_not_learnt_but_places_are(overfitted, dataset):
    network, _ = overfitted
    (batch,) = data.Batches(dataset, Tiny())[0]
    batch["outlined"][:] = 0
    losses = {name: float(value) for name, value in Trainer(network.keras_model, 0)(batch).items()}
    assert losses["rpn_bbox_loss"] == losses["mrcnn_bbox_loss"] == losses["mrcnn_mask_loss"] == 0
    assert losses["rpn_class_loss"] > 0
    assert losses["mrcnn_class_loss"] > 0


def test_it_overfits_two_patches(overfitted):
    network, losses = overfitted
    for name, values in losses.items():
        assert values[-1] < 0.8 * values[0], name
    for image, truth in PAIRS.values():
        labels, scores = tiles.segment(network, image)
        assert metrics.aji(truth, labels) > 0.6
        assert len(scores) == labels.max()


def test_a_saved_model_finds_the_same(overfitted, tmp_path):
    network, _ = overfitted
    network.save(tmp_path)
    again = model.load(tmp_path)
    image = PAIRS["lymphoid"][0]
    assert (tiles.segment(again, image)[0] == tiles.segment(network, image)[0]).all()


def test_detect_answers_in_matterports_form(overfitted):
    image = PAIRS["lymphoid"][0][:100, :90]
    (found,) = overfitted[0].detect([image])
    count = len(found["scores"])
    assert count > 0
    assert found["masks"].shape == (100, 90, count)
    assert found["masks"].dtype == bool
    assert found["rois"].shape == (count, 4)
    assert set(found["class_ids"]) == {1}
    assert (np.diff(found["scores"]) <= 0).all()


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_killed_training_goes_on_where_it_was(dataset, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path).train(dataset, None, 1e-3, 3, "heads", custom_callbacks=[Kill()])
    assert len(json.loads((tmp_path / "losses.json").read_text())["loss"]) == 2
    network = make(tmp_path, seed=7)  # the initial weights no longer matter
    losses = network.train(dataset, None, 1e-3, 3, "heads")
    assert len(losses["loss"]) == 3
    assert losses["loss"][2] < losses["loss"][0]


def test_parameters_are_counted_as_the_layers_say(overfitted):
    network = overfitted[0].keras_model
    # A shared 3 x 3 convolution and two 1 x 1 answers on 3 anchors, 48 channels.
    assert network.rpn.count_params() == 48 * 48 * 9 + 48 + 48 * 6 + 6 + 48 * 12 + 12
    heads = network.rpn.count_params() + network.box_head.count_params() + network.mask_head.count_params()
    assert network.count_params() == network.pyramid.count_params() + heads


def test_wrong_uses_are_refused(overfitted, dataset, tmp_path):
    with pytest.raises(ValueError, match="'training' or 'inference'"):
        model.MaskRCNN("train", Tiny(), tmp_path)
    with pytest.raises(ValueError, match="holds no image"):
        overfitted[0].train(data.PatchDataset(), None, 1e-3, 1)
    with pytest.raises(ValueError, match="layers is 'all' or 'heads'"):
        overfitted[0].train(dataset, None, 1e-3, 1, "some")
    unknown = Config()
    unknown.BACKBONE = "vgg"
    with pytest.raises(ValueError, match="unknown BACKBONE 'vgg'"):
        model.MaskRCNN("training", unknown, tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="run pseudo_label.py first"):
        model.load(tmp_path)


def test_broken_weights_are_refused(overfitted, tmp_path):
    (tmp_path / model.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(InputError, match="does not hold weights of this network"):
        overfitted[0].load_weights(tmp_path / model.WEIGHTS)


def test_the_learning_rate_rises_and_falls():
    rate = model.WarmUpAndDecay(1e-3, 100)
    assert float(rate(0)) == pytest.approx(1e-4)
    assert float(rate(50)) == pytest.approx(0.51e-3)
    assert float(rate(100)) == pytest.approx(2e-5, rel=1e-3)


def test_a_training_in_two_parts_follows_one_cosine():
    rate, second = model.WarmUpAndDecay(1e-3, 100), model.WarmUpAndDecay(1e-3, 100, start=50)
    assert float(second(0)) == pytest.approx(0.2 * 0.51e-3)  # a rise of five steps
    assert float(second(10)) == pytest.approx(float(rate(60)))
    assert float(second(50)) == pytest.approx(float(rate(100)))


def test_the_network_ends_with_the_average_of_its_weights(dataset, tmp_path):
    class Last(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(network.keras_model.box_head.get_weights()[0])

    steps, network = [], make(tmp_path)
    network.config.STEPS_PER_EPOCH, network.config.WEIGHT_AVERAGING = 2, 0.75
    network.train(dataset, None, 1e-3, 1, "heads", custom_callbacks=[Last()])
    average = network.keras_model.box_head.get_weights()[0]
    assert np.allclose(average, 0.75 * steps[0] + 0.25 * steps[1], atol=1e-6)
    assert not np.allclose(average, steps[1], atol=1e-6)
