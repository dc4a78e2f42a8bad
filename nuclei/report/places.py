"""Where the results of a run lie, and what its report remembers of the stages that are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from nuclei.errors import InputError
from nuclei.folders.runs import RECORD
from nuclei.io.files import digest, read_json, write_json

REPORT = "report.html"
MEMORY = "report.json"  # beside it


@dataclass(frozen=True)
class Places:
    """The folders of one run; each may be missing. The defaults are those of the scripts."""

    data: Path = Path("data")
    selection: Path = Path("runs/selection")
    csingan: Path = Path("runs/csingan")
    synthetic: Path | None = Path("data_synthetic")
    mrcnn: Path = Path("runs/mrcnn")
    pseudo: Path = Path("data_pseudo")
    segmented: Path = Path("segmented")
    images: tuple[Path, ...] = ()  # the images that were segmented, or folders of them
    costs: Path = Path("runs/annotation.csv")  # what annotating cost, as annotations.py edit counts it
    scores: Path | None = None  # a table of evaluate.py; None: the one in `segmented`, if any


def below(folder: Path) -> Places:
    """The usual places of a run: around a folder `runs`, or all in one folder, such as `runs/demo`."""
    named = {each.name: each.default for each in fields(Places) if isinstance(each.default, Path)}
    if folder.name == "runs":
        at = {name: folder.parent / path for name, path in named.items()}
    else:
        at = {name: folder / path.name for name, path in named.items()}
    return replace(Places(), **at)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Memory:
    """What `report.json` holds: the places of a run, and how long each of its stages took, s."""

    places: Places
    seconds: Mapping[str, float]
    stamp: str = ""  # of the results that the report shows

    def joined(self, stage: str, seconds: float, known: Mapping[str, object]) -> Memory:
        """With the places that a stage used and its time.

        A stage that found its results finished took no time: the longest time counts.
        """
        took = {**self.seconds, stage: round(max(seconds, self.seconds.get(stage, 0.0)), 1)}
        return Memory(replace(self.places, **known), took)  # type: ignore[arg-type]


def remember(report: Path) -> Memory:
    """What is known of the run that a report is of; the usual places where there is none yet.

    Raises:
        InputError: `report.json` is broken.
    """
    path = report.with_name(MEMORY)
    if not path.exists():
        return Memory(below(report.parent), {})
    content = read_json(path)
    try:
        given = dict(content["places"])
        at = {name: None if given[name] is None else Path(given[name]) for name in given if name != "images"}
        images = tuple(Path(each) for each in given["images"])
        places = Places(**at, images=images)  # type: ignore[arg-type]
        seconds = {str(stage): float(value) for stage, value in content["seconds"].items()}
        return Memory(places, seconds, str(content["stamp"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is no record of a report; delete it") from error


def is_of(memory: Memory, data: object) -> bool:
    """Whether a stage that used the patches `data`, None for none, belongs to the run that is remembered."""
    return data is None or Path(str(data)) == memory.places.data


def keep(report: Path, memory: Memory) -> None:
    """Write `report.json`; InputError where that fails."""
    content = {"places": asdict(memory.places), "seconds": dict(memory.seconds), "stamp": memory.stamp}
    write_json(report.with_name(MEMORY), content)


def stamp(memory: Memory) -> str:
    """Twelve hexadecimal digits that change when a stage has written other results, or in other places."""
    places = memory.places
    folders = [places.data, places.selection, places.csingan, places.synthetic, places.mrcnn, places.pseudo]
    paths = [path for folder in (*folders, places.segmented) if folder for path in _records(folder)]
    paths += [path for path in (places.scores, places.costs) if path and path.exists()]
    times = "".join(f"{path} {path.stat().st_mtime_ns}\n" for path in paths)
    return digest([repr((asdict(places), dict(memory.seconds))).encode(), times.encode()])


def _records(folder: Path) -> list[Path]:
    """The files that tell whether results changed: records of runs, tables, annotations."""
    patterns = ("*.json", "*.csv", f"*/{RECORD}", "*/masks", "scores/*.json")
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def settings_of(folder: Path, record: str = RECORD) -> dict:
    """What a result depends on, as its record says; {} where there is none."""
    path = folder / record
    return dict(read_json(path).get("depends_on", {})) if path.exists() else {}
