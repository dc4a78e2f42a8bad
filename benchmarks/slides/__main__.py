"""Whole slides with the start weights: `python -m benchmarks.slides`, one JSON line out (Linux).

A generated slide and one of half its side are segmented on two cores. memory_4x_over_1x: peaks of both;
overhead: seconds of the larger run over those of the bare network on the same tiles (start-up taken off);
two_over_one: the rate of two workers of one core each over that of one; after_kills: nuclei that differ once
a worker, and then the whole run, was ended by SIGKILL; edges: see `benchmarks.slides.edges`; million: see
`benchmarks.slides.million`. The defaults take hours; --side 3000 --edges-side 1500 --nuclei 20000 shows in
minutes that it works.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import shapely

from benchmarks.slides import edges, measured
from mrcnn.inference.tiling import OVERLAP
from nuclei.cli import run
from nuclei.io.files import write_json
from nuclei.slides.blocks import Grid
from nuclei.tissue.slide import TissueSlide

TILE = 256  # px, of the start weights


@dataclass(frozen=True)
class Settings:
    side: int = 50_000  # px, of the larger slide
    share: float = 0.15  # of it that shows tissue
    edges_side: int = 6_000  # px, of the slide of dense tissue whose block edges are looked at
    edges_block: int = 384  # px, of its blocks: small ones have many edges
    nuclei: int = 1_000_000  # in the large table
    out: Path = Path("runs/bench_slides")


def main(settings: Settings) -> None:
    settings.out.mkdir(parents=True, exist_ok=True)
    figures = _sizes(settings)
    figures |= _workers(settings)
    figures["after_kills"] = _kills(settings)
    figures["edges"] = _edges(settings)
    figures["million"] = _json(
        [sys.executable, "-m", "benchmarks.slides.million", str(settings.nuclei)], settings
    )
    write_json(settings.out / "figures.json", figures)
    print(json.dumps(figures))


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
    runs, tissue = {}, {}
    for name, side in (("half", settings.side // 2), ("whole", settings.side)):
        slide, path = _slide(settings, side, settings.share)
        runs[name] = measured.checked(measured.segment(path.resolve(), _fresh(settings, name)))
        tissue[name] = slide.tissue_pixels / 1e6
    # What does not grow with the slide is the start of the program.
    grown = runs["whole"].seconds - runs["half"].seconds
    rate = grown / (tissue["whole"] - tissue["half"])
    start = runs["half"].seconds - rate * tissue["half"]
    bare = _json([sys.executable, "-m", "benchmarks.slides.bare", str(path.resolve())])
    return {
        "side": settings.side,
        "tissue_mp": round(tissue["whole"], 1),
        "seconds": round(runs["whole"].seconds, 1),
        "peak_mb": round(runs["whole"].peak_mb),
        "memory_4x_over_1x": round(runs["whole"].peak_mb / runs["half"].peak_mb, 3),
        "s_per_mp": round(rate, 2),
        "start_s": round(start, 1),
        "overhead": round((runs["whole"].seconds - start) / bare["seconds"] - 1, 3),
    }


def _workers(settings: Settings) -> dict:
    """The time of one worker on one core over that of two on two; both take their time to start."""
    _, path = _slide(settings, settings.side // 2, settings.share)
    seconds = {}
    for count in (1, 2):
        out = _fresh(settings, f"workers_{count}")
        done = measured.segment(path.resolve(), out, "--scheduler", f"local:{count}", cores=count)
        seconds[count] = measured.checked(done).seconds
    return {"two_over_one": round(seconds[1] / seconds[2], 2)}


def _kills(settings: Settings) -> int:
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
    return len(_outlines(out / f"{path.stem}.parquet") ^ _outlines(expected))


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
    return edges.figures(edges.match(truth, found), lines)  # type: ignore[arg-type]


def _json(command: list[str], settings: Settings | None = None) -> dict:
    if settings is not None:
        command = [*command, str(_fresh(settings, "million"))]
    return json.loads(measured.checked(measured.run(command)).output.strip().splitlines()[-1])


if __name__ == "__main__":
    run(main, Settings, __doc__)
