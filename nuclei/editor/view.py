"""What the page is told of a patch: its outlines as numbers, and places that a person should look at."""

from __future__ import annotations

import numpy as np
import shapely

from nuclei.editor.edits import Editing, Nucleus, State
from nuclei.io.ids import SMALL
from nuclei.outlines.polygons import paint

SHARED = 5  # px of two outlines from which that is said


def described(editing: Editing, before: State | None) -> dict:
    """The outlines, or of `before`, which the page has, what changed since.

    Returns:
        version, undo and redo (whether there is any), threshold, count, scored (whether any candidate has a
        score), added (key, score, rings), and removed (keys); without `before` `added` holds everything.
    """
    now = {nucleus.key: nucleus for nucleus in editing.state.nuclei}
    then = {} if before is None else {nucleus.key: nucleus for nucleus in before.nuclei}
    added = [nucleus for key, nucleus in now.items() if then.get(key) is not nucleus]
    return {
        "version": editing.version,
        "undo": editing.can_undo,
        "redo": editing.can_redo,
        "threshold": editing.state.threshold,
        "count": len(now),
        "scored": any(each.score is not None for each in editing.candidates),
        "all": before is None,
        "added": [_nucleus(nucleus) for nucleus in added],
        "removed": [key for key in then if key not in now],
    }


def _nucleus(nucleus: Nucleus) -> dict:
    rings = [
        np.round(np.asarray(ring.coords[:-1]), 2).tolist()
        for part in shapely.get_parts(nucleus.outline)
        for ring in (part.exterior, *part.interiors)
    ]
    return {"key": nucleus.key, "score": nucleus.score, "rings": rings}


def concerns(editing: Editing) -> list[dict]:
    """Places to look at before a patch is done: tiny outlines and those that share pixels, key and text."""
    nuclei, outlines = editing.state.nuclei, editing.outlines
    if not nuclei:
        return []
    found = []
    labels, _ = paint(outlines, editing.size)
    sizes = np.bincount(labels.ravel(), minlength=len(nuclei) + 1)[1:]
    for nucleus, size in zip(nuclei, sizes, strict=True):
        if size < SMALL:
            found.append({"key": nucleus.key, "text": f"only {size} px of its own"})
    one, other = shapely.STRtree(outlines).query(outlines, predicate="overlaps")
    for first, second in zip(one, other, strict=True):
        shared = outlines[first].intersection(outlines[second]).area if first < second else 0
        if shared >= SHARED:
            text = f"shares {shared:.0f} px with another outline, which go to the smaller of the two"
            found.append({"key": nuclei[first].key, "text": text})
    return found
