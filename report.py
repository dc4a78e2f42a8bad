"""Show a whole run on one page, which opens in any browser without a network: runs/report.html."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from nuclei.cli import run
from nuclei.errors import InputError


@dataclass(frozen=True)
class Settings:
    out: Path = Path("runs/report.html")  # the page; report.json beside it remembers where the results lie
    data: Path | None = None  # the patches; None, here and below: as remembered, or where the scripts put it
    selection: Path | None = None  # the results of consis_based.py
    csingan: Path | None = None  # those of main_train.py
    synthetic: Path | None = None  # its pairs
    mrcnn: Path | None = None  # the results of pseudo_label.py
    pseudo: Path | None = None  # its labels
    segmented: Path | None = None  # the results of segment.py
    images: tuple[Path, ...] = ()  # the images that were segmented, or folders of them
    scores: Path | None = None  # scores.csv of evaluate.py


def main(settings: Settings) -> None:
    # Imported here: --help need not wait.
    from nuclei.report.places import remember
    from nuclei.report.write import write_report

    if settings.out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out is {settings.out}; name a file that ends in .html")
    given = {field.name: getattr(settings, field.name) for field in fields(settings)}
    given = {name: value for name, value in given.items() if value and name != "out"}
    for name, value in given.items():
        for path in value if isinstance(value, tuple) else [value]:
            if not path.exists():
                raise InputError(f"--{name} is {path}, which does not exist")
    memory = remember(settings.out)
    memory = replace(memory, places=replace(memory.places, **given))
    if not memory.places.data.is_dir():
        raise InputError(
            f"{memory.places.data}/ does not exist; start with python consis_based.py, or name --data"
        )
    warnings = write_report(settings.out, memory)
    print(f"wrote {settings.out}; {len(warnings)} things to look at")


if __name__ == "__main__":
    run(main, Settings, __doc__)
