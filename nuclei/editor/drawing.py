"""First outlines drawn in the background, patch by patch, while a person corrects others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np

from nuclei.editor.candidates import Candidate
from nuclei.editor.desk import Desk
from nuclei.errors import InputError

Propose = Callable[[np.ndarray], Sequence[Candidate]]

log = logging.getLogger(__name__)


class Drawing(threading.Thread):
    """Asks a program for the candidates of all patches; those that a person waits for come first."""

    def __init__(self, desk: Desk, propose: Propose) -> None:
        """Args: the patches, and the function from an image, (H, W, 3) uint8 RGB, to candidates."""
        super().__init__(name="first outlines", daemon=True)
        self.desk, self.propose = desk, propose
        self._wanted: list[int] = []
        self._stopped = threading.Event()

    def want(self, index: int) -> None:
        """Draw this patch next."""
        self._wanted.append(index)

    def stop(self) -> None:
        """End after the patch at hand."""
        self._stopped.set()

    def run(self) -> None:
        """Draw until every patch has candidates."""
        todo = [index for index in range(len(self.desk.names)) if self.desk.needs_candidates(index)]
        while todo and not self._stopped.is_set():
            wanted = [index for index in reversed(self._wanted) if index in todo]
            index = wanted[0] if wanted else todo[0]
            todo.remove(index)
            self._draw(index)
        log.debug("all first outlines are drawn")

    def _draw(self, index: int) -> None:
        name = self.desk.names[index]
        try:
            self.desk.offer(index, self.propose(self.desk.image(index)))
        except InputError as error:
            log.warning("%s: no first outlines (%s)", name, error)
        except Exception:  # a patch without first outlines can still be drawn by hand
            log.exception("%s: no first outlines", name)
            self.desk.offer(index, [])
