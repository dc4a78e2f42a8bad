"""Hold back what libraries in C write to stderr, past Python's `sys.stderr`."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_one_at_a_time = threading.RLock()  # there is one stderr for all threads


@contextmanager
def held_back() -> Iterator[list[str]]:
    """Keep what is written to file descriptor 2 meanwhile from the user.

    The list that it yields has these lines after the block. After an exception nobody reads them: they are
    shown after all.
    """
    lines: list[str] = []
    with _one_at_a_time:
        try:
            shown = os.dup(2)
        except OSError:  # a program without stderr
            yield lines
            return
        with tempfile.TemporaryFile() as kept:
            os.dup2(kept.fileno(), 2)
            try:
                yield lines
            except Exception:
                os.dup2(shown, 2)
                os.write(2, _content(kept))
                raise
            finally:
                os.dup2(shown, 2)
                os.close(shown)
                lines += _content(kept).decode(errors="replace").splitlines()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
