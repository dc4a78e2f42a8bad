"""What the scripts say on stderr beside their results: notes and warnings, one line each.

The packages only log, by `logging.getLogger(__name__)`: whoever calls them from Python shows or silences that
as usual. NUCLEI_LOG_LEVEL (DEBUG, INFO or WARNING) is how much a script says; `--verbose` and `--quiet` set
it, and the programs that the script starts inherit it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from nuclei.errors import InputError

VARIABLE = "NUCLEI_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING")
OURS = ("__main__", "nuclei", "csingan", "mrcnn", "benchmarks")
SAID_BY_US = ("tifffile", "roifile")  # what they call an error is in our own line
_WORDS = {"INFO": "note"}  # the others are called by their level


def level() -> str:
    """The level that NUCLEI_LOG_LEVEL names, INFO without it. InputError where it is none."""
    name = os.environ.get(VARIABLE) or "INFO"
    if name not in LEVELS:
        raise InputError(f"the environment variable {VARIABLE} is {name!r}; set it to {', '.join(LEVELS)}")
    return name


def is_verbose() -> bool:
    """Whether other libraries show what they say, too."""
    return os.environ.get(VARIABLE) == "DEBUG"


@contextmanager
def shown() -> Iterator[None]:
    """Meanwhile notes and warnings go to stderr, without tearing progress bars.

    Of other libraries only errors are shown, unless `is_verbose`.
    """
    levels = dict.fromkeys(OURS, level()) | {"": "INFO" if is_verbose() else "ERROR"}
    levels |= dict.fromkeys(SAID_BY_US, "INFO" if is_verbose() else "CRITICAL")
    before = {name: logging.getLogger(name).level for name in levels}
    handler = _Lines()
    logging.getLogger().addHandler(handler)
    try:
        for name in levels:
            logging.getLogger(name).setLevel(levels[name])
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for name in before:
            logging.getLogger(name).setLevel(before[name])


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        word = _WORDS.get(record.levelname, record.levelname.lower())
        tqdm.write(f"{word}: {self.format(record)}", file=sys.stderr)
