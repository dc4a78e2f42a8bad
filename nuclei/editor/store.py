"""The files behind the editor: the annotation folder's own GeoJSON, and hidden beside it what was proposed.

<patch>.png, <patch>.geojson    as `annotations.py export` writes them; outlines with a score keep it
.candidates/<patch>.json        all outlines that a program proposed, and those that a person said no to
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from nuclei.editor.candidates import Candidate
from nuclei.editor.edits import Editing, State
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.io.files import is_hidden, read_json, write_json
from nuclei.io.images import write_image
from nuclei.outlines import geojson
from nuclei.outlines.checks import to_labels
from nuclei.outlines.exporting import EXPORTED, MASKS, check_picture, fingerprint
from nuclei.outlines.importing import REPLACED, import_patch
from nuclei.outlines.polygons import fill_holes, outlines
from nuclei.outlines.registry import detect
from nuclei.outlines.shapes import SUFFIXES, write_compact

CANDIDATES = ".candidates"
DIGITS = 6  # of a score


class Store:
    """Reads and writes the annotations of patches; each file is complete or absent."""

    def __init__(self, data: Path, folder: Path, start: str) -> None:
        """Args: the folder of patches, that of annotations, and what draws first outlines."""
        self.data, self.folder, self.start = data, folder, start
        self._counts: dict[str, tuple[int, int]] = {}

    def check(self) -> None:
        """InputError where there is an annotation in another format, which nobody would see here."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.iterdir()):
            ours = path.suffix in (SUFFIXES["geojson"], ".png") or is_hidden(path) or path.is_dir()
            if not ours and detect(path) is not None:
                raise InputError(
                    f"{path} is an annotation in another format; import it first and move it away, "
                    "or name another --annotations"
                )

    def has(self, name: str) -> bool:
        """Whether a patch has an annotation file."""
        return self._file(name).exists()

    def has_candidates(self, name: str) -> bool:
        """Whether something was proposed for a patch."""
        return self._candidates_file(name).exists()

    def is_exported(self, name: str) -> bool:
        """Whether a program drew its first outlines here."""
        return name in self._exported()

    def stamp(self, name: str) -> int:
        """Changes when the annotation file does; 0 without one."""
        path = self._file(name)
        return path.stat().st_mtime_ns if path.exists() else 0

    def count(self, name: str) -> int:
        """How many outlines the annotation file holds."""
        stamp = self.stamp(name)
        if self._counts.get(name, (0, 0))[0] != stamp:
            # As bytes: to parse 500 files takes seconds, for which the page would wait.
            self._counts[name] = stamp, self._file(name).read_bytes().count(b'"Feature"')
        return self._counts[name][1]

    def read(self, name: str) -> Editing | None:
        """The outlines of a patch: its file, else its masks, else what was proposed; None before that.

        The first ones are written, as `annotations.py export` does.

        Raises:
            InputError: the file, the masks or the image are broken.
        """
        patch = self.data / name
        candidates, state = self._read_candidates(name)
        editing = Editing(patches.read_patch(patch), candidates)
        if self.has(name):
            shapes = geojson.read(self._file(name)).shapes
            drawn = [Candidate(shape.outline, shape.score) for shape in shapes if not shape.outline.is_empty]
            editing.start(drawn, state)
            editing.recognise()
            return editing
        if patches.is_annotated(patch):
            editing.start([Candidate(shape) for shape in outlines(patches.read_masks(patch))], state)
        elif self.has_candidates(name) or self.start == "none":
            editing.start_from_candidates()
        else:
            return None
        self._begin(name, editing, MASKS if patches.is_annotated(patch) else self.start)
        return editing

    def write(self, name: str, editing: Editing) -> None:
        """Write the outlines of a patch; InputError where that fails."""
        nuclei = editing.state.nuclei
        scores = [None if each.score is None else round(each.score, DIGITS) for each in nuclei]
        geojson.write(self._file(name), editing.outlines, f"{name}.png", scores=scores)
        self._counts[name] = self.stamp(name), len(nuclei)
        said = {"dropped": sorted(editing.state.dropped), "threshold": editing.state.threshold}
        path = self._candidates_file(name)
        if path.exists():
            content = read_json(path)
            if {key: content.get(key) for key in said} != said:
                write_compact(path, {**content, **said})

    def write_candidates(self, name: str, candidates: Sequence[Candidate]) -> None:
        """Keep what was proposed for a patch; InputError where that fails."""
        rows = [
            {
                "score": None if each.score is None else round(each.score, DIGITS),
                "points": np.round(np.asarray(each.outline.exterior.coords), 2).tolist(),
            }
            for each in candidates
        ]
        write_compact(self._candidates_file(name), {"candidates": rows, "dropped": []})

    def import_masks(self, name: str) -> tuple[int, list[str]]:
        """Write the masks of a patch from its file, as `nuclei.outlines.importing.import_patch` does."""
        return import_patch(self._file(name), self.data / name, self.folder / REPLACED)

    def _begin(self, name: str, editing: Editing, origin: str) -> None:
        """Write the first outlines, and what drew them: an import warns where nobody changed them."""
        picture = self.folder / f"{name}.png"
        check_picture(picture, editing.image)
        write_image(picture, editing.image)
        self.write(name, editing)
        labels, _ = to_labels(geojson.read(self._file(name)), name, editing.size)
        exported = self._exported()
        exported.setdefault(name, {})[origin] = fingerprint(fill_holes(labels)[0])
        write_json(self.folder / EXPORTED, exported)

    def _exported(self) -> dict:
        path = self.folder / EXPORTED
        return read_json(path) if path.exists() else {}

    def _read_candidates(self, name: str) -> tuple[list[Candidate], State]:
        path = self._candidates_file(name)
        if not path.exists():
            return [], State()
        content = read_json(path)
        try:
            rows = [Candidate(shapely.Polygon(row["points"]), row["score"]) for row in content["candidates"]]
            state = State((), frozenset(content["dropped"]), float(content.get("threshold", State.threshold)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no list of proposed outlines; delete it") from error
        return rows, state

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIXES['geojson']}"

    def _candidates_file(self, name: str) -> Path:
        return self.folder / CANDIDATES / f"{name}.json"
