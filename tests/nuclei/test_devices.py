import pytest
import torch

from nuclei.devices import find_device
from nuclei.errors import InputError


def test_a_device_that_is_not_there_is_bad_input():
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="--device"):
        find_device("nonsense")
