from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from csingan.training.checkpoint import load, path_of, save
from csingan.training.state import first_state
from nuclei.errors import InputError

FIRST = first_state(4, 0, None)


@pytest.fixture
def path(tmp_path):
    return path_of(tmp_path, 0)


def test_a_state_comes_back(path):
    state = first_state(4, 1, None) | {"losses": torch.ones(3, 2), "adam.x": torch.ones(5)}
    save(path, state)
    assert path.name == "scale_1.safetensors"
    again = load(path, FIRST)
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_a_checkpoint_that_is_not_there_is_none(path):
    assert load(path, FIRST) is None


def test_a_checkpoint_of_another_network_is_refused(path):
    save(path, first_state(6, 0, None))
    with pytest.raises(InputError, match="scale_1.safetensors is the checkpoint of another network; delete"):
        load(path, FIRST)


def test_a_file_of_tensors_of_something_else_is_refused(path):
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="another network"):
        load(path, FIRST)


@pytest.mark.parametrize("share", [0, 0.001, 0.5])
def test_a_truncated_checkpoint_is_refused(path, share):
    save(path, first_state(4, 0, None))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="cannot be read.*delete it"):
        load(path, FIRST)
