from __future__ import annotations

import urllib.error

import numpy as np
import pytest
import torch
from torchvision.models import resnet50

from nuclei.errors import InputError
from nuclei.selection.features import efficientnet_lite0_weights, extract

RESNET50_FILE = "resnet50-0676ba61.pth"


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """(5, 64, 64, 3) uint8 noise, the first dark and the second bright."""
    noise = np.random.default_rng(0).integers(0, 60, (5, 64, 64, 3), dtype=np.uint8)
    return noise + np.uint8([0, 190, 60, 90, 120])[:, None, None, None]


@pytest.fixture(scope="module")
def features(images) -> np.ndarray:
    return extract(images, "efficientnet_lite0", device="cpu")


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """A torch hub cache of our own; returns where ResNet-50's weights belong."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints / RESNET50_FILE


def test_one_row_an_image(features):
    assert features.shape == (5, 1280)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert (features >= 0).all() and (features <= 6).all()  # means of a ReLU6


def test_same_images_same_features(images, features):
    np.testing.assert_array_equal(extract(images, "efficientnet_lite0", device="cpu"), features)


def test_neither_batch_size_nor_iteration_changes_the_features(images, features):
    in_twos = extract((image for image in images), "efficientnet_lite0", batch=2, device="cpu")
    np.testing.assert_allclose(in_twos, features, atol=1e-4)


def test_dark_and_bright_differ(features):
    assert np.linalg.norm(features[0] - features[1]) > 1


def test_sizes_that_no_stride_divides_are_padded():
    odd = np.full((1, 75, 101, 3), 200, np.uint8)
    assert extract(odd, "efficientnet_lite0", device="cpu").shape == (1, 1280)


def test_the_weights_as_numpy():
    weights = efficientnet_lite0_weights()
    assert all(isinstance(array, np.ndarray) for array in weights.values())
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert weights["_fc.weight"].shape == (1000, 1280)


def test_resnet50_from_the_cache(images, torch_home):
    torch.manual_seed(0)
    network = resnet50().eval()
    torch.save(network.state_dict(), torch_home)
    found = extract(images[:1], "resnet50", device="cpu")

    network.fc = torch.nn.Identity()
    x = torch.from_numpy(images[:1] / 255).permute(0, 3, 1, 2).float()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = network((x - mean.view(3, 1, 1)) / std.view(3, 1, 1)).numpy()
    assert found.shape == (1, 2048)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_resnet50_without_network_names_the_ways_out(images, torch_home, monkeypatch):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(InputError) as caught:
        extract(images, "resnet50", device="cpu")
    message = str(caught.value)
    assert "cannot be downloaded" in message and "no route to host" in message
    assert "--features efficientnet_lite0" in message and str(torch_home) in message
    assert "\n" not in message


def test_a_broken_resnet50_file_is_named(images, torch_home):
    torch_home.write_bytes(b"not weights")
    with pytest.raises(InputError, match="broken") as caught:
        extract(images, "resnet50", device="cpu")
    assert str(torch_home) in str(caught.value)


def test_other_input_is_an_error(images):
    with pytest.raises(ValueError, match="unknown model"):
        extract(images, "vgg16", device="cpu")
    with pytest.raises(ValueError, match="uint8"):
        extract(images.astype(np.float32), "efficientnet_lite0", device="cpu")
    with pytest.raises(ValueError, match="no images"):
        extract([], "efficientnet_lite0", device="cpu")
    with pytest.raises(InputError, match="--device is 'abacus'"):
        extract(images, "efficientnet_lite0", device="abacus")
