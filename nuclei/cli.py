"""What every script does around its `main`: flags from a dataclass, notes, one clear line for bad input."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import typeguard
import tyro
from tyro import conf

from nuclei import messages
from nuclei.errors import InputError

Settings = TypeVar("Settings")

# How Python and tyro say what is wrong with an argument, and how people do.
_PLAIN = {
    r"Error parsing (\S+): invalid literal for int.*: (.+)": r"\1 is \2; it must be a whole number",
    r"Error parsing (\S+): could not convert string to float: (.+)": r"\1 is \2; it must be a number",
    r"[Ii]nvalid choice (.+) for argument '(\S+)'\. Expected one of \((.+)\)": (
        r"\2 is \1; it must be one of \3"
    ),
    r"Missing value for argument '(\S+)'.*": r"\1 has no value",
    r"Missing from \S+:": "missing:",
}

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
    Exits with 0 when main returns, 1 after an InputError or OSError, 2 on wrong arguments (each with one
    line on stderr), 130 after Ctrl-C, 141 (as SIGPIPE does) when nobody reads what is printed any more.
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
    _check_constants(settings_type)
    settings = conf.OmitSubcommandPrefixes[conf.OmitArgPrefixes[settings_type]]
    arguments_type = dataclasses.make_dataclass("Arguments", [("settings", settings), *FLAGS])
    with _errors_on_one_line():
        # The flags may stand before a subcommand or behind it.
        arguments: Any = tyro.cli(
            arguments_type, description=description, config=(conf.CascadeSubcommandArgs,)
        )
    if arguments.verbose and arguments.quiet:
        raise InputError("--verbose and --quiet contradict each other; pass one of them")
    if arguments.verbose or arguments.quiet:
        os.environ[messages.VARIABLE] = "DEBUG" if arguments.verbose else "WARNING"
    return arguments.settings


def _check_constants(settings_type: Any) -> None:
    """InputError where a constant at the top of a script is not what its line says that it is."""
    if not dataclasses.is_dataclass(settings_type):  # a union of subcommands, each annotated
        for part in get_args(settings_type):
            _check_constants(get_args(part)[0] if get_origin(part) is Annotated else part)
        return
    hints = get_type_hints(settings_type)
    for field in dataclasses.fields(settings_type):
        value, hint = field.default, hints[field.name]
        if value is dataclasses.MISSING:
            continue
        try:
            typeguard.check_type(value, hint)
        except typeguard.TypeCheckError:
            script = Path(sys.argv[0]).name
            raise InputError(
                f"{field.name} is {value!r} at the top of {script}; it must be {_in_words(hint)}"
            ) from None


def _in_words(hint: Any) -> str:
    """What a constant must be, as people who write no Python say it."""
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text in quotes"}
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_in_words, get_args(hint)))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"a tuple, ({_in_words(get_args(hint)[0])},)"
    if hint is Path:
        return 'a path, Path("...")'
    return "None" if hint is type(None) else words.get(hint, str(hint))


@contextlib.contextmanager
def _errors_on_one_line() -> Iterator[None]:
    """What tyro says of wrong arguments in a frame of several lines becomes one `error:` line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as end:
        if end.code == 2:
            print(f"error: {_unframed(said.getvalue())}; see --help", file=sys.stderr)
        raise


def _unframed(box: str) -> str:
    """The first part of a frame and the flag that it proposes, without the help that it repeats.

    A frame is drawn in Unicode or, where stdout is not UTF-8, in ASCII; two characters of it begin a line.
    """
    inside = [line.rstrip(" │")[2:] for line in box.splitlines()[1:]]
    lines = [line.strip() for line in inside if not line.startswith(" " * 8)]
    first, *others = (list(part) for rule, part in itertools.groupby(lines, _is_rule) if not rule)
    text = " ".join(first).rstrip(".")
    for pattern, words in _PLAIN.items():
        text = re.sub(pattern, words, text)
    for title, *proposed in others:
        if title == "Perhaps you meant:":
            text += f"; perhaps you meant {proposed[0].split()[0]}"
    return text[:1].lower() + text[1:]


def _is_rule(line: str) -> bool:
    return line != "" and set(line) <= {"─", "-"}


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
