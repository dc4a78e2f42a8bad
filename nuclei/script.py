"""What every script does around its `main`: flags from a dataclass, one clear line for bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from nuclei.errors import InputError

Settings = TypeVar("Settings")


def run(main: Callable[[Settings], None], settings_type: type[Settings], description: str) -> None:
    """Parse the command line into `settings_type` and call `main` with it.

    Every constant of the dataclass becomes a flag (`k1` -> `--k1`); `description` heads `--help`. A union
    of dataclasses that are annotated with `tyro.conf.subcommand` becomes subcommands.
    Exits with 0 when main returns, 1 after an InputError (its message on stderr), 2 on wrong
    arguments, 130 after Ctrl-C.
    """
    settings = tyro.cli(settings_type, description=description)
    try:
        seed = getattr(settings, "seed", 0)
        if not 0 <= seed < 2**32:  # others are unknown to NumPy or scikit-learn
            raise InputError(f"--seed is {seed}; it must be at least 0 and below 2^32")
        main(settings)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
