"""How far do few labels go? `python -m benchmarks.label_efficiency FOLDER`, one JSON line out.

FOLDER is laid out as `benchmarks.annotated_images` says; patches are chosen from its training images.

Every row is scored on whole test images: label-free; the annotated patches alone; with their synthetic pairs;
the whole method; the whole method on random patches, and on those of the paper's rule; every training image
annotated; and other tools (`benchmarks.peers`) on the same patches, each with the learning rate and for the
time that suit it, and after our generated tissue too. Our trainings have equal steps, but for those with
more to learn. The seed of a run is that of all its stages.

Each run is kept and never repeated; the same command goes on where it stopped, with `--kept scores.csv` on
another machine too. First comes the table with one seed in every row, then the other seeds, the paper's
rule, the other budgets, and other tools after generated tissue. The command may be started several times,
side by side: each process takes the next run that no other one works at. With cores of its own for each
(`taskset -c 0 python -m ...`, `taskset -c 1 ...`) all together do more than one alone, and minutes compare.
"""

from __future__ import annotations

import json

from benchmarks import annotated_images
from benchmarks.label_efficiency import report
from benchmarks.label_efficiency.begin import begin
from benchmarks.label_efficiency.execute import execute, peer_python
from benchmarks.label_efficiency.plan import PEERS, RUN, TOOLS, Plan, Settings, list_runs, turn
from nuclei.cli import run
from nuclei.errors import InputError


def main(settings: Settings) -> None:
    unknown = sorted(set(settings.peers) - set(PEERS))
    if unknown:
        raise InputError(f"--peers has {' '.join(unknown)}; known are {' '.join(PEERS)}")
    kept = report.read_kept(settings.kept) if settings.kept else None
    known = set() if kept is None else set(kept["folder"])
    runs = [each for each in list_runs(settings) if each.name not in known]
    for tool in sorted({TOOLS[each.row] for each in runs if each.row in TOOLS}):
        peer_python(tool)
    _, groups = annotated_images.read_splits(settings.folder)
    with turn(settings.out, "begin"):
        where = annotated_images.sort_images(settings.folder, settings.out / "tissue")
        made_with = begin(settings, where)
    plan = Plan(settings, where, made_with["steps"])
    if kept is not None and settings.kept is not None:
        report.check_steps(kept, plan, settings.kept)

    def write_report() -> dict:
        with turn(settings.out, "report"):
            return report.write(settings.out, where, groups, settings.budget, made_with, kept)

    for number, each in enumerate(runs, 1):
        folder = settings.out / "runs" / each.name
        with turn(settings.out, folder, wait=False) as ours:
            if not ours or (folder / RUN).exists():
                continue
            print(f"\n=== {number} of {len(runs)}: {each.name}", flush=True)
            execute(plan, each, folder)
        write_report()
    print(json.dumps(write_report()))


if __name__ == "__main__":
    run(main, Settings, __doc__)
