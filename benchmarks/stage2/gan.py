"""What the GAN's synthetic pairs are worth: `python -m benchmarks.stage2.gan [FOLDER]`, one JSON line out.

FOLDER is that of `benchmarks.label_efficiency`, of which only images of lists with "train" in their name
are used; without it the tissue is generated. One patch of each image is the annotated one, on which `fast`
trains; the others are held out. The measures are means over the annotated patches:

auc_gap: how well haematoxylin tells nuclei from background (`csingan.report.separation`), beside the patch.
realism: SIFID of a sample and the patch at stride 4, and at stride 8.
diversity: difference of two samples of one layout, over that of two real patches; diversity_background: the
  same of two layouts where both are background.
repeats: largest correlation of a sample's middle with the patch, wherever it lies; 1 is a copy.
boundary: haematoxylin's fall across the outlines, over that in the patch.
edge: how much farther outside the outlines nuclei seem to end than in the patch, px.
usefulness: AJI of `benchmarks.pixel_model` on the held-out patches, from what it was fitted to.
speedup_to_fidelity: seconds of `paper` over those of `fast`, each of the first of ever longer trainings on a
  smaller patch whose samples reach an auc_gap of 0.03 and the realism of held-out patches. It is a lower
  bound where the minutes for `paper` ended before, and null where the whole of `fast` misses the mark.

`held_out` (other real patches of the image) and `initial` (the collages from which the GAN starts) have the
same measures. Pictures of every patch lie beside figures.json.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
from skimage.segmentation import relabel_sequential

from benchmarks import annotated_images
from benchmarks.pixel_model import COUNT, fit
from benchmarks.stage2.quality import Pair, diversity, quality
from benchmarks.stage2.speed import share_of_limit, step_costs
from csingan.config import PRESETS, Schedule
from csingan.layouts.orientation import nucleus_rotation
from csingan.layouts.sampler import LayoutSampler
from csingan.networks import initial_image
from csingan.networks.pyramid import Pyramid
from csingan.train import Example, sample, train
from nuclei import tissue
from nuclei.cli import run
from nuclei.devices import find_device
from nuclei.errors import InputError
from nuclei.evaluation.metrics import aji
from nuclei.folders.patches import PATCH
from nuclei.folders.runs import Run
from nuclei.io.files import write_json
from nuclei.io.images import write_image
from nuclei.pictures import caption, montage, outline


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path | None] = None  # images/, labels/, splits.json; None: generated
    stems: tuple[str, ...] = ()  # training images to use; by default spread evenly over their list
    images: int = 3  # if no stems are named
    samples: int = 16  # synthetic pairs a patch
    fits: int = 3  # of the pixel model to each set of pairs
    speed_size: int = 128  # px, the middle of the first patch, on which both presets are timed
    paper_minutes: float = 30  # for all timed trainings of `paper` together; 0 leaves the timing out
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    out: Path = Path("runs/bench_gan")  # what is there already is kept under a dated name beside it


GENERATED = 512  # px, the side of a generated image
MAX_AUC_GAP = 0.03  # of the mark that both presets have to reach
GROWTH = 2  # each training that misses the mark is followed by one of so many times the steps
FIRST_EFFORTS = {"fast": 1 / 100, "paper": 1 / 2500}  # of 1 step a scale, and of 10
SHOWN = (2, 9)  # initial images and samples on the sheet of a patch

Patches = tuple[Pair, list[Pair]]  # the annotated one, and those held out


def main(settings: Settings) -> None:
    if settings.images < 1:
        raise InputError(f"--images is {settings.images}; it must be at least 1")
    if not 0 < settings.speed_size <= PATCH:
        raise InputError(f"--speed-size is {settings.speed_size}; it must be 1 to {PATCH} px")
    bench = Run(settings.out, "benchmark", asdict(settings))
    bench.check()
    bench.set_aside()
    bench.begin()
    sources = {name: split(*pair, PATCH) for name, pair in _pairs(settings).items()}
    patches = {name: _measure(name, *source, settings) for name, source in sources.items()}
    figures = average(list(patches.values()))
    figures = figures.pop("synthetic") | {"realism_real": figures["held_out"]["realism"]} | figures
    figures |= _share(next(iter(sources.values()))[0], settings)
    if settings.paper_minutes:
        figures |= _speedup(*next(iter(sources.values())), settings)
    figures["patches"] = patches
    figures = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 4))
    write_json(settings.out / "figures.json", figures)
    bench.finish()
    print(json.dumps(figures))


def _pairs(settings: Settings) -> dict[str, Pair]:
    if settings.folder:
        return annotated_images.read_training(settings.folder, settings.images, settings.stems)
    kinds = list(tissue.KINDS)[: settings.images]
    return {kind: tissue.generate(kind, GENERATED, settings.seed) for kind in kinds}


def split(image: np.ndarray, labels: np.ndarray, size: int) -> Patches:
    """Cut an image into patches of `size` px that do not overlap; the one of median nuclei is annotated."""
    tops, lefts = (range(0, length - size + 1, size) for length in labels.shape)
    pairs = [
        (image[y : y + size, x : x + size], relabel_sequential(labels[y : y + size, x : x + size])[0])
        for y in tops
        for x in lefts
    ]
    if len(pairs) < 2:
        raise InputError(f"an image of {labels.shape[1]} x {labels.shape[0]} px leaves no patch to hold out")
    counts = np.array([labels.max() for _, labels in pairs])
    annotated = int(np.abs(counts - np.median(counts)).argmin())
    return pairs[annotated], pairs[:annotated] + pairs[annotated + 1 :]


def _measure(name: str, real: Pair, held_out: list[Pair], settings: Settings) -> dict:
    """All measures of one annotated patch, and its sheet."""
    layouts = _layouts(real, settings.samples, [settings.seed, 1])
    model, seconds = _train(real, PRESETS["fast"], settings.out / name / "fast", settings)
    make = initial_image.make("collage", *real)
    rng = np.random.default_rng([settings.seed, 2])
    # The second list shows the same layouts again.
    synthetic = [list(zip(sample(model, layouts, settings.seed + i), layouts, strict=True)) for i in (0, 1)]
    initial = [[(make(layout, rng), layout) for layout in layouts] for _ in range(2)]
    _write_sheet(settings.out / f"{name}.png", real, initial[0], synthetic[0])
    sets = {
        "real": [real],
        "initial": initial[0],
        "initial_and_real": [*initial[0], real],
        "synthetic": synthetic[0],
        "both": [*synthetic[0], real],
    }
    _report(f"{name}: fitting the pixel model")
    pixels = settings.samples * COUNT  # as many of each set, or all of it: a single patch is not held short
    useful = {
        key: [_teach(pairs, held_out, pixels, seed) for seed in range(settings.fits)]
        for key, pairs in sets.items()
    }
    return {
        "synthetic": quality(synthetic[0], real) | diversity(synthetic[0], synthetic[1], real, held_out),
        "initial": quality(initial[0], real) | diversity(initial[0], initial[1], real, held_out),
        "held_out": quality(held_out, real),
        "usefulness": {key: float(np.mean(scores)) for key, scores in useful.items()},
        "usefulness_sd": {key: float(np.std(scores)) for key, scores in useful.items()},  # over the fits
        "train_seconds": seconds,
    }


def _layouts(real: Pair, count: int, seed: int | list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    try:
        sampler = LayoutSampler(real[1], rotate=nucleus_rotation(real[0]))
        return [sampler(rng) for _ in range(count)]
    except ValueError as error:
        raise InputError(f"no layout for a patch of {len(real[1])} px: {error}") from error


def _train(real: Pair, schedule: Schedule, folder: Path, settings: Settings) -> tuple[Pyramid, float]:
    """A model of an annotated patch, and the seconds that its training took, from nothing."""
    _report(f"{folder}: training")
    shutil.rmtree(folder, ignore_errors=True)
    example = Example(*real, _layouts(real, schedule.layouts, settings.seed), folder)
    device = find_device(settings.device)
    began = time.monotonic()
    (model,) = train([example], schedule, seed=settings.seed, device=device, progress=True)
    return model, time.monotonic() - began


def _teach(pairs: Sequence[Pair], held_out: Sequence[Pair], pixels: int, seed: int) -> float:
    """Mean AJI on the held-out patches of a pixel model fitted to so many pixels of pairs."""
    images, labels = zip(*pairs, strict=True)
    model = fit(images, labels, seed=seed, count=pixels // len(pairs))
    return float(np.mean([aji(truth, model.segment(image)) for image, truth in held_out]))


def average(tables: Sequence[dict]) -> dict:
    """Means over nested dicts of numbers with the same keys."""
    return {
        key: average([table[key] for table in tables])
        if isinstance(value, dict)
        else float(np.mean([table[key] for table in tables]))
        for key, value in tables[0].items()
    }


def _share(real: Pair, settings: Settings) -> dict:
    """`share_of_limit` of `fast`, and the cost of a step at each scale of both presets."""
    device, costs = find_device(settings.device), {}
    small = _middle(*real, settings.speed_size)
    for preset, pair in (("fast", real), ("paper", small)):
        example = Example(*pair, _layouts(pair, 4, settings.seed), settings.out / "none")
        _report(f"{preset} at {len(pair[0])} px: timing its steps")
        costs[preset] = step_costs(example, PRESETS[preset], device)
    return {"share_of_limit": share_of_limit(costs["fast"], PRESETS["fast"]), "steps": costs}


def _speedup(real: Pair, held_out: list[Pair], settings: Settings) -> dict:
    """Seconds of the first complete training of each preset whose samples reach the mark."""
    real, *held_out = (_middle(*pair, settings.speed_size) for pair in (real, *held_out))
    mark = {"auc_gap": MAX_AUC_GAP, "realism": quality(held_out, real)["realism"]}
    seconds, trials = {}, {}
    for preset in FIRST_EFFORTS:
        trials[preset] = _climb(preset, real, mark, settings)
        reached = [trial["seconds"] for trial in trials[preset] if trial["reached"]]
        seconds[preset] = reached[0] if reached else None
    longest = trials["paper"][-1]["seconds"]
    return {
        "speedup_to_fidelity": seconds["fast"] and (seconds["paper"] or longest) / seconds["fast"],
        "speedup_is_lower_bound": seconds["fast"] is not None and seconds["paper"] is None,
        "seconds_to_fidelity": seconds,
        "speed_mark": mark,
        "speed_trials": trials,
    }


def _middle(image: np.ndarray, labels: np.ndarray, size: int) -> Pair:
    top, left = ((length - size) // 2 for length in labels.shape)
    window = np.s_[top : top + size, left : left + size]
    return image[window], relabel_sequential(labels[window])[0]


def _climb(preset: str, real: Pair, mark: dict[str, float], settings: Settings) -> list[dict]:
    """Complete trainings of more and more steps, until one reaches the mark or the time is up."""
    trials: list[dict] = []
    layouts = _layouts(real, settings.samples, [settings.seed, 1])
    effort, left = FIRST_EFFORTS[preset], 60 * settings.paper_minutes
    while True:
        schedule = PRESETS[preset].scaled(effort)
        model, seconds = _train(real, schedule, settings.out / "speed" / preset, settings)
        scores = quality(list(zip(sample(model, layouts, settings.seed), layouts, strict=True)), real)
        scores = {key: scores[key] for key in mark}
        reached = all(scores[key] <= mark[key] for key in mark)
        trials.append({"steps": schedule.steps, "seconds": seconds, **scores, "reached": reached})
        _report(f"{preset} at {settings.speed_size} px: {trials[-1]}")
        left -= seconds
        # The last training of `paper` takes all the time that is left.
        growth = min(GROWTH, left / seconds) if preset == "paper" else GROWTH
        if reached or growth <= 1 or effort == 1:
            return trials
        effort = min(growth * effort, 1)


def _write_sheet(path: Path, real: Pair, initial: Sequence[Pair], synthetic: Sequence[Pair]) -> None:
    """The real patch, initial images and samples, each above its outlines."""
    rows = {"real": [real], "initial": initial[: SHOWN[0]], "sample": synthetic[: SHOWN[1]]}
    tiles = [
        caption(np.vstack([image, outline(image, labels)]), f"{kind} {number}")
        for kind, pairs in rows.items()
        for number, (image, labels) in enumerate(pairs)
    ]
    write_image(path, montage(tiles, columns=6))


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(main, Settings, __doc__)
