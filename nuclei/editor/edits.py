"""What a person does to the outlines of one patch: every action, and undoing it, without end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from shapely import ops

from nuclei.editor.candidates import Candidate, at_point, free_part, from_click
from nuclei.editor.geometry import grown, largest_part, overlap, points_of, smoothed
from nuclei.errors import InputError

SMALLEST = 4.0  # px; a smaller outline is a slip of the hand
GAP = 3.0  # px between two pieces that still merge
SAME = 0.4  # intersection over union from which a drawn outline is a better one of the same nucleus
THRESHOLD = 0.4  # score from which an outline is shown at first, as in segment.py


@dataclass(frozen=True)
class Nucleus:
    """One outline of a patch.

    Attributes:
        key: names it as long as the patch is open.
        outline: a valid Polygon or MultiPolygon, px.
        score: how sure a program was of it, 0..1; None where a person drew it.
        origin: position of the candidate that it is, as long as nobody changed it; or None.
    """

    key: int
    outline: shapely.Geometry
    score: float | None = None
    origin: int | None = None


@dataclass(frozen=True)
class State:
    """The outlines at one moment; `dropped`: candidates that a person said no to."""

    nuclei: tuple[Nucleus, ...] = ()
    dropped: frozenset[int] = frozenset()
    threshold: float = THRESHOLD


@dataclass
class Editing:
    """The outlines of a patch while somebody works on them.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        candidates: what a program proposes for it.
        state: now.
        version: grows with every change, undone ones too.
    """

    image: np.ndarray
    candidates: Sequence[Candidate] = ()
    state: State = field(default_factory=State)
    version: int = 0
    _past: list[State] = field(default_factory=list)
    _future: list[State] = field(default_factory=list)
    _next: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, px."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._future)

    @property
    def outlines(self) -> list[shapely.Geometry]:
        """Of all nuclei, in their order."""
        return [nucleus.outline for nucleus in self.state.nuclei]

    def start(self, nuclei: Sequence[Candidate], state: State | None = None) -> None:
        """Begin with these outlines; there is nothing to undo then."""
        base = state or self.state
        self.state = replace(base, nuclei=tuple(self._new(each.outline, each.score) for each in nuclei))
        self._past, self._future = [], []

    def start_from_candidates(self) -> None:
        """Begin with the candidates from the threshold on."""
        self.state = replace(self.state, nuclei=self._shown(self.state))
        self._past, self._future = [], []

    def recognise(self) -> None:
        """Tell which outlines, read from a file, are candidates that nobody changed: by score and place."""
        by_score = {each.score: number for number, each in enumerate(self.candidates) if each.score}
        nuclei = []
        for nucleus in self.state.nuclei:
            origin = None if nucleus.score is None else by_score.get(nucleus.score)
            if origin is not None and origin not in self.state.dropped:
                inside = nucleus.outline.difference(self.candidates[origin].outline).area < SMALLEST
                nucleus = replace(nucleus, origin=origin if inside else None)
            nuclei.append(nucleus)
        self.state = replace(self.state, nuclei=tuple(nuclei))

    def nucleus(self, key: int) -> Nucleus:
        """The nucleus of a key; InputError where it is not there, as after a change in another window."""
        for nucleus in self.state.nuclei:
            if nucleus.key == key:
                return nucleus
        raise InputError("this outline is not there any more")

    def add(self, points: Sequence[Sequence[float]]) -> Nucleus:
        """Add an outline drawn by hand, (N, 2) x and y in px, in the place of those of the same nucleus.

        What leaves the image is cut off.
        """
        nucleus = self._new(self._drawn(points))
        same = [each for each in self.state.nuclei if overlap(each.outline, nucleus.outline) >= SAME]
        if same:
            self._replace(same, (nucleus,))
        else:
            self._set(self.state.nuclei + (nucleus,))
        return nucleus

    def drop(self, key: int) -> None:
        """Take a nucleus out."""
        gone = self.nucleus(key)
        dropped = self.state.dropped | ({gone.origin} if gone.origin is not None else set())
        self._set(tuple(each for each in self.state.nuclei if each.key != key), dropped)

    def propose(self, x: float, y: float) -> Nucleus:
        """Add an outline at a point: a candidate that is not shown, else what stands out there.

        Raises:
            InputError: the point is outside of the image or in a nucleus, or nothing stands out.
        """
        self._check_point(x, y)
        taken = self.outlines
        if any(each.contains(shapely.Point(x, y)) for each in taken):
            raise InputError("there is an outline already")
        # What a person said no to comes last.
        fresh, dropped = (
            [each for number, each in enumerate(self.candidates) if (number in self.state.dropped) == said_no]
            for said_no in (False, True)
        )
        found = at_point(fresh, x, y, taken) or from_click(self.image, x, y, taken)
        found = found or at_point(dropped, x, y, taken)
        if found is None:
            raise InputError("nothing stands out there; draw the outline by hand")
        nucleus = self._new(found.outline, found.score)
        self._set(self.state.nuclei + (nucleus,))
        return nucleus

    def handles(self, key: int) -> np.ndarray:
        """The corners of a nucleus by which it is moved, (N, 2) x and y in px."""
        return np.asarray(smoothed(self.nucleus(key).outline).exterior.coords[:-1])

    def move(self, key: int, corner: int, x: float, y: float) -> None:
        """Move one of the `handles` of a nucleus.

        Raises:
            InputError: there is no such corner, or the outline would cross itself.
        """
        self._check_point(x, y, slack=1.0)
        points = self.handles(key).copy()
        if not 0 <= corner < len(points):
            raise InputError("this corner is not there any more")
        points[corner] = x, y
        moved = shapely.Polygon(points)
        if not moved.is_valid:
            raise InputError("the outline would cross itself there")
        self._change(key, self._inside(moved))

    def grow(self, key: int, by: float) -> None:
        """Move an outline outwards by so many px, inwards where negative; others keep theirs."""
        others = [each.outline for each in self.state.nuclei if each.key != key]
        self._change(key, self._inside(grown(self.nucleus(key).outline, by, others)))

    def split(self, key: int, line: Sequence[Sequence[float]]) -> None:
        """Cut a nucleus along a line, (N, 2) x and y in px, that goes all the way across it."""
        nucleus = self.nucleus(key)
        cut = shapely.LineString(points_of(line, 2))
        parts = [part for shape in shapely.get_parts(nucleus.outline) for part in ops.split(shape, cut).geoms]
        parts = [part for part in parts if part.area >= SMALLEST]
        if len(parts) < 2:
            raise InputError("draw the line all the way across the outline")
        pieces = tuple(self._new(part) for part in parts)
        self._replace([nucleus], pieces)

    def merge(self, keys: Sequence[int]) -> Nucleus:
        """Make one nucleus of two or more that touch, or nearly."""
        parts = [self.nucleus(key) for key in dict.fromkeys(keys)]
        if len(parts) < 2:
            raise InputError("draw the line from one outline into another")
        shape = shapely.union_all([part.outline for part in parts])
        if len(shapely.get_parts(shape)) > 1:
            shape = shape.buffer(GAP / 2, join_style="mitre").buffer(-GAP / 2, join_style="mitre")
        if len(shapely.get_parts(shape)) > 1:
            raise InputError("these outlines do not touch")
        merged = self._new(self._inside(shape))
        self._replace(parts, (merged,))
        return merged

    def show_from(self, threshold: float) -> None:
        """Show the candidates whose score is at least `threshold`, 0..1, but for those dropped.

        What a person drew or changed stays.
        """
        if not 0 <= threshold <= 1:
            raise InputError(f"a score of {threshold} is not between 0 and 1")
        state = replace(self.state, threshold=float(threshold))
        self._set(self._shown(state), threshold=float(threshold))

    def undo(self) -> None:
        """Go back by one change, if there is one."""
        if self._past:
            self._future.append(self.state)
            self.state = self._past.pop()
            self.version += 1

    def redo(self) -> None:
        """Take an `undo` back, if there was one."""
        if self._future:
            self._past.append(self.state)
            self.state = self._future.pop()
            self.version += 1

    def _shown(self, state: State) -> tuple[Nucleus, ...]:
        """What a person drew or changed, and the candidates from the threshold on that leave it free."""
        known = {each.origin: each for each in state.nuclei if each.origin is not None}
        nuclei = [each for each in state.nuclei if each.origin is None]
        wanted = [
            (position, each)
            for position, each in enumerate(self.candidates)
            if position not in state.dropped and (each.score is None or each.score >= state.threshold)
        ]
        taken = [nucleus.outline for nucleus in nuclei]
        for position, candidate in sorted(wanted, key=lambda each: -(each[1].score or 0)):
            free = free_part(candidate.outline, taken)
            if free is None:
                continue
            taken.append(free)
            kept = known.get(position)
            nuclei.append(replace(kept, outline=free) if kept else self._new(free, candidate.score, position))
        return tuple(nuclei)

    def _new(
        self, outline: shapely.Geometry, score: float | None = None, origin: int | None = None
    ) -> Nucleus:
        self._next += 1
        return Nucleus(self._next - 1, outline, score, origin)

    def _change(self, key: int, outline: shapely.Geometry) -> None:
        changed = replace(self.nucleus(key), outline=outline, origin=None)
        self._replace([self.nucleus(key)], (changed,))

    def _replace(self, old: Sequence[Nucleus], new: tuple[Nucleus, ...]) -> None:
        """Put `new` in the place of the first of `old`; their candidates never come back by themselves."""
        keys = {each.key for each in old}
        position = next(number for number, each in enumerate(self.state.nuclei) if each.key in keys)
        rest = [each for each in self.state.nuclei if each.key not in keys]
        origins = {each.origin for each in old if each.origin is not None}
        self._set((*rest[:position], *new, *rest[position:]), self.state.dropped | origins)

    def _set(
        self,
        nuclei: tuple[Nucleus, ...],
        dropped: frozenset[int] | set[int] | None = None,
        threshold: float | None = None,
    ) -> None:
        self._past.append(self.state)
        self._future.clear()
        self.state = State(
            nuclei,
            self.state.dropped if dropped is None else frozenset(dropped),
            self.state.threshold if threshold is None else threshold,
        )
        self.version += 1

    def _drawn(self, points: Sequence[Sequence[float]]) -> shapely.Polygon:
        drawn = shapely.make_valid(shapely.Polygon(points_of(points, 3)), method="structure")
        return self._inside(drawn)

    def _inside(self, shape: shapely.Geometry) -> shapely.Polygon:
        """The part of a shape in the image; InputError where it is too small to be a nucleus."""
        height, width = self.size
        part = largest_part(shape.intersection(shapely.box(0, 0, width, height)))
        if part.area < SMALLEST:
            raise InputError("this outline is too small")
        return part

    def _check_point(self, x: float, y: float, slack: float = 0.0) -> None:
        height, width = self.size
        if not (-slack <= x <= width - 1 + slack and -slack <= y <= height - 1 + slack):
            raise InputError("this point is outside of the image")
