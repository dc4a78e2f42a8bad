"""The library that computes behind Keras, which the environment variable KERAS_BACKEND names."""

from __future__ import annotations

import importlib.util
import os

from nuclei.errors import InputError

VARIABLE = "KERAS_BACKEND"
BACKENDS = ("tensorflow", "torch", "jax")


def check() -> None:
    """InputError where Keras could not be imported with that backend: it shows before slow work."""
    name = os.environ.get(VARIABLE) or BACKENDS[0]
    if name not in BACKENDS:
        raise InputError(
            f"the environment variable {VARIABLE} is {name!r}; set it to {' or '.join(BACKENDS)}, or unset it"
        )
    if importlib.util.find_spec(name) is None:
        raise InputError(f"the environment variable {VARIABLE} is {name!r}, which is not installed; unset it")
