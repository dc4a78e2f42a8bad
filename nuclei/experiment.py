"""What the demo and the benchmarks share: images with their truth, an annotator who never errs, programs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.selected import read_selection
from nuclei.folders.sources import read_sources
from nuclei.io.images import read_labels
from nuclei.report.write import LATER

ROOT = Path(__file__).resolve().parents[1]  # where the scripts lie


@dataclass(frozen=True)
class Tissue:
    """Where the images and the true label images of an experiment lie; they share their file stems."""

    train_images: Path
    train_labels: Path  # stands in for the annotator: only the selected patches are read
    test_images: Path
    test_labels: Path


def tissue_folders(folder: Path) -> Tissue:
    """The four folders of an experiment below `folder`."""
    return Tissue(*(folder / name for name in ("train_images", "train_labels", "test_images", "test_labels")))


def annotate_selected(data: Path, labels: Path) -> None:
    """Play the annotator: cut the masks of the selected patches, and of no other, out of the true labels."""
    selected = read_selection(data)
    for name in set(patches.list_patches(data)) - set(selected):
        if patches.is_annotated(data / name):  # by an earlier run that selected otherwise
            patches.write_patch(data, name, patches.read_patch(data / name))
    annotate(data, [name for name in selected if not patches.is_annotated(data / name)], labels)


def annotate(data: Path, names: Iterable[str], labels: Path) -> None:
    """Cut the masks of these patches out of the label images that `labels` holds, one a training image."""
    table = read_sources(data)
    if table is None:
        raise InputError(f"{data}/ has no table of where its patches were cropped; crop them with --images")
    sources = table.set_index("patch")
    for name in names:
        source, left, top = sources.loc[name, ["source", "x", "y"]]
        truth = read_labels(labels / f"{Path(source).stem}.tif")
        patches.write_masks(data / name, truth[top : top + patches.PATCH, left : left + patches.PATCH])


def program(script: str, *arguments: object, through: Sequence[str] = (), **flags: object) -> None:
    """Run a script of this repository; InputError where it fails, after it has said why.

    It writes no report: who runs several of them does, at their end. `through` is a program with arguments
    that runs the script, which comes last.
    """
    given = [*map(str, arguments)]
    for name, value in flags.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            given.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            given += [f"--{flag}", str(value)]
    print(f"\n$ python {script} {' '.join(given)}", flush=True)
    command = [*through, sys.executable, str(ROOT / script), *given]
    if subprocess.run(command, check=False, env={**os.environ, LATER: "1"}).returncode:
        raise InputError(f"{script} failed; see above")
