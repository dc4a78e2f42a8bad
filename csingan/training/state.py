"""The state of one patch at one scale, from which training goes on: a flat dictionary of CPU tensors.

    networks.<name>                  weights of `csingan.networks.models.Networks`
    adam.<name>.exp_avg, exp_avg_sq  moments of Adam, once it has made a step
    rng                              state of the patch's random numbers, uint8
    losses                           (steps made, 2) float32, see `csingan.training.scale.ScaleTrainer`
    rate                             factor of the learning rate, float64: below 1 after a divergence

Patches that train in one batch share one network. Its weights and moments are those of each patch,
concatenated along the first axis. `join` and `split` convert between them and the states of single patches,
so that a patch can go on alone or with other patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Adam

from csingan.networks.models import Networks

State = dict[str, Tensor]
_NETWORKS, _ADAM = "networks.", "adam."
_MOMENTS = ("exp_avg", "exp_avg_sq")


def first_state(channels: int, seed: int, below: State | None) -> State:
    """The state before the first step of a scale.

    Args:
        channels: width of the hidden layers.
        seed: of the first weights and of all random numbers of the scale.
        below: the final state of the scale below, whose weights this scale starts from if the widths are
            equal.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = Networks(channels).state_dict()
    if below is not None:
        trained = _part(below, _NETWORKS)
        trained |= {
            name.replace("average.", "generator.", 1): tensor
            for name, tensor in trained.items()
            if name.startswith("average.")
        }
        if all(trained[name].shape == tensor.shape for name, tensor in weights.items()):
            weights = trained
    return {_NETWORKS + name: tensor.detach().clone() for name, tensor in weights.items()} | {
        "rng": torch.Generator().manual_seed(seed).get_state(),
        "losses": torch.zeros(0, 2),
        "rate": torch.ones((), dtype=torch.float64),
    }


def join(
    states: Sequence[State], networks: Networks, optimizers: Sequence[Adam], updates: Sequence[int]
) -> None:
    """Load the states of several patches into their shared networks and optimisers.

    Args:
        states: one for each patch, all after the same number of steps.
        networks: for as many patches.
        optimizers: each of a part of `networks`.
        updates: number of steps that each optimiser has made.
    """
    together = {
        name: torch.cat([state[name] for state in states])
        for name in states[0]
        if name.startswith((_NETWORKS, _ADAM))
    }
    networks.load_state_dict(_part(together, _NETWORKS))
    names = {parameter: name for name, parameter in networks.named_parameters()}
    for optimizer, count in zip(optimizers, updates, strict=True):
        for parameter in optimizer.param_groups[0]["params"] if count else []:
            optimizer.state[parameter] = {"step": torch.tensor(float(count))} | {
                moment: together[f"{_ADAM}{names[parameter]}.{moment}"].to(parameter) for moment in _MOMENTS
            }


def split(networks: Networks, optimizers: Sequence[Adam]) -> list[State]:
    """The weights and moments of each patch, copied: the inverse of `join`."""
    together = {_NETWORKS + name: tensor for name, tensor in networks.state_dict().items()}
    names: dict[Tensor, str] = {parameter: name for name, parameter in networks.named_parameters()}
    for optimizer in optimizers:
        for parameter, values in optimizer.state.items():
            together |= {f"{_ADAM}{names[parameter]}.{moment}": values[moment] for moment in _MOMENTS}
    chunks = {name: tensor.chunk(networks.patches) for name, tensor in together.items()}
    return [
        {name: parts[patch].detach().cpu().clone() for name, parts in chunks.items()}
        for patch in range(networks.patches)
    ]


def steps_made(state: State) -> int:
    """Number of generator steps up to this state."""
    return len(state["losses"])


def averaged_generator(state: State) -> dict[str, Tensor]:
    """The weights of the generator (`csingan.networks.models.Generator`) that samples are drawn with."""
    return _part(state, f"{_NETWORKS}average.")


def _part(tensors: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
