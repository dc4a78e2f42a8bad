"""The one exception that means "the user can mend this"."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)


class InputError(ValueError):
    """Bad input: its message says what is wrong, in which file, and what to do.

    It is a ValueError, so that who calls this package from Python catches what they expect. `nuclei.cli.run`
    prints the message alone and exits with code 1, and of an OSError the file and the reason. Every other
    exception, a plain ValueError too, is a defect of ours or of the call and keeps its traceback.
    """


def unreadable(
    path: Path, what: str, reason: object = None, advice: str = "copy it again, or take it out"
) -> InputError:
    """The error for a file that cannot be read as `what`; --verbose shows a decoder's own `reason`, too."""
    log.debug("%s: %s", path, reason)
    return InputError(f"{path} cannot be read as {what}: damaged, or of another format; {advice}")
