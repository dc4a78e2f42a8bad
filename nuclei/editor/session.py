"""One session of correcting: the server, the link, the browser, and the end with Ctrl-C."""

from __future__ import annotations

import logging
import webbrowser
from collections.abc import Callable

from nuclei.editor.costs import DONE
from nuclei.editor.desk import Desk
from nuclei.editor.drawing import Drawing, Propose
from nuclei.editor.server import Server
from nuclei.io.locks import alone

log = logging.getLogger(__name__)


def edit(
    desk: Desk,
    propose: Propose,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> int:
    """Serve the patches of a desk until Ctrl-C.

    Args:
        desk: the patches.
        propose: the function from an image, (H, W, 3) uint8 RGB, to candidates.
        address: to listen at; another one than 127.0.0.1 lets other machines in that know the link.
        port: 0 for any that is free.
        browser: whether the link is opened.
        say: told the link.

    Returns:
        how many patches are done.

    Raises:
        InputError: another program writes into the folder, or nothing can be served there.
    """
    with alone(desk.store.folder):
        drawing = Drawing(desk, propose)
        with Server(desk, drawing, address, port) as server:
            if not server.is_local:
                log.warning("other machines that know the link can change the outlines (--address)")
            say(f"open {server.url} and keep that link to yourself; Ctrl-C ends, and everything is saved")
            drawing.start()
            if browser:
                webbrowser.open(server.url)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                drawing.stop()
    return sum(each["state"] == DONE for each in desk.patches())
