"""A page in one file: sections, figures and tables as HTML, with the style and the script inside."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass
class Section:
    """A stage on the page.

    Attributes:
        key: names the section in links.
        title: of the section.
        count: what its card in the chain at a glance says, such as "48 patches"; "" where nothing is there.
        look: what a person should look at, one sentence.
        parts: HTML, from top to bottom.
        warnings: sentences, as text.
        settings: all that made the results, by name.
        seconds: how long that took; None where unknown.
    """

    key: str
    title: str
    count: str = ""
    look: str = ""
    parts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: float | None = None


def escape(text: object) -> str:
    """Text as HTML, in quotes too: names of files are never markup."""
    return html.escape(str(text), quote=True)


def page(title: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page as text."""
    warnings = [(section, text) for section in sections for text in section.warnings]
    body = [
        f"<header><h1>{escape(title)}</h1>{_chain(sections)}</header>",
        _warnings(warnings),
        *map(_section, sections),
        f"<footer>{escape(footer)}</footer>",
    ]
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing is loaded from anywhere, whatever a name contains.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{style}</style></head>\n<body>'
        + "\n".join(body)
        + f'<div id="hover" role="tooltip" hidden></div><script>{script}</script></body></html>\n'
    )


def _chain(sections: Sequence[Section]) -> str:
    cards = []
    for section in sections:
        state = "done" if section.count else "todo"
        time = "" if section.seconds is None else f"<small>{escape(duration(section.seconds))}</small>"
        marks = f'<b class="mark">{len(section.warnings)} to look at</b>' if section.warnings else ""
        cards.append(
            f'<li class="{state}"><a href="#{section.key}"><span>{escape(section.title)}</span>'
            f"<strong>{escape(section.count or 'not yet')}</strong>{time}{marks}</a></li>"
        )
    return f'<nav aria-label="The chain at a glance"><ol class="chain">{"".join(cards)}</ol></nav>'


def duration(seconds: float) -> str:
    """A time as a person says it: "45 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _warnings(warnings: Sequence[tuple[Section, str]]) -> str:
    if not warnings:
        return '<section class="calm"><p>Nothing stood out. Look at the pictures all the same.</p></section>'
    items = "".join(
        f'<li><a href="#{section.key}">{escape(section.title)}</a>: {escape(text)}</li>'
        for section, text in warnings
    )
    return f'<section class="warnings"><h2>Look here first</h2><ul>{items}</ul></section>'


def _section(section: Section) -> str:
    look = f'<p class="look">{escape(section.look)}</p>' if section.look and section.count else ""
    nothing = "" if section.count else "<p>Nothing is there yet.</p>"
    settings = ""
    if section.settings:
        rows = [(name, _value(value)) for name, value in section.settings.items()]
        settings = f"<details><summary>Settings</summary>{table(('setting', 'value'), rows)}</details>"
    return (
        f'<section id="{section.key}"><h2>{escape(section.title)}</h2>{look}{nothing}'
        f"{''.join(section.parts)}{settings}</section>"
    )


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of text and numbers; numbers with three places."""
    cells = ["".join(f"<th scope=col>{escape(name)}</th>" for name in head)]
    for row in rows:
        texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        first, *others = texts
        cells.append(
            f"<th scope=row>{escape(first)}</th>" + "".join(f"<td>{escape(text)}</td>" for text in others)
        )
    return f'<div class="scroll"><table>{"".join(f"<tr>{cell}</tr>" for cell in cells)}</table></div>'


def figure(content: str, caption: str) -> str:
    """HTML with a caption, which is text."""
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def grid(figures: Sequence[str], wide: bool = False) -> str:
    """Figures beside each other, as many as fit."""
    return f'<div class="grid{" wide" if wide else ""}">{"".join(figures)}</div>'


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>"
