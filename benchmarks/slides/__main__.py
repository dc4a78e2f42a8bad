"""Whole slides with the start weights: `python -m benchmarks.slides`, one JSON line out (Linux).

A generated slide and one of half its side are segmented on two cores. memory_4x_over_1x: peaks of both;
overhead: seconds of the larger run over those of the bare network on the same tiles (start-up taken off);
two_over_one: the rate of two workers of one core each over that of one; after_kills: nuclei that differ once
a worker, and then the whole run, was ended by SIGKILL; edges: see `benchmarks.slides.edges`; million: see
`benchmarks.slides.million`. The defaults take hours; a run that was ended goes on with the next part.
--side 3000 --edges-side 1500 --nuclei 20000 shows in minutes that it works.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import shapely

from benchmarks.slides import bare, edges, measured
from mrcnn.inference.tiling import OVERLAP, sides
from nuclei.cli import run
from nuclei.folders.runs import Run
from nuclei.io.files import read_json, write_json
from nuclei.slides.blocks import Grid
from nuclei.tissue.slide import TissueSlide

TILE = sides(256)[-1]  # px, as the start weights see slides


@dataclass(frozen=True)
class Settings:
    side: int = 50_000  # px, of the larger slide
    share: float = 0.15  # of it that shows tissue
    edges_side: int = 6_500  # px, of the slide of dense tissue whose block edges are looked at
    edges_block: int = 384  # px, of its blocks: small ones have many edges
    nuclei: int = 1_000_000  # in the large table
    out: Path = Path("runs/bench_slides")


def main(settings: Settings) -> None:
    record = Run(settings.out, "benchmark", {**asdict(settings), "out": None})
    if not record.is_finished:
        record.begin()
    figures = _sizes(settings)
    for part in (_workers, _kills, _edges, _million):
        figures |= _once(settings, part.__name__.strip("_"), partial(part, settings))
    record.finish()
    print(json.dumps(figures))


def _once(settings: Settings, name: str, measure: Callable[[], dict]) -> dict:
    """The figures of a part of the benchmark; they are kept, and not measured twice."""
    path = settings.out / f"{name}.json"
    if not path.exists():
        write_json(path, measure())
    return read_json(path)


def _slide(settings: Settings, side: int, share: float, kind: str = "hepatic") -> tuple[TissueSlide, Path]:
    slide = TissueSlide(side, side, kind=kind, share=share, field=1024 if side > 4000 else 256)
    path = settings.out / f"{kind}_{side}.tif"
    if not path.exists():
        slide.write(path)
    return slide, path


def _fresh(settings: Settings, name: str) -> Path:
    out = settings.out / name
    shutil.rmtree(out, ignore_errors=True)
    return out.resolve()


def _sizes(settings: Settings) -> dict:
    """Memory and time of a slide and of one of half its side, and the bare network's time."""
    runs, seen = {}, {}
    for name, side in (("half", settings.side // 2), ("whole", settings.side)):
        _, path = _slide(settings, side, settings.share)
        runs[name] = _once(settings, name, partial(_segment, settings, name, path))
        seen[name] = bare.count_tiles(path, TILE) * (TILE - OVERLAP) ** 2 / 1e6  # Mpx of tissue
    network = _once(settings, "bare", partial(_json, "benchmarks.slides.bare", path))
    half, whole = runs["half"], runs["whole"]
    # What does not grow with the slide is the start of the program.
    rate = (whole["seconds"] - half["seconds"]) / (seen["whole"] - seen["half"])
    start = half["seconds"] - rate * seen["half"]
    return {
        "side": settings.side,
        "tissue_mp": round(seen["whole"], 1),
        "seconds": round(whole["seconds"], 1),
        "peak_mb": round(whole["peak_mb"]),
        "memory_4x_over_1x": round(whole["peak_mb"] / half["peak_mb"], 3),
        "s_per_mp": round(rate, 2),
        "start_s": round(start, 1),
        "overhead": round((whole["seconds"] - start) / network["seconds"] - 1, 3),
    }


def _segment(settings: Settings, name: str, path: Path) -> dict:
    done = measured.checked(measured.segment(path.resolve(), _fresh(settings, name)))
    return {"seconds": done.seconds, "peak_mb": done.peak_mb}


def _workers(settings: Settings) -> dict:
    """The time of one worker on one core over that of two on two; both take their time to start."""
    _, path = _slide(settings, settings.side // 2, settings.share)
    seconds = {}
    for count in (1, 2):
        out = _fresh(settings, f"workers_{count}")
        done = measured.segment(path.resolve(), out, "--scheduler", f"local:{count}", cores=count)
        seconds[count] = measured.checked(done).seconds
    return {"two_over_one": round(seconds[1] / seconds[2], 2)}


def _kills(settings: Settings) -> dict:
    """How many nuclei differ from those of a run in peace: a worker and the whole run were killed."""
    _, path = _slide(settings, settings.side // 2, settings.share)
    out = _fresh(settings, "killed")
    killed: list[int] = []

    def records() -> int:
        return len(list(out.glob("slides/*/found_*/*.npz")))

    def watch(process: psutil.Process) -> None:
        workers = [one for one in process.children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]
        if not killed and records() >= 1 and workers:
            killed.append(workers[0].pid)
            workers[0].kill()
        elif len(killed) == 1 and records() >= 3:
            killed.append(process.pid)
            measured.kill(process)

    flags = ("--scheduler", "local:2", "--block", "512")
    measured.segment(path.resolve(), out, *flags, watch=watch)
    assert len(killed) == 2, "the slide is too small to be killed in the middle"
    measured.checked(measured.segment(path.resolve(), out, *flags))
    expected = settings.out / "half" / f"{path.stem}.parquet"
    return {"after_kills": len(_outlines(out / f"{path.stem}.parquet") ^ _outlines(expected))}


def _outlines(path: Path) -> set[bytes]:
    shapes = shapely.from_wkb(pq.read_table(path, columns=["geometry"])["geometry"].to_numpy())
    return {shape.normalize().wkb for shape in shapes}


def _edges(settings: Settings) -> dict:
    slide, path = _slide(settings, settings.edges_side, 1.0, "lymphoid")
    out = settings.out / "edges"  # goes on where a run was ended
    flags = ("--block", str(settings.edges_block))
    measured.checked(measured.segment(path.resolve(), out.resolve(), *flags))
    grid = Grid(slide.width, slide.height, TILE, OVERLAP, settings.edges_block)
    cores = [grid.core(block) for block in grid.blocks()]
    lines = tuple(np.unique([core[side] for core in cores])[1:] for side in (0, 1))
    found = shapely.from_wkb(pq.read_table(out / f"{path.stem}.parquet")["geometry"].to_numpy())
    truth = np.concatenate(list(slide.nuclei()))
    return {"edges": edges.figures(edges.match(truth, found), lines)}  # type: ignore[arg-type]


def _million(settings: Settings) -> dict:
    return {"million": _json("benchmarks.slides.million", settings.nuclei, _fresh(settings, "million"))}


def _json(module: str, *arguments: object) -> dict:
    """What a program of ours prints in its last line."""
    done = measured.checked(measured.run([sys.executable, "-m", module, *map(str, arguments)]))
    return json.loads(done.output.strip().splitlines()[-1])


if __name__ == "__main__":
    run(main, Settings, __doc__)
