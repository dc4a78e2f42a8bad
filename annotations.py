"""Annotate the selected patches: correct outlines in the browser, or export, correct elsewhere, import."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from mrcnn import backend
from mrcnn.config import check_takes_tiles, find_model
from mrcnn.selftraining.start import FOLDER, MODEL, trained_or_start, warn_of_start
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.patches import is_annotated
from nuclei.folders.selected import SELECTION, read_selection
from nuclei.io.files import check_can_hold_files
from nuclei.outlines.shapes import SUFFIXES, Format

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN
    from nuclei.editor.candidates import Candidate
    from nuclei.editor.drawing import Propose

VIEWS = 4  # turned and mirrored views of a patch that the editor's network averages
LEAST = 0.05  # score of an outline that the editor still proposes where a person clicks


@dataclass(frozen=True)
class Export:
    """Write the selected patches as images with a first annotation beside them, to be corrected."""

    data: Path = Path("data")  # the patches; selected.csv there says which
    out: Path = Path("annotations")  # <patch>.png and the annotation go here; pictures to overlays/
    format: tuple[Format, ...] = ("geojson",)  # one or more; geojson is what QuPath reads
    start: Literal["model", "baseline", "none"] = "model"  # draws what nobody has annotated yet
    model: Path = MODEL  # the folder of a trained model; as long as it is missing, the start weights


@dataclass(frozen=True)
class Edit:
    """Correct the outlines of the selected patches in the browser; every change is saved at once."""

    data: Path = Path("data")  # the patches; selected.csv there says which
    annotations: Path = Path("annotations")  # <patch>.geojson goes here, as QuPath reads it
    start: Literal["model", "baseline", "none"] = "model"  # draws what nobody has annotated yet
    model: Path = MODEL  # the folder of a trained model; as long as it is missing, the start weights
    costs: Path = Path("runs/annotation.csv")  # time and clicks of each patch
    browser: bool = True  # open the link in the browser
    address: str = "127.0.0.1"  # another one lets other machines in that know the link
    port: int = 0  # of the link; 0: any that is free


@dataclass(frozen=True)
class Import:
    """Read annotations back into data/<patch>/masks/; checks all files before it writes the first mask."""

    annotations: tyro.conf.Positional[Path] = Path("annotations")  # the folder of the files, named <patch>.*
    data: Path = Path("data")  # the patches
    format: tuple[Format, ...] = ()  # read these only; any without it
    classes: tuple[str, ...] = ()  # further classes that are nuclei, beside nucleus and no class
    fill_holes: bool = True  # a nucleus has no hole
    empty: bool = False  # take files without any nucleus as patches without nuclei, not as not yet annotated
    replace: bool = False  # put annotations in the place of other ones, which are kept in replaced/


Command = (
    Annotated[Edit, tyro.conf.subcommand("edit")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Import, tyro.conf.subcommand("import")]
)


def main(settings: Edit | Export | Import) -> None:
    if isinstance(settings, Edit):
        _edit(settings)
    elif isinstance(settings, Export):
        _export(settings)
    else:
        _import(settings)


def _edit(settings: Edit) -> None:
    # Imported in the functions that need them: --help need not wait.
    from nuclei.editor.desk import Desk
    from nuclei.editor.session import edit

    names = read_selection(settings.data)
    check_can_hold_files(settings.annotations)
    model, start = _checked(settings.start, settings.model)
    propose = proposer(settings.start, model)
    desk = Desk(settings.data, names, settings.annotations, start, settings.costs)
    done = edit(
        desk, propose, address=settings.address, port=settings.port, browser=settings.browser, say=_say_now
    )
    print(f"\n{done} of {len(names)} patches are done; time and clicks are in {settings.costs}")
    print("next: python main_train.py" if done == len(names) else "next: python annotations.py edit")


def _say_now(text: str) -> None:
    print(text, flush=True)


def _checked(start: str, model: Path) -> tuple[Path, str]:
    """The folder of the model that draws, if any, and what drew; InputError where it cannot."""
    if start == "model":
        model = trained_or_start(model)
        start = "start" if model == FOLDER else "model"
        check_takes_tiles(model, find_model(model)[1])
        backend.check()
    return model, start


def _export(settings: Export) -> None:
    from nuclei.outlines.exporting import OVERLAYS, export_patches

    names = read_selection(settings.data)
    if not settings.format:
        raise InputError(f"--format names no format; name one or more of {', '.join(SUFFIXES)}, coco")
    model, start = _checked(settings.start, settings.model)
    draw = _drawer(settings.start, model)
    count = export_patches(settings.data, names, settings.out, settings.format, start, draw)
    if count:
        print(f"wrote {count} patches to {settings.out}/ as {', '.join(settings.format)}")
    print(
        f"next: look at {settings.out / OVERLAYS}/, correct the outlines in a tool, save them under the same "
        f"names, then python annotations.py import {settings.out}"
    )


def _import(settings: Import) -> None:
    from nuclei.outlines.importing import import_annotations

    selected = read_selection(settings.data) if (settings.data / SELECTION).exists() else []
    imported = import_annotations(
        settings.annotations,
        settings.data,
        formats=settings.format,
        classes=settings.classes,
        fill=settings.fill_holes,
        take_empty=settings.empty,
        replace=settings.replace,
    )
    already = f"; {len(imported.same)} others had theirs already" if imported.same else ""
    print(f"imported {imported.nuclei} nuclei of {len(imported.new)} patches into {settings.data}/{already}")
    missing = [name for name in selected if not is_annotated(settings.data / name)]
    if missing:
        print(f"next: annotate {', '.join(missing)}, which are selected too, then python main_train.py")
    else:
        print("next: python main_train.py")


def _drawer(drawn_by: str, model_folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The function from an image, (H, W, 3) uint8 RGB, to its first labels, (H, W) int32."""
    if drawn_by == "baseline":
        from nuclei import label_free

        return label_free.segment
    if drawn_by == "none":
        return lambda image: np.zeros(image.shape[:2], np.int32)

    network = _network(model_folder)

    def draw(image: np.ndarray) -> np.ndarray:
        from mrcnn.inference import tiling

        return tiling.segment(network().predictor, image)[0]

    return draw


def proposer(drawn_by: str, model_folder: Path) -> Propose:
    """The function from an image, (H, W, 3) uint8 RGB, to outlines that may be nuclei, with scores."""
    from nuclei.editor import candidates

    if drawn_by != "model":
        draw = _drawer(drawn_by, model_folder)
        return lambda image: candidates.from_labels(draw(image))
    network = _network(model_folder, DETECTION_MIN_CONFIDENCE=LEAST)

    def propose(image: np.ndarray) -> list[Candidate]:
        from mrcnn.inference import tiling

        found = tiling.find_instances(network().predictor, image, n_views=VIEWS)
        return [candidates.from_mask(one.mask, one.top, one.left, one.score) for one in found]

    return propose


def _network(folder: Path, **settings: float) -> Callable[[], MaskRCNN]:
    """The network of a folder, loaded at the first patch that needs it."""

    @functools.cache
    def load() -> MaskRCNN:
        # Imported here: TensorFlow takes seconds, which --help and the other starts need not wait for.
        from mrcnn import model

        warn_of_start(folder)
        return model.load(folder, **settings)

    return load


if __name__ == "__main__":
    run(main, Command, __doc__)
