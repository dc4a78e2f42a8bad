from __future__ import annotations

import torch
from torch.optim import Adam

from csingan.networks.models import Generator, Networks
from csingan.training.state import averaged_generator, first_state, join, split, steps_made


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def optimizers(networks: Networks) -> list[Adam]:
    return [Adam(networks.generator.parameters()), Adam(networks.critics.parameters())]


def step(networks: Networks, steppers: list[Adam]) -> None:
    for index, parameter in enumerate(networks.parameters()):
        if parameter.requires_grad:
            parameter.grad = parameter.detach() * (index + 1)
    for stepper in steppers:
        stepper.step()


def weights(state) -> dict:
    return {name: tensor for name, tensor in state.items() if name.startswith(("networks.", "adam."))}


def test_the_seed_decides_the_first_state():
    assert equal(first_state(4, 1, None), first_state(4, 1, None))
    assert not equal(first_state(4, 1, None), first_state(4, 2, None))
    assert steps_made(first_state(4, 1, None)) == 0


def test_a_scale_starts_from_the_average_below_where_the_width_is_the_same():
    below = first_state(4, 1, None)
    below = {name: tensor + 1 if "average" in name else tensor for name, tensor in below.items()}
    state = first_state(4, 2, below)
    for name, tensor in averaged_generator(below).items():
        assert torch.equal(state[f"networks.generator.{name}"], tensor)
        assert torch.equal(state[f"networks.average.{name}"], tensor)
    assert torch.equal(state["networks.critics.layers.0.weight"], below["networks.critics.layers.0.weight"])
    assert equal(first_state(6, 2, below), first_state(6, 2, None))


def test_split_is_the_inverse_of_join():
    states = [first_state(4, seed, None) for seed in (1, 2)]
    networks = Networks(4, patches=2)
    join(states, networks, optimizers(networks), (0, 0))
    for before, after in zip(states, split(networks, optimizers(networks)), strict=True):
        assert equal(weights(before), after)


def test_training_goes_on_with_other_patches_as_it_would_alone():
    alone, steppers = Networks(4), []
    join([first_state(4, 1, None)], alone, optimizers(alone), (0, 0))
    steppers = optimizers(alone)
    step(alone, steppers)
    (middle,) = split(alone, steppers)
    step(alone, steppers)
    (expected,) = split(alone, steppers)

    together = Networks(4, patches=2)
    others = optimizers(together)
    join([middle, middle], together, others, (1, 1))
    step(together, others)
    for after in split(together, others):
        assert after.keys() == expected.keys()
        assert all(torch.allclose(after[name], expected[name], atol=1e-6) for name in expected)


def test_the_averaged_weights_fit_a_generator():
    Generator(4).load_state_dict(averaged_generator(first_state(4, 0, None)))
