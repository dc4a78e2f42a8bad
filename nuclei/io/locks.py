"""Locks between processes. The system holds them, so that each ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from nuclei.errors import InputError
from nuclei.io.files import digest, writing


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Run the block while no other one, in this or another process, runs with the lock file `path`.

    The file may stay there, but no lock does. Programs that the block starts do not share the lock.

    Yields:
        True; without `wait`, False where another block has the lock, in which case this one has none.

    Raises:
        InputError: the file cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A soft lock, the library's way out on some network drives, would outlive a killed process.
        lock = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False)
        with contextlib.suppress(Timeout):
            lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()


@contextlib.contextmanager
def alone(*folders: Path) -> Iterator[None]:
    """Run the block while no other program of this user, on this machine, writes results into `folders`.

    The lock files lie among the system's temporary files, since the folders may be moved away meanwhile.

    Raises:
        InputError: another program does.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    locks = Path(tempfile.gettempdir()) / f"nuclei-locks-{user}"
    with contextlib.ExitStack() as held:
        for place, folder in {Path(folder).resolve(): folder for folder in folders}.items():
            if not held.enter_context(locked(locks / digest([str(place).encode()]), wait=False)):
                raise InputError(f"another run writes into {folder}/; wait for it, or name another folder")
        yield
