"""What every script does around its `main`: flags from a dataclass, notes, one clear line for bad input."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import make_dataclass
from types import UnionType
from typing import Annotated, Any, NoReturn, TypeVar

import tyro
from tyro import conf

from nuclei import messages
from nuclei.errors import InputError

Settings = TypeVar("Settings")

NOBODY_READS = 141  # what a shell says of a program that SIGPIPE ended


def _flag(help: str) -> Any:
    return Annotated[conf.FlagCreatePairsOff[bool], conf.arg(help=help, help_behavior_hint="")]


# What every script takes beside its constants.
FLAGS = [
    ("verbose", _flag("show details too, and what the libraries say"), False),
    ("quiet", _flag("show warnings and errors only"), False),
]


def run(
    main: Callable[[Settings], None], settings_type: type[Settings] | UnionType, description: str
) -> None:
    """Parse the command line into `settings_type` and call `main` with it.

    Every constant of the dataclass becomes a flag (`k1` -> `--k1`); `description` heads `--help`. A union
    of dataclasses that are annotated with `tyro.conf.subcommand` becomes subcommands. `--verbose` and
    `--quiet` are added; see `nuclei.messages`.
    Exits with 0 when main returns, 1 after an InputError or OSError (one line on stderr), 2 on wrong
    arguments, 130 after Ctrl-C, 141 (as SIGPIPE does) when nobody reads what is printed any more.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that the terminal cannot show
    try:
        try:
            _run(main, settings_type, description)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes what is left at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(NOBODY_READS)


def _run(main: Callable[[Any], None], settings_type: Any, description: str) -> None:
    try:
        settings = _parse(settings_type, description)
        with messages.shown():
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


def _parse(settings_type: Any, description: str) -> Any:
    """The settings that the command line asks for; how much is said is left in the environment."""
    settings = conf.OmitSubcommandPrefixes[conf.OmitArgPrefixes[settings_type]]
    arguments_type = make_dataclass("Arguments", [("settings", settings), *FLAGS])
    # The flags may stand before a subcommand or behind it.
    arguments: Any = tyro.cli(arguments_type, description=description, config=(conf.CascadeSubcommandArgs,))
    if arguments.verbose and arguments.quiet:
        raise InputError("--verbose and --quiet contradict each other; pass one of them")
    if arguments.verbose or arguments.quiet:
        os.environ[messages.VARIABLE] = "DEBUG" if arguments.verbose else "WARNING"
    return arguments.settings


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
