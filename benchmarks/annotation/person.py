"""A program that corrects a patch as a person would, through the editor's own server, and counts its actions.

It knows the truth: an outline that fits (IoU at least `GOOD`) stays; a nucleus without an outline is
clicked. An outline that nearly fits is grown or shrunk pixel by pixel as long as that helps; what does not
fit then is drawn over in one stroke. What is around no nucleus is clicked away. It never moves a corner,
splits or merges.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from nuclei.editor.edits import SAME
from nuclei.editor.geometry import overlap
from nuclei.editor.server import Server
from nuclei.outlines.polygons import outlines

GOOD = 0.7  # intersection over union with the true nucleus from which nobody would correct an outline
NEAR = 0.5  # from which a person would try to grow or shrink it
STEPS = 3  # px by which they would
CORNERS = 1.0  # px by which an outline drawn corner by corner may be off
VISIBLE = 30  # px; a smaller piece of a nucleus at the border is not asked for


@dataclass
class Work:
    """What a patch took.

    `actions` counts a click or a key as one, and an outline drawn in one stroke as one; `clicks` counts such
    an outline by its corners, as in tools that draw polygons.
    """

    nuclei: int = 0
    fine: int = 0  # nuclei whose first outline needs no correction
    actions: int = 0
    clicks: int = 0
    drawn: int = 0  # nuclei that had to be drawn
    by_hand_actions: int = 0  # to draw every nucleus
    by_hand_clicks: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Person:
    """Works on one patch of a server."""

    def __init__(self, server: Server, index: int, truth: np.ndarray) -> None:
        """Args: the server, the number of the patch, and its true labels (H, W), 0 = background."""
        self.server, self.path = server, f"/{server.token}/api/patch/{index}"
        self.nuclei = [shape for shape in outlines(truth) if shape.area >= VISIBLE]
        self.work = Work(len(self.nuclei))

    def correct(self) -> Work:
        """Bring the patch to where every nucleus has an outline that fits, and nothing else has one."""
        for nucleus in self.nuclei:
            self.work.by_hand_actions += 1
            self.work.by_hand_clicks += self._corners(nucleus)
        found = self._view()
        fitting = self._fitting(found)
        self.work.fine = len(fitting)
        wrong = {key: shape for key, shape in found.items() if key not in fitting.values()}
        for number, nucleus in enumerate(self.nuclei):
            if number not in fitting:
                self._outline(nucleus, wrong)
        found = self._view()
        for key in found.keys() - self._fitting(found).values():
            self._click({"do": "drop", "key": key})
        missing = len(self.nuclei) - len(self._fitting(self._view()))
        assert missing == 0, f"{missing} nuclei are without an outline that fits"
        return self.work

    def _outline(self, nucleus: shapely.Geometry, wrong: dict[int, shapely.Geometry]) -> None:
        """Mend the outline that it has, or click where it has none; draw it where that does not help."""
        overlaps = {key: overlap(shape, nucleus) for key, shape in wrong.items()}
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= SAME:
            key, shape = best, wrong[best]
        else:
            point = nucleus.centroid if nucleus.contains(nucleus.centroid) else nucleus.representative_point()
            key, shape = self._changed({"do": "propose", "x": point.x, "y": point.y})
        if shape is not None and self._fits_when_grown(nucleus, key, shape):
            return
        part = max(shapely.get_parts(nucleus), key=lambda each: each.area)
        assert self._ask({"do": "add", "points": np.asarray(part.exterior.coords[:-1]).tolist()}) is not None
        self.work.actions += 1
        self.work.clicks += self._corners(nucleus)
        self.work.drawn += 1

    def _fits_when_grown(self, nucleus: shapely.Geometry, key: int, shape: shapely.Geometry) -> bool:
        """Grow or shrink an outline that nearly fits as long as that helps; whether it fits in the end."""
        outwards, iou = nucleus.area > shape.area, overlap(shape, nucleus)
        for _ in range(STEPS):
            if not NEAR <= iou < GOOD:
                break
            _, changed = self._changed({"do": "grow", "key": key, "outwards": outwards})
            before, iou = iou, 0.0 if changed is None else overlap(changed, nucleus)
            if iou <= before:
                break
        return iou >= GOOD

    def _changed(self, action: dict) -> tuple[int, shapely.Geometry | None]:
        """Key and shape of the outline that a click or key makes or changes; None where it does nothing."""
        answer = self._click(action)
        if answer is None:
            return 0, None
        nucleus = answer["added"][-1]
        return nucleus["key"], _shape(nucleus)

    def _fitting(self, found: dict[int, shapely.Geometry]) -> dict[int, int]:
        """The outline of each nucleus that has one: position -> key."""
        pairs = [
            (overlap(shape, nucleus), number, key)
            for number, nucleus in enumerate(self.nuclei)
            for key, shape in found.items()
            if shape.intersects(nucleus)
        ]
        fitting: dict[int, int] = {}
        for iou, number, key in sorted(pairs, reverse=True):
            if iou >= GOOD and number not in fitting and key not in fitting.values():
                fitting[number] = key
        return fitting

    def _corners(self, nucleus: shapely.Geometry) -> int:
        part = max(shapely.get_parts(nucleus), key=lambda each: each.area)
        return len(shapely.simplify(part, CORNERS).exterior.coords) - 1

    def _click(self, action: dict) -> dict | None:
        """What the server says; None where it refuses. A click that does nothing is a click, too."""
        self.work.actions += 1
        self.work.clicks += 1
        return self._ask(action)

    def _view(self) -> dict[int, shapely.Geometry]:
        answer = self._ask(None)
        assert answer is not None
        self.version = answer["version"]
        return {each["key"]: _shape(each) for each in answer["added"]}

    def _ask(self, action: dict | None) -> dict[str, Any] | None:
        host, port = self.server.server_address[:2]
        connection = http.client.HTTPConnection(str(host), port, timeout=60)
        if action is None:
            connection.request("GET", self.path)
        else:
            body = json.dumps({**action, "version": self.version, "clicks": 1, "seconds": 0})
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = json.loads(response.read())
        connection.close()
        if response.status != 200:
            return None
        self.version = content["version"]
        return content


def _shape(nucleus: dict) -> shapely.Geometry:
    return shapely.make_valid(shapely.union_all([shapely.Polygon(ring) for ring in nucleus["rings"]]))
