"""How fast stage 1 is, and how much memory it takes: `python -m benchmarks.stage1.speed`, one JSON line out.

ratio_to_bare: patches per second of the whole stage beside the bare network on the same batches in memory.
memory_8x_over_1x, time_8x_over_1x: peak memory and wall time of the program at eight times the patches.
reselect_100k_s: another selection from kept features of 100,000 patches of 2048 values.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import consis_based
from nuclei import tissue
from nuclei.cli import run
from nuclei.folders.patches import list_patches, read_patch, write_patch
from nuclei.folders.runs import Run
from nuclei.io.files import write_json
from nuclei.selection.feature_store import LENGTHS, FeatureStore, content_key
from nuclei.selection.features import Extractor
from nuclei.selection.quarters import quarters
from nuclei.selection.two_stage import select

ROOT = Path(__file__).resolve().parents[2]
SIZE = 256  # px
K1, K2 = 12, 4


@dataclass(frozen=True)
class Settings:
    patches: int = 128  # at 1x; 2x, 4x and 8x follow
    reselect: int = 100_000  # patches with made-up features of 2048 values: 41 kB a patch on the disk
    out: Path = Path("runs/bench_select")  # emptied beforehand and afterwards, but for figures.json


def main(settings: Settings) -> None:
    bench = Run(settings.out, "benchmark", asdict(settings))
    bench.check()
    shutil.rmtree(settings.out, ignore_errors=True)
    bench.begin()
    sizes = [settings.patches * factor for factor in (1, 2, 4, 8)]
    folders = {count: settings.out / f"data_{count}" for count in sizes}
    _make_patches(folders)
    runs = {count: _program(folder) for count, folder in folders.items()}
    figures: dict[str, Any] = {
        "ratio_to_bare": 0,
        "memory_8x_over_1x": 0,
        "time_8x_over_1x": 0,
        "reselect_100k_s": 0,
    }
    figures |= _beside_bare(folders[sizes[-1]])
    figures["second_run_s"] = _program(folders[sizes[-1]])["seconds"]
    figures["memory_8x_over_1x"] = runs[sizes[-1]]["peak_mb"] / runs[sizes[0]]["peak_mb"]
    figures["time_8x_over_1x"] = runs[sizes[-1]]["seconds"] / runs[sizes[0]]["seconds"]
    figures["reselect_100k_s"] = _reselect(settings.out / "store", settings.reselect)
    figures |= {"reselect_patches": settings.reselect, "runs": runs}
    shutil.rmtree(settings.out)
    bench.begin()
    figures = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 3))
    write_json(settings.out / "figures.json", figures)
    bench.finish()
    print(json.dumps(figures))


def _make_patches(folders: dict[int, Path]) -> None:
    """Folders of patches, cut out of generated tissue at random places, so that no two are alike."""
    rng = np.random.default_rng(0)
    images = [tissue.generate(kind, 1024, seed=0)[0] for kind in tqdm(tissue.KINDS, desc="generating tissue")]
    for count, folder in folders.items():
        for number in tqdm(range(count), desc=folder.name):
            image = images[number % len(images)]
            top, left = rng.integers(0, 1024 - SIZE, 2)
            write_patch(folder, f"p{number}", image[top : top + SIZE, left : left + SIZE])


def _program(data: Path) -> dict[str, float]:
    """Wall time and peak memory of consis_based.py as a user runs it."""
    command = [sys.executable, str(ROOT / "consis_based.py"), "--data", str(data), "--k1", str(K1)]
    command += ["--crops", str(data) + "_cut", "--out", str(data) + "_out"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError("consis_based.py failed; see above")
    return {"seconds": time.monotonic() - began, "peak_mb": usage.ru_maxrss / 1024}


def _beside_bare(data: Path) -> dict[str, float]:
    """Patches per second of the whole stage, and of the bare network before and after it."""
    batches = _batches(data)
    settings = consis_based.Settings(
        data=data, k1=K1, k2=K2, crops=data.parent / "cut_again", out=data.parent / "out_again"
    )
    extractor = Extractor(settings.features)
    _bare(extractor, batches[:8])  # warm
    count = len(list_patches(data))
    before = _bare(extractor, batches)
    began = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):  # the last line of this benchmark is to be the only one
        consis_based.main(settings)
    stage = time.monotonic() - began
    bare = (before + _bare(extractor, batches)) / 2  # the machine may have changed its speed meanwhile
    return {
        "ratio_to_bare": bare / stage,
        "stage_patches_per_s": count / stage,
        "bare_patches_per_s": count / bare,
    }


def _batches(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Patches (B, H, W, 3) and their quarters (4 B, H / 2, W / 2, 3), as the stage puts them together."""
    images = [read_patch(data / name) for name in list_patches(data)]
    size = Extractor(consis_based.Settings.features).batch
    chunks = [images[start : start + size] for start in range(0, len(images), size)]
    return [(np.stack(chunk), np.concatenate([quarters(image) for image in chunk])) for chunk in chunks]


def _bare(extractor: Extractor, batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Seconds for all batches."""
    began = time.monotonic()
    for patches, pieces in batches:
        extractor(patches)
        extractor(pieces)
    return time.monotonic() - began


def _reselect(folder: Path, count: int) -> float:
    """Seconds to choose from the kept features of `count` patches, which form 40 clouds."""
    rng = np.random.default_rng(0)
    length = LENGTHS["resnet50"]
    centres = rng.random((40, length), np.float32)
    keys = [content_key(str(number).encode(), SIZE) for number in range(count)]
    with FeatureStore(folder, "resnet50") as store:
        for start in tqdm(range(0, count, 1000), desc="making features", unit="k"):
            of_batch = centres[rng.integers(0, len(centres), min(1000, count - start))]
            pieces = of_batch[:, None] + 0.3 * rng.random((len(of_batch), 4, length), np.float32)
            store.append(keys[start : start + 1000], pieces.mean(axis=1), pieces)
    began = time.monotonic()
    with FeatureStore(folder, "resnet50") as store:
        exact_up_to, rows = consis_based.Settings.exact_up_to, store.rows(keys)
        chosen = select(store.patches, store.quarters, K1, K2, exact_up_to=exact_up_to, rows=rows, keys=keys)
    assert len(chosen) == K1
    return time.monotonic() - began


if __name__ == "__main__":
    run(main, Settings, __doc__)
