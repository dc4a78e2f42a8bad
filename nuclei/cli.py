"""What every script does around its `main`: flags from a dataclass, one clear line for bad input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import tyro

from nuclei.errors import InputError

Settings = TypeVar("Settings")


def run(main: Callable[[Settings], None], settings_type: type[Settings], description: str) -> None:
    """Parse the command line into `settings_type` and call `main` with it.

    Every constant of the dataclass becomes a flag (`k1` -> `--k1`); `description` heads `--help`. A union
    of dataclasses that are annotated with `tyro.conf.subcommand` becomes subcommands.
    Exits with 0 when main returns, 1 after an InputError or OSError (one line on stderr), 2 on wrong
    arguments, 130 after Ctrl-C, 141 (as SIGPIPE does) when nobody reads what is printed any more.
    """
    try:
        try:
            _run(main, tyro.cli(settings_type, description=description))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes what is left at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # 128 + SIGPIPE, which Windows does not name


def _run(main: Callable[[Settings], None], settings: Settings) -> None:
    try:
        seed = getattr(settings, "seed", 0)
        if not 0 <= seed < 2**32:  # others are unknown to NumPy or scikit-learn
            raise InputError(f"--seed is {seed}; it must be at least 0 and below 2^32")
        main(settings)
    except InputError as error:
        _fail(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:  # no permission, a folder in the place of a file, a disk that is gone
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
