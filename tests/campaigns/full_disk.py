"""Run the chain on a small disk that fills up, then with room: one line each time, and the same results.

    sudo python -m tests.campaigns.full_disk

The disk is a tmpfs, which only root can mount. Every script meets it at several fill levels, and read-only.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.campaigns import chain
from tests.campaigns.two_at_once import is_one_line

FREE = (0, 4_096, 65_536, 500_000, 3_000_000)  # bytes, at one attempt after another
ROOM = 2_000_000_000  # bytes, of the disk


def main() -> None:
    failures = tries = 0
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "chain"
        _, expected = chain.undisturbed(folder)
        with small_disk(folder) as disk:
            chain.prepare(disk)
            for step in chain.STEPS:
                for what, code, errors in attempts(step, disk):
                    well = code == 0 or (code == 1 and is_one_line(errors))
                    tries, failures = tries + 1, failures + (not well)
                    print(f"{step.script}, {what}: exit code {code}; {errors}", flush=True)
                code, errors = step.run(disk)
                chain.after(disk, step)
                failures += code != 0
                print(f"{step.script}, with room: exit code {code} {errors if code else ''}", flush=True)
            said = chain.differences(disk, expected)
    print(*said, sep="\n")
    print(f"full disk: {tries} tries, {failures} that did not end well, {len(said)} results that differ")
    raise SystemExit(bool(failures or said))


def attempts(step: chain.Step, disk: Path) -> Iterator[tuple[str, int, str]]:
    """Run a step with little room, then without the right to write; what it was, exit code and messages."""
    for free in FREE:
        ballast = disk / ".ballast"
        with ballast.open("wb") as file:
            file.truncate(0)
            left = shutil.disk_usage(disk).free - free
            subprocess.run(["fallocate", "-l", str(max(left, 1)), str(ballast)], check=True)
        yield f"{free} bytes free", *step.run(disk)
        ballast.unlink()
    mount(disk, "remount,ro")
    yield "read-only", *step.run(disk)
    mount(disk, "remount,rw")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mount(folder, f"size={ROOM}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("full disk: a tmpfs cannot be mounted here; run it as root")


if __name__ == "__main__":
    main()
