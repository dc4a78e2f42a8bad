"""The whole chain with the smallest settings, as programs: what campaigns disturb, and how it must end."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nuclei import tissue
from nuclei.experiment import ROOT, annotate_selected
from nuclei.io.images import write_image, write_labels

BAR = re.compile(r"%\||\[\d\d:\d\d, ")  # in a line of a progress bar, with or without a total
SIDE = 512  # px, of an image: four patches
# What holds dates or times of files, and results that others took the place of.
NOT_COMPARED = ("logs", "features", "replaced", "report.html", "report.json")


@dataclass(frozen=True)
class Step:
    """A script with its flags, run in the folder of the chain."""

    script: str
    flags: tuple[str, ...]

    def start(self, folder: Path) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / self.script), *self.flags]
        return subprocess.Popen(
            command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def run(self, folder: Path) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr, without progress bars."""
        return finish(self.start(folder))


STEPS = (
    Step(
        "consis_based.py",
        ("--images", "images", "--k1", "2", "--k2", "2"),
    ),
    Step("annotations.py", ("export", "--start", "baseline")),
    Step("main_train.py", ("--samples", "2", "--effort", "0.02")),
    Step("pseudo_label.py", ("--steps", "1", "--batch", "1", "--views", "1", "--no-generated")),
    Step("segment.py", ("images",)),
    Step("evaluate.py", ("segmented", "labels")),
)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Wait for a process: its exit code and the last lines of its stderr, without progress bars."""
    _, errors = process.communicate()
    lines = [line.rpartition("\r")[2] for line in errors.splitlines()]
    return process.returncode, "\n".join(line for line in lines if line and not BAR.search(line))


def prepare(folder: Path) -> None:
    """Two images and their truth."""
    for seed, kind in enumerate(("glandular", "stroma")):
        image, labels = tissue.generate(kind, SIDE, seed)
        write_image(folder / "images" / f"{kind}.png", image)
        write_labels(folder / "labels" / f"{kind}.tif", labels)


def after(folder: Path, step: Step) -> None:
    """After the first step: the annotator's masks of the patches that were chosen."""
    if step is STEPS[0]:
        annotate_selected(folder / "data", folder / "labels")


def undisturbed(folder: Path) -> tuple[list[float], dict[str, str]]:
    """Run the chain in a folder, which is removed: results tell where they were made, so all lie there.

    Returns:
        how long each step took, s, and `results`.
    """
    prepare(folder)
    seconds = []
    for step in STEPS:
        began = time.monotonic()
        code, errors = step.run(folder)
        if code:
            raise SystemExit(f"{step.script} failed undisturbed: {errors}")
        after(folder, step)
        seconds.append(time.monotonic() - began)
    found = results(folder)
    shutil.rmtree(folder)
    return seconds, found


def results(folder: Path) -> dict[str, str]:
    """A checksum of every file by its path in `folder`, without those of `NOT_COMPARED`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not set(name.parts) & set(NOT_COMPARED):
            found[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(folder: Path, expected: dict[str, str]) -> list[str]:
    """What `folder` has otherwise than `results` of the undisturbed chain, a phrase each."""
    found = results(folder)
    said = [f"{name} is missing" for name in expected if name not in found]
    said += [f"{name} is left over" for name in found if name not in expected]
    return said + [f"{name} differs" for name in expected if name in found and found[name] != expected[name]]
