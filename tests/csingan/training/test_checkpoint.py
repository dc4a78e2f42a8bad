from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from csingan.training.checkpoint import check, load, path_of, save
from csingan.training.state import first_state
from nuclei.errors import InputError

MADE_WITH = {"seed": 0, "steps": [3, 2]}


@pytest.fixture
def path(tmp_path):
    return path_of(tmp_path, 0)


def test_a_state_comes_back(path):
    state = first_state(4, 0, None)
    save(path, state, MADE_WITH)
    assert path.name == "scale_1.safetensors"
    again = load(path, {"seed": 0, "steps": (3, 2)})
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_a_checkpoint_that_is_not_there_is_none(path):
    assert load(path, MADE_WITH) is None


def test_a_checkpoint_of_other_settings_says_what_differs(path):
    save(path, first_state(4, 0, None), MADE_WITH)
    with pytest.raises(InputError, match="seed 0 -> 1.*delete") as error:
        load(path, {**MADE_WITH, "seed": 1})
    assert "cannot be read" not in str(error.value)
    with pytest.raises(InputError, match="seed 0 -> 1"):
        check(path.parent, 3, {**MADE_WITH, "seed": 1})


def test_a_file_of_tensors_of_something_else_is_refused(path):
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="other settings"):
        load(path, MADE_WITH)


@pytest.mark.parametrize("share", [0, 0.001, 0.5])
def test_a_truncated_checkpoint_is_refused(path, share):
    save(path, first_state(4, 0, None), MADE_WITH)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="cannot be read.*delete it"):
        load(path, MADE_WITH)
