"""Read files that were damaged at random: each is taken, or refused in one line, soon and in little memory.

    python -m tests.campaigns.mutations --count 1000

Prints a line for each format, and one for each case that ended otherwise; `--only FORMAT --first K --count 1`
repeats case K.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro

from nuclei import tissue
from nuclei.errors import InputError
from nuclei.folders import patches, runs
from nuclei.folders.selected import SELECTION, read_selection
from nuclei.folders.sources import SOURCES, read_sources
from nuclei.io.images import read_image, read_labels, write_image, write_labels
from nuclei.outlines import registry, shapes
from nuclei.outlines.checks import to_labels

SECONDS = 20  # a case that takes longer hangs
MEMORY = 2 * 2**30  # bytes, beyond what the program has when it begins
SIDE = 64


@dataclass(frozen=True)
class Settings:
    count: int = 1000  # cases of each format
    first: int = 0  # number of the first case
    only: str = ""  # this format alone


@dataclass(frozen=True)
class Format:
    """A file to damage, and what reads it."""

    path: Path
    read: Callable[[], object]
    is_text: bool = False


def main(settings: Settings) -> None:
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        formats = make(Path(folder))
        for name, form in formats.items():
            if settings.only in ("", name):
                failures += campaign(name, form, range(settings.first, settings.first + settings.count))
    print(f"mutations: {failures} of {settings.count * (1 if settings.only else len(formats))} cases failed")
    raise SystemExit(failures > 0)


def campaign(name: str, form: Format, cases: range) -> int:
    """Try all cases of a format, in a process that may be killed; returns how many failed."""
    content, failures, done = form.path.read_bytes(), 0, cases.start
    counts = {"taken": 0, "refused": 0}
    slowest = 0.0
    context = multiprocessing.get_context("fork")
    while done < cases.stop:
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(form, name, content, range(done, cases.stop), theirs))
        worker.start()
        theirs.close()
        while done < cases.stop:
            began = time.monotonic()
            try:
                outcome = ours.recv() if ours.poll(SECONDS) else f"no answer in {SECONDS} s"
            except EOFError:
                outcome = "the program ended"
            slowest = max(slowest, time.monotonic() - began)
            failures += outcome not in counts
            if outcome in counts:
                counts[outcome] += 1
            else:
                print(f"{name} {done}: {outcome}", flush=True)
            done += 1
            if outcome.startswith(("no answer", "the program")):
                break
        worker.kill()
        worker.join()
    form.path.write_bytes(content)
    print(f"{name}: {counts['taken']} taken, {counts['refused']} refused, {failures} failed; {slowest:.1f} s")
    return failures


def work(form: Format, name: str, content: bytes, cases: range, results) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for case in cases:
        rng = random.Random(f"{name} {case}")
        form.path.write_bytes(mutate_text(content, rng) if form.is_text else mutate(content, rng))
        results.send(outcome_of(form.read))


def outcome_of(read: Callable[[], object]) -> str:
    try:
        read()
    except InputError as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits, bytes, runs, numbers of four bytes, cuts, repetitions."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        # Headers matter most.
        place = rng.randrange(min(len(data), 200) if rng.random() < 0.5 else len(data)) if data else 0
        length = rng.choice((1, 2, 4, 16, 256))
        kind = rng.randrange(7)
        if not data or kind == 0:
            data[place:place] = rng.randbytes(length)
        elif kind == 1:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[place : place + length] = rng.randbytes(length)
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            number = rng.choice((0, 1, 100_000, 2**31 - 1, 2**32 - 1))
            data[place : place + 4] = number.to_bytes(4, rng.choice(("big", "little")))
        elif kind == 5:
            data[place:place] = data[place : place + length]
        else:
            del data[place:]
    return bytes(data)


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """As `mutate`, or a token of a text file exchanged for one that is valid in itself but out of place."""
    if rng.random() < 0.3:
        return mutate(content, rng)
    tokens = (
        "null",
        "true",
        "-1",
        "1e999",
        "NaN",
        "{}",
        "[]",
        '""',
        '"../../x"',
        '"/etc/x"',
        "9" * 30,
        "[[[[]]]]",
    )
    text = content.decode()
    for _ in range(rng.randint(1, 3)):
        ends = [place for place, letter in enumerate(text) if letter in '[]{},:"\n']
        if len(ends) > 1:
            index = rng.randrange(len(ends) - 1)
            text = text[: ends[index] + 1] + rng.choice(tokens) + text[ends[index + 1] :]
    return text.encode()


def make(folder: Path) -> dict[str, Format]:
    """A good file of every format that the scripts read."""
    image, labels = tissue.generate("glandular", SIDE, 0)
    found: dict[str, Format] = {}
    write_image(folder / "a.png", image)
    for suffix in ("jpg", "bmp", "webp"):
        cv2.imwrite(str(folder / f"a.{suffix}"), image[..., ::-1])
    _write_tiffs(folder, image)
    for name in ("a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "lzw.tif"):
        path = folder / name
        found[f"image {name}"] = Format(path, lambda path=path: read_image(path))
    write_labels(folder / "labels.tif", labels)
    write_image(folder / "labels.png", labels.astype(np.uint8))
    for name in ("labels.tif", "labels.png"):
        path = folder / name
        found[name] = Format(path, lambda path=path: read_labels(path))
    patches.write_patch(folder, "p", image, labels)
    found["mask"] = Format(folder / "p" / "masks" / "0.png", lambda: patches.read_masks(folder / "p"))
    found |= _annotations(folder / "annotations", labels) | _records(folder, image)
    return found


def _write_tiffs(folder: Path, image: np.ndarray) -> None:
    import tifffile

    tifffile.imwrite(folder / "a.tif", image, photometric="rgb", compression="zlib")
    tifffile.imwrite(folder / "lzw.tif", image, photometric="rgb", compression="lzw")
    (folder / "slides").mkdir()
    tifffile.imwrite(
        folder / "slides" / "s.tif", np.tile(image, (4, 4, 1)), photometric="rgb", tile=(64, 64),
        compression="jpeg", resolution=(40_000, 40_000), resolutionunit="centimeter",
    )  # fmt: skip


def _annotations(folder: Path, labels: np.ndarray) -> dict[str, Format]:
    from nuclei.outlines import coco
    from nuclei.outlines.polygons import outlines

    def read(path: Path) -> None:
        form = registry.detect(path)
        for annotation in registry.read(path, form).values() if form else ():
            to_labels(annotation, "a", labels.shape)

    found = {}
    for form, suffix in shapes.SUFFIXES.items():
        path = folder / f"a{suffix}"
        registry.write(path, form, labels, "a.png")
        found[form] = Format(path, lambda path=path: read(path), is_text="json" in suffix)
    path = folder / shapes.COCO_FILE
    coco.write(path, {"a.png": (labels.shape, outlines(labels))})
    found["coco"] = Format(path, lambda: read(path), is_text=True)
    return found


def _records(folder: Path, image: np.ndarray) -> dict[str, Format]:
    """Tables, settings and weights."""
    import torch

    from csingan.training import checkpoint
    from mrcnn import model as modellib
    from mrcnn.config import find_model
    from mrcnn.modeling import weights
    from nuclei.slides.cropping import crop_images
    from tests.tiny_network import config

    selected = folder / SELECTION
    selected.write_text("patch,cluster,score\np,0,1.5\n")
    table = folder / SOURCES
    table.write_text("patch,source,x,y\np,a.png,0,0\n")
    run = runs.Run(folder / "run", "benchmark", {"steps": 5})
    run.begin()
    run.finish()
    network = modellib.MaskRCNN("inference", config(), folder)
    network.save(folder / "model")
    state = {"generator.weight": torch.ones(3, 3), "adam.step": torch.zeros(1)}
    scale = checkpoint.path_of(folder, 0)
    checkpoint.save(scale, state)

    def crop() -> None:
        with tempfile.TemporaryDirectory() as data:
            out = Path(data)
            crop_images(folder / "slides", out / "data", 64, 64, 0.25, None, out / "overviews", False)

    return {
        "selected.csv": Format(selected, lambda: read_selection(folder), is_text=True),
        "sources.csv": Format(table, lambda: read_sources(folder), is_text=True),
        "settings.json": Format(run.folder / runs.RECORD, lambda: run.state, is_text=True),
        "config.json": Format(
            folder / "model" / "config.json", lambda: find_model(folder / "model"), is_text=True
        ),
        "weights h5": Format(
            folder / "model" / "mask_rcnn.h5",
            lambda: weights.read(folder / "model" / "mask_rcnn.h5", network.keras_model),
        ),
        "checkpoint": Format(scale, lambda: checkpoint.load(scale, state)),
        "slide": Format(folder / "slides" / "s.tif", crop),
    }


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
