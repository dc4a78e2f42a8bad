"""Plots as SVG: their colours follow the page, light or dark, and their texts stay text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nuclei.report.page import escape

WIDTH, HEIGHT = 480, 260  # px
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 40  # px around the axes
COLOURS = 8  # of the style sheet; shapes tell further series apart
SHAPES = ("circle", "square", "triangle", "diamond")
BINS = 24


@dataclass(frozen=True)
class Axis:
    """From values to px along one side of a plot."""

    low: float
    high: float
    start: float
    end: float

    def at(self, values: np.ndarray | float) -> np.ndarray:
        """Where values lie, px."""
        span = (self.high - self.low) or 1.0
        return self.start + (np.asarray(values, float) - self.low) / span * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values along the axis, about five."""
        span = self.high - self.low
        if not span > 0:
            return [self.low]
        step = 10 ** np.floor(np.log10(span / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
        first = np.ceil(self.low / step) * step
        return [float(v) for v in np.arange(first, self.high + step / 1e6, step)]


def lines(given: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> str:
    """One line a series, against 1, 2, ...; where there is nothing finite to show, ""."""
    series = {name: np.asarray(values, float) for name, values in given.items()}
    every = np.concatenate([values[np.isfinite(values)] for values in series.values()] or [[]])
    if not len(every):
        return ""
    longest = max(len(values) for values in series.values())
    x = Axis(1, max(longest, 2), LEFT, WIDTH - RIGHT)
    y = Axis(min(0.0, every.min()), every.max() * 1.05, HEIGHT - BOTTOM, TOP)
    drawn = []
    for number, values in enumerate(series.values()):
        points = " ".join(
            f"{a:.1f},{b:.1f}"
            for a, b in zip(x.at(np.arange(1, len(values) + 1)), y.at(values), strict=True)
            if np.isfinite(b)
        )
        kind = f'class="line c{number % COLOURS} d{number % 3}"'
        drawn.append(f'<polyline {kind} points="{points}"/>')
        if len(values) == 1:  # a line through one point is invisible
            drawn.append(_marker(float(x.at(1)), float(y.at(values[0])), number))
    ends = ", ".join(f"{name} {values[-1]:.3g}" for name, values in series.items() if len(values))
    return _legend(series) + _plot(x, y, xlabel, ylabel, "".join(drawn), f"Curves; at the end {ends}")


def histogram(given: Mapping[str, Sequence[float]], xlabel: str) -> str:
    """The distribution of each series, as a share of it; "" where no series holds a value."""
    series = {name: np.asarray(values, float) for name, values in given.items()}
    series = {name: values[np.isfinite(values)] for name, values in series.items()}
    series = {name: values for name, values in series.items() if len(values)}
    if not series:
        return ""
    every = np.concatenate(list(series.values()))
    low, high = (float(value) for value in np.quantile(every, [0.0, 0.995]))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    shares = {
        name: np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / len(values)
        for name, values in series.items()
    }
    x = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = Axis(0, max(share.max() for share in shares.values()) * 1.05, HEIGHT - BOTTOM, TOP)
    drawn = []
    for number, share in enumerate(shares.values()):
        across = np.repeat(x.at(edges), 2)
        up = y.at(np.concatenate([[0], np.repeat(share, 2), [0]]))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
        drawn.append(f'<polyline class="line area c{number % COLOURS} d{number % 3}" points="{points}"/>')
    medians = "; ".join(f"{n}: median {np.median(v):.3g}, {len(v)} values" for n, v in series.items())
    return _legend(series) + _plot(x, y, xlabel, "share", "".join(drawn), f"Histogram of {xlabel}. {medians}")


@dataclass(frozen=True)
class Point:
    """A point of a map."""

    x: float
    y: float
    name: str
    cluster: int | None
    chosen: bool = False
    thumb: str = ""  # the address of its picture


def scatter(points: Sequence[Point], xlabel: str, ylabel: str) -> str:
    """Points by cluster: colour and shape say which; chosen ones are large and numbered."""
    across, up = np.array([[point.x, point.y] for point in points], float).T
    pads = 0.05 * (np.ptp(across) or 1), 0.05 * (np.ptp(up) or 1)
    height = 420
    x = Axis(across.min() - pads[0], across.max() + pads[0], LEFT, 760 - RIGHT)
    y = Axis(up.min() - pads[1], up.max() + pads[1], height - BOTTOM, TOP)
    drawn = []
    for point in sorted(points, key=lambda point: point.chosen):
        a, b = float(x.at(point.x)), float(y.at(point.y))
        where = "covered by known patches" if point.cluster is None else f"cluster {point.cluster}"
        text = f"{point.name}: {where}" + (", chosen" if point.chosen else "")
        mark = _marker(a, b, point.cluster, 9 if point.chosen else 5)
        label = f'<text x="{a + 11:.1f}" y="{b + 4:.1f}">{point.cluster}</text>' if point.chosen else ""
        drawn.append(
            f'<g class="point{" chosen" if point.chosen else ""}" tabindex="{0 if point.chosen else -1}" '
            f'data-text="{escape(text)}" data-thumb="{point.thumb}">{mark}{label}</g>'
        )
    chosen = sum(point.chosen for point in points)
    alt = f"Map of {len(points)} patches by their features; {chosen} are chosen"
    return _plot(x, y, xlabel, ylabel, "".join(drawn), alt, (760, height))


def _marker(x: float, y: float, number: int | None, radius: float = 4) -> str:
    if number is None:
        return f'<circle class="mark none" cx="{x:.1f}" cy="{y:.1f}" r="{radius - 1}"/>'
    kind = f'class="mark c{number % COLOURS}"'
    shape = SHAPES[number // COLOURS % len(SHAPES)] if number >= COLOURS else SHAPES[number % len(SHAPES)]
    if shape == "circle":
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "triangle": [(0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
        "diamond": [(0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)],
    }[shape]
    points = " ".join(f"{x + radius * a:.1f},{y + radius * b:.1f}" for a, b in corners)
    return f'<polygon {kind} points="{points}"/>'


def _legend(series: Mapping[str, object]) -> str:
    items = "".join(
        f'<li><svg width="26" height="10" aria-hidden="true"><line class="line c{number % COLOURS} '
        f'd{number % 3}" x1="0" x2="26" y1="5" y2="5"/></svg> '
        f"{escape(name)}</li>"
        for number, name in enumerate(series)
    )
    return f'<ul class="legend">{items}</ul>'


def _plot(
    x: Axis, y: Axis, xlabel: str, ylabel: str, drawn: str, alt: str, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> str:
    width, height = size
    bottom = height - BOTTOM
    parts = []
    for value in x.ticks:
        a = float(x.at(value))
        parts.append(f'<line class="rule" x1="{a:.1f}" x2="{a:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="mid" x="{a:.1f}" y="{bottom + 15}">{value:g}</text>')
    for value in y.ticks:
        b = float(y.at(value))
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{width - RIGHT}" y1="{b:.1f}" y2="{b:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 5}" y="{b + 4:.1f}">{value:g}</text>')
    middle = (LEFT + width - RIGHT) / 2
    parts.append(f'<text class="mid" x="{middle}" y="{height - 6}">{escape(xlabel)}</text>')
    turn = f'transform="translate(12 {(TOP + bottom) / 2}) rotate(-90)"'
    parts.append(f'<text class="mid" {turn}>{escape(ylabel)}</text>')
    large = " large" if width > WIDTH else ""
    return (
        f'<svg class="plot{large}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}">'
        f"{''.join(parts)}{drawn}</svg>"
    )
