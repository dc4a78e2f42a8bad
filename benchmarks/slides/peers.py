"""One image by ours and by other tools: `python -m benchmarks.slides.peers`, one JSON line out.

Each tool learns for some minutes from the same generated patches in its own environment
(`benchmarks/peers/`), since no weights can be downloaded here; ours are the start weights. Then each segments
the same image, from the start of the program to its result: seconds, and the peak of memory of its processes.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.slides import measured
from nuclei import tissue
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.patches import write_patch
from nuclei.io.files import write_json
from nuclei.io.images import read_labels, write_image

PEERS = ("stardist", "cellpose", "instanseg")
PATCHES = 8


@dataclass(frozen=True)
class Settings:
    side: int = 2000  # px, of the image
    minutes: float = 5.0  # of training of each peer
    cores: int = 2  # for each tool
    peers: tuple[str, ...] = PEERS  # beside ours; `make peers` installs them
    out: Path = Path("runs/bench_segment")


def main(settings: Settings) -> None:
    if unknown := sorted(set(settings.peers) - set(PEERS)):
        raise InputError(f"--peers has {' '.join(unknown)}; known are {' '.join(PEERS)}")
    out = settings.out.resolve()
    pythons = {peer: measured.ROOT / f".venv-{peer}" / "bin" / "python" for peer in settings.peers}
    for peer, python in pythons.items():
        if not python.exists():
            raise InputError(f"{python} does not exist; make the environment of {peer} with make peers")
    _write_images(out, settings.side)
    figures: dict = {"side": settings.side, "ours": _ours(out, settings.cores)}
    for peer, python in pythons.items():
        figures[peer] = _peer(out, peer, python, settings)
    write_json(out / "figures.json", figures)
    print(json.dumps(figures))


def _write_images(out: Path, side: int) -> None:
    for seed in range(PATCHES):
        write_patch(out / "data", f"p{seed}", *tissue.generate("hepatic", 256, seed))
    write_image(out / "small" / "small.png", tissue.generate("hepatic", 256, 100)[0])
    write_image(out / "large" / "large.png", tissue.generate("hepatic", side, 101)[0])


def _ours(out: Path, cores: int) -> dict:
    shutil.rmtree(out / "ours", ignore_errors=True)
    image, flags = out / "large" / "large.png", ("--format", "label_tiff")
    return _figures(measured.segment(image, out / "ours", *flags, cores=cores), out / "ours")


def _peer(out: Path, peer: str, python: Path, settings: Settings) -> dict:
    def command(images: str) -> list[str]:
        places = ["--data", out / "data", "--images", out / images, "--out", out / peer]
        module = f"benchmarks.peers.{peer}_peer"
        return [str(python), "-m", module, *map(str, places), "--minutes", str(settings.minutes)]

    measured.checked(measured.run(command("small"), settings.cores))  # trains
    (out / peer / "large.tif").unlink(missing_ok=True)
    return _figures(measured.run(command("large"), settings.cores), out / peer)


def _figures(taken: measured.Measured, folder: Path) -> dict:
    measured.checked(taken)
    labels = read_labels(folder / "large.tif")
    count = len(np.unique(labels[labels > 0]))  # the ids of InstanSeg have gaps
    return {"seconds": round(taken.seconds, 1), "peak_mb": round(taken.peak_mb), "nuclei": count}


if __name__ == "__main__":
    run(main, Settings, __doc__)
