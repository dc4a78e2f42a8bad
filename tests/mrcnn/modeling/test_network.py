import keras
import numpy as np
import pytest

from mrcnn.data.loader import Batches
from mrcnn.modeling import weights
from mrcnn.modeling.network import Network
from mrcnn.training.trainer import LOSSES, Trainer
from nuclei.errors import InputError
from tests.tiny_network import Discs, config, discs, eagerly

CENTRES = [(30, 30), (80, 40), (60, 100)]


@pytest.fixture(scope="module", autouse=True)
def without_compiling():
    with eagerly():
        yield


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return Network(config())


def batch_of(*images, **options):
    (batch,) = Batches(Discs(*images, **options), config())[0]
    return batch


def losses_of(network, batch):
    return {name: float(value) for name, value in Trainer(network, 0)(batch).items()}


def test_layers_are_found_by_name_wherever_they_are(network):
    assert network.get_layer("fpn_c5p5").filters == 32
    assert network.get_layer("mrcnn_class_logits").units == 2
    assert network.get_layer("rpn_model") is network.rpn
    assert network.get_layer(index=0) is network.layers[0]
    with pytest.raises(ValueError, match="no layer is called 'fpn_c9p9'"):
        network.get_layer("fpn_c9p9")


def test_parameters_are_counted_as_the_layers_say(network):
    # A shared 3 x 3 convolution and two 1 x 1 answers on 3 anchors, 32 channels.
    assert network.rpn.count_params() == 32 * 32 * 9 + 32 + 32 * 6 + 6 + 32 * 12 + 12
    heads = network.rpn.count_params() + network.box_head.count_params() + network.mask_head.count_params()
    assert network.count_params() == network.pyramid.count_params() + heads


def test_a_summary_names_its_parts_and_counts_their_weights(network, capsys):
    network.summary()
    shown = capsys.readouterr().out
    for part in ("pyramid", "rpn_model", "mrcnn_box_head", "mrcnn_mask_head"):
        assert part in shown
    assert f"{network.count_params():,}" in shown


def test_weights_go_through_a_file_of_keras_2(network, tmp_path):
    path = tmp_path / "x.h5"
    network.save_weights(str(path))
    other = Network(config())
    report = other.load_weights(str(path), by_name=True)
    assert set(report.loaded) == set(weights.layers(network))
    for one, expected in zip(other.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, expected)
    with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
        network.save_weights(path, overwrite=False)
    with pytest.raises(ValueError, match=r"MaskRCNN.load_weights\(path, exclude="):
        other.load_weights(path, skip_mismatch=True)


def test_weights_go_through_keras_own_file(network, tmp_path):
    network.save_weights(tmp_path / "x.weights.h5")
    other = Network(config())
    other.load_weights(tmp_path / "x.weights.h5")
    for one, expected in zip(other.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, expected)
    with pytest.raises(ValueError, match="by_name"):
        other.load_weights(tmp_path / "x.weights.h5", by_name=True)


def test_a_file_that_is_no_weights_is_refused(network, tmp_path):
    (tmp_path / "x.h5").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"x\.h5 cannot be read as weights"):
        network.load_weights(tmp_path / "x.h5", by_name=True)


def test_shapes_are_fixed_and_padding_is_zero(network):
    images = np.stack([discs(CENTRES)[0], discs([])[0]]).astype(np.float32)
    found = {name: np.asarray(value) for name, value in network(images).items() if name != "levels"}
    assert {name: value.shape for name, value in found.items()} == {
        "boxes": (2, 32, 4),
        "class_ids": (2, 32),
        "scores": (2, 32),
    }
    empty = found["class_ids"] == 0
    assert not found["boxes"][empty].any()
    assert not found["scores"][empty].any()
    assert (found["scores"][~empty] >= 0.5).all()
    assert found["boxes"].min() >= 0 and found["boxes"].max() <= 128


def test_the_mean_pixel_is_taken_off(network):
    # As many anchors as places of all levels times three ratios: 32, 16, 8, 4 and 2 cells a side.
    image = np.full((1, 128, 128, 3), 127.0, np.float32)
    levels, logits, deltas = network.look(image)
    anchors = 3 * (32**2 + 16**2 + 8**2 + 4**2 + 2**2)
    assert logits.shape == (1, anchors, 2) and deltas.shape == (1, anchors, 4)
    expected = network.pyramid(np.zeros_like(image))
    for level, other in zip(levels, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(level), np.asarray(other))


def test_all_five_losses_are_there_and_their_weighted_sum_is_the_loss(network, monkeypatch):
    losses = losses_of(network, batch_of(CENTRES))
    assert tuple(losses) == LOSSES
    assert all(value > 0 for value in losses.values())
    monkeypatch.setattr(
        network.config, "LOSS_WEIGHTS", dict(zip(LOSSES, (1.0, 0.0, 2.0, 0.0, 0.5), strict=True))
    )
    loss = Trainer(network, 0).compute_loss(y_pred=losses)
    expected = losses["rpn_class_loss"] + 2 * losses["mrcnn_class_loss"] + 0.5 * losses["mrcnn_mask_loss"]
    assert float(loss) == pytest.approx(expected)


def test_outlines_that_are_a_guess_are_not_learnt_but_places_are(network):
    batch = batch_of(CENTRES)
    batch["outlined"][:] = 0
    losses = losses_of(network, batch)
    assert losses["rpn_bbox_loss"] == losses["mrcnn_bbox_loss"] == losses["mrcnn_mask_loss"] == 0
    assert losses["rpn_class_loss"] > 0
    assert losses["mrcnn_class_loss"] > 0


def test_images_without_objects_teach_what_is_background(network):
    losses = losses_of(network, batch_of([]))
    assert losses["rpn_bbox_loss"] == losses["mrcnn_bbox_loss"] == losses["mrcnn_mask_loss"] == 0
    for name in ("rpn_class_loss", "mrcnn_class_loss"):
        assert np.isfinite(losses[name]) and losses[name] > 0


def test_what_is_computed_in_bfloat16_is_kept_in_float32(network):
    mixed = Network(config(MIXED_PRECISION=True))
    mixed.set_weights(network.get_weights())
    assert {str(weight.dtype) for weight in mixed.weights} == {"float32"}
    assert mixed.get_layer("rpn_conv_shared").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    batch = batch_of(CENTRES)
    expected = losses_of(network, batch)
    for name, value in losses_of(mixed, batch).items():
        assert value == pytest.approx(expected[name], rel=0.1), name
