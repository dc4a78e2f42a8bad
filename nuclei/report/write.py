"""The page that shows a whole run: written by report.py, and anew at the end of every stage."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from nuclei.errors import InputError
from nuclei.io.files import write_text
from nuclei.report.page import Section, page
from nuclei.report.places import REPORT, Memory, Places, below, is_of, keep, remember, stamp

# Each stage's results lie in a folder of this name where the report goes beside them.
USUAL = {"chosen": "selection", "pairs": "csingan", "model": "mrcnn", "segmented": "mrcnn"}

# Set for the stages that another program runs one after the other: it writes the page once, at their end.
LATER = "NUCLEI_REPORT_LATER"

log = logging.getLogger(__name__)


def write_report(report: Path, memory: Memory) -> list[str]:
    """Write the page of a run; a section whose results are broken says so.

    Args:
        report: the file, written atomically.
        memory: where the results lie, and how long they took.

    Returns:
        the warnings on the page.

    Raises:
        InputError: the file cannot be written.
    """
    # They are slow to import, and bad input need not wait for them.
    from nuclei.report import found, stage1, stage2, stage3

    makers: dict[str, tuple[str, Callable[[Places], Section]]] = {
        "patches": ("Patches", stage1.pool),
        "chosen": ("Chosen", stage1.chosen),
        "annotated": ("Annotated", stage1.annotated),
        "pairs": ("Synthetic pairs", stage2.pairs),
        "pseudo": ("Pseudo labels", stage3.pseudo_labels),
        "model": ("Model", stage3.model),
        "segmented": ("Segmented", found.segmented),
    }
    sections = []
    for key, (title, make) in makers.items():
        try:
            section = make(memory.places)
        except (InputError, OSError) as error:
            section = Section(key, title, "cannot be shown", warnings=[str(error)])
        section.seconds = memory.seconds.get(key, section.seconds)
        sections.append(section)
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    text = page(f"Nuclei from few labels: {memory.places.data}", sections, f"Written {now}.")
    write_text(report, text)
    keep(report, replace(memory, stamp=stamp(memory)))
    return [warning for section in sections for warning in section.warnings]


def after_stage(stage: str, out: Path, seconds: float, **places: object) -> None:
    """Write the report anew at the end of a stage, beside the folder of its results.

    With `LATER` in the environment it only remembers what the page will show.
    Only where that folder has its usual name, as in `runs/selection`, whose report is `runs/report.html`;
    results elsewhere are an experiment's. Whatever goes wrong is a warning: the stage is finished.

    Args:
        stage: a key of `USUAL`.
        out: the folder of its results.
        seconds: how long it took.
        places: what is known of `Places`.
    """
    if out.name != USUAL[stage]:
        return
    report = out.parent / REPORT
    try:
        before = remember(report)
        if not is_of(before, places.get("data")):  # another run, of which nothing is known yet
            before = Memory(below(report.parent), {})
        memory = before.joined(stage, seconds, places)
        if os.environ.get(LATER):
            keep(report, memory)
            return
        if report.exists() and stamp(memory) == before.stamp:
            return
        write_report(report, memory)
        log.info("the whole run on one page: %s", report)
    except Exception as error:  # a finished stage never fails for its picture
        log.warning("%s was not written (%s: %s)", report, type(error).__name__, error)
