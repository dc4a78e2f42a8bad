"""What correcting costs beside drawing: `python -m benchmarks.annotation FOLDER`, one JSON line.

FOLDER is that of `benchmarks.label_efficiency`; only its training images are looked at. Stage 1 chooses the
patches; then `benchmarks.annotation.person` corrects their first outlines by the baseline, the start weights
and a model that learnt a few of these patches, which are left out of its row.
"""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from annotations import proposer
from benchmarks.annotated_images import sort_images
from benchmarks.annotation.person import Person, Work
from benchmarks.label_efficiency.execute import K2, STRIDE
from mrcnn.selftraining.start import start_weights
from nuclei.cli import run
from nuclei.editor.desk import Desk
from nuclei.editor.drawing import Drawing, Propose
from nuclei.editor.server import Server
from nuclei.experiment import annotate, program
from nuclei.folders import patches
from nuclei.folders.selected import read_selection
from nuclei.folders.sources import SOURCES
from nuclei.io.files import write_json


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path]  # annotated images: images/, labels/ and splits.json
    k1: int = 12  # patches to annotate
    learnt: int = 3  # of them, by the model; 0: no such model
    steps: int = 150  # of its training
    out: Path = Path("runs/annotation_benchmark")  # everything, and results.json


def main(settings: Settings) -> None:
    out = settings.out
    data = out / "data"
    where = sort_images(settings.folder, out / "images")
    program(
        "consis_based.py", data=data, crops=None, images=where.train_images, stride=STRIDE, k1=settings.k1,
        k2=K2, out=out / "chosen",
    )  # fmt: skip
    names = read_selection(data)
    truth = _truth(out / "truth", data, names, where.train_labels)
    results = {}
    for row, (start, model, learnt) in _starts(settings, truth, names).items():
        held_out = [name for name in names if name not in learnt]
        works = _correct(out / row, truth, held_out, proposer(start, model))
        results[row] = asdict(sum(works, Work())) | {"patches": len(held_out)}
        write_json(out / "results.json", results)
        print(row, results[row], flush=True)
    print(json.dumps(results))


def _truth(folder: Path, data: Path, names: list[str], labels: Path) -> Path:
    """The chosen patches with their true masks, in a folder of their own."""
    for name in names:
        if not patches.is_patch(folder / name):
            patches.write_patch(folder, name, patches.read_patch(data / name))
    for table in data.glob(SOURCES):
        shutil.copy(table, folder / table.name)
    annotate(folder, [name for name in names if not patches.is_annotated(folder / name)], labels)
    return folder


def _starts(settings: Settings, truth: Path, names: list[str]) -> dict[str, tuple[str, Path, list[str]]]:
    """What draws the first outlines, its model, and the patches that it learnt."""
    starts: dict[str, tuple[str, Path, list[str]]] = {
        "baseline": ("baseline", Path(), []),
        "start_weights": ("model", start_weights(), []),
    }
    if settings.learnt:
        learnt, data, folder = names[: settings.learnt], settings.out / "learnt", settings.out / "model"
        for name in learnt:
            pair = patches.read_patch(truth / name), patches.read_masks(truth / name)
            patches.write_patch(data, name, *pair)
        program(
            "pseudo_label.py", data=data, synthetic=None, rounds=0, steps=settings.steps, validation=0,
            out=folder,
        )  # fmt: skip
        starts[f"model_of_{settings.learnt}"] = "model", folder / "model", learnt
    return starts


def _correct(folder: Path, truth: Path, names: list[str], propose: Propose) -> list[Work]:
    """Correct patches that nobody annotated yet; returns what each took."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        patches.write_patch(folder / "data", name, patches.read_patch(truth / name))
    desk = Desk(folder / "data", names, folder / "annotations", "model", folder / "costs.csv")
    drawing = Drawing(desk, propose)
    drawing.run()
    with Server(desk, drawing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        works = [
            Person(server, index, patches.read_masks(truth / name)).correct()
            for index, name in enumerate(names)
        ]
        server.shutdown()
    return works


if __name__ == "__main__":
    run(main, Settings, __doc__)
