"""Stage 2: one CSinGAN per annotated patch, then its synthetic pairs (Lou et al. 2022)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from csingan.config import DRAFTS, PRESETS, Schedule
from csingan.inputs import SMALLEST, Task, read_folder, read_patches
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.pairs import ANNOTATION, Pairs
from nuclei.folders.patches import fingerprint
from nuclei.io.files import atomic_folder, digest, is_finished, overlap, write_settings
from nuclei.io.images import has_transparency, write_image

# torch and matplotlib are imported where they are used: --help and bad input need not wait.
if TYPE_CHECKING:
    from csingan.train import Example, Pyramid


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the annotated patches, and selected.csv, which names them
    patch: str | None = None  # one patch to train on; every patch of selected.csv by default
    folder: Path | None = None  # or a folder with train.png, train_mask.png and random_masks/, all sampled
    samples: int = 16  # synthetic pairs a patch
    size: int | None = None  # px, the side of a synthetic pair; by default that of the patch
    preset: Literal["fast", "paper"] = "fast"  # fast: half a minute on two cores; paper: days
    effort: float = 1.0  # multiplies the training steps of the preset
    density: tuple[float, float] = (0.8, 1.2)  # range of the share of nuclei, as multiples of the real one
    touching: float | None = None  # share of nuclei that touch another one, 0..1; by default the real one
    gap: int = 1  # px between nuclei that do not touch
    scale: tuple[float, float] = (0.9, 1.1)  # range of the change of a nucleus's diameter
    shapes: Literal["own", "all"] = "own"  # nuclei of the patch alone, or of all annotated patches
    seed: int = 0  # of the layouts, the training and the samples
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    together: int = 0  # patches that train in one batch; 0: one on a CPU, 16 on a GPU
    synthetic: Path = Path("data_synthetic")  # where the synthetic pairs go, as patches
    out: Path = Path("runs/csingan")  # checkpoints and pictures, a folder a patch


SHOWN = 12  # synthetic pairs on the sample sheet
TOGETHER_ON_GPU = 16
CHECKPOINTS = "checkpoints"  # in the folder of a patch


def main(settings: Settings) -> None:
    _check(settings)
    if settings.folder:
        tasks = [read_folder(settings.folder)]
    else:
        tasks = read_patches(settings.data, settings.patch, settings.shapes == "all")
    for task in tasks:
        if has_transparency(task.source):
            print(f"note: {task.source} has transparent pixels; they are taken for white", file=sys.stderr)
    schedule = PRESETS[settings.preset].scaled(settings.effort)
    # All are looked at before anything slow starts, so that a conflict shows at once.
    left = []
    for task in tasks:
        if _is_finished(settings, task):
            print(f"{task.name}: finished with the same settings, kept")
        else:
            _check_results(settings, task, schedule)
            left.append(task)
    done = len(tasks) - len(left)
    for group in _groups(settings, left):
        done += len(group)
        print(f"{', '.join(task.name for task in group)}: training ({done} of {len(tasks)})", flush=True)
        for task, model in zip(group, _train(settings, group, schedule), strict=True):
            _write_results(settings, task, model)
    print(
        f"Wrote the synthetic pairs of {len(tasks)} patches to {settings.synthetic}/, models and pictures to "
        f"{settings.out}/. Next: python pseudo_label.py"
    )


def _check(settings: Settings) -> None:
    for name, smallest in (("samples", 1), ("together", 0)):
        if getattr(settings, name) < smallest:
            raise InputError(f"--{name} is {getattr(settings, name)}; it must be at least {smallest}")
    if not 0 < settings.effort < float("inf"):
        raise InputError(f"--effort is {settings.effort}; it must be above 0")
    if settings.size is not None and settings.size < SMALLEST:
        raise InputError(f"--size is {settings.size}; a sample has at least {SMALLEST} px a side")
    for one, other in combinations(("synthetic", "data", "out"), 2):
        if getattr(settings, one).resolve() == getattr(settings, other).resolve():
            raise InputError(
                f"--{one} and --{other} are both {getattr(settings, one)}/; give each a folder of its own"
            )
    if settings.folder and settings.patch:
        raise InputError("--folder and --patch exclude each other; pass one of them")
    if settings.folder and overlap(settings.folder, settings.out / settings.folder.resolve().name):
        raise InputError(
            f"the results of --folder {settings.folder} would replace its own files; name another --out"
        )


def _trained_with(settings: Settings, task: Task) -> dict:
    """What the model of a patch depends on."""
    arrays = (task.image, task.labels, *task.more, *task.masks_of_its_size)
    pixels = digest(f"{array.shape}".encode() + array.tobytes() for array in arrays)
    names = ("preset", "effort", "density", "touching", "gap", "scale", "shapes", "seed")
    made_with = {name: getattr(settings, name) for name in names}
    return made_with | {"pixels_and_masks": pixels, "drafts": DRAFTS}


def _pairs(settings: Settings, task: Task) -> Pairs:
    """The synthetic pairs of a patch, which depend on its model and on their layouts."""
    names, sampled_with = [f"{task.name}_{n}" for n in range(settings.samples)], {"size": settings.size}
    if task.masks:
        names = list(task.masks)
        masks = digest(f"{mask.shape}".encode() + mask.tobytes() for mask in task.masks.values())
        sampled_with = {"masks": masks}
    if settings.folder is None:
        sampled_with[ANNOTATION] = fingerprint(settings.data, [task.name])
    return Pairs(settings.synthetic, task.name, names, _trained_with(settings, task) | sampled_with)


def _is_finished(settings: Settings, task: Task) -> bool:
    folder = settings.out / task.name
    return is_finished(folder, _trained_with(settings, task)) and _pairs(settings, task).are_complete()


def _check_results(settings: Settings, task: Task, schedule: Schedule) -> None:
    """InputError where layouts are impossible, or something of another run is in the way of the results."""
    _training_layouts(settings, task, schedule.layouts)  # all of them: the last one may be the one too many
    _sample_layouts(settings, task, settings.samples)
    if (settings.out / task.name / CHECKPOINTS).exists():
        from csingan.train import check_checkpoints

        check_checkpoints([_example(settings, task, schedule)], schedule, settings.seed)
    # The pairs are replaced all the same: they are drawn again in seconds, which a model is not.
    if changed := _pairs(settings, task).check():
        print(
            f"note: {settings.synthetic}/ holds pairs of {task.name} that were made with other settings "
            f"({changed}); they will be replaced",
            file=sys.stderr,
        )


def _training_layouts(settings: Settings, task: Task, count: int) -> list[np.ndarray]:
    """Random layouts, or of those that were given the ones of the size of the patch."""
    return task.masks_of_its_size or _layouts(settings, task, count, settings.seed)


def _sample_layouts(settings: Settings, task: Task, count: int) -> list[np.ndarray]:
    """The layouts that were given, or random ones: others than those of the training."""
    given = list((task.masks or {}).values())
    return given or _layouts(settings, task, count, [settings.seed, 1], settings.size)


def _layouts(
    settings: Settings, task: Task, count: int, seed: int | list[int], side: int | None = None
) -> list[np.ndarray]:
    """Random layouts of a patch, (side, side) int32, or of its own size; InputError where none fits."""
    from csingan.layouts.orientation import nucleus_rotation
    from csingan.layouts.sampler import LayoutSampler

    rng = np.random.default_rng(seed)
    try:
        sampler = LayoutSampler(
            task.labels,
            task.more,
            density=settings.density,
            gap=settings.gap,
            touching=settings.touching,
            rotate=nucleus_rotation(task.image),
            scale=settings.scale,
        )
        return [sampler(rng, (side, side) if side else None) for _ in range(count)]
    except ValueError as error:
        raise InputError(f"{task.name}: {error}") from error


def _example(settings: Settings, task: Task, schedule: Schedule) -> Example:
    from csingan.train import Example

    layouts = _training_layouts(settings, task, schedule.layouts)
    return Example(task.image, task.labels, layouts, settings.out / task.name / CHECKPOINTS)


def _groups(settings: Settings, tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Tasks that train side by side: of one size, as many as the device takes."""
    if not tasks:
        return
    from nuclei.devices import find_device

    on_cpu = find_device(settings.device).type == "cpu"
    together = settings.together or (1 if on_cpu else TOGETHER_ON_GPU)
    for _, same in groupby(sorted(tasks, key=lambda task: task.labels.shape), lambda task: task.labels.shape):
        same = list(same)
        yield from (same[start : start + together] for start in range(0, len(same), together))


def _train(settings: Settings, tasks: Sequence[Task], schedule: Schedule) -> list[Pyramid]:
    from csingan.train import train
    from nuclei.devices import find_device

    for task in tasks:
        folder = settings.out / task.name
        write_image(folder / "train.png", task.image)
        write_image(folder / "train_mask.png", np.uint8(task.labels > 0) * 255)
    examples = [_example(settings, task, schedule) for task in tasks]
    try:
        return train(examples, schedule, settings.seed, find_device(settings.device))
    except FloatingPointError as error:
        raise InputError(f"{error}; try another --seed, with another --out") from error
    except MemoryError as error:
        raise InputError(
            f"the GPU's memory is too small for {len(tasks)} patches in one batch; pass a smaller --together "
            "(1 takes least), or --device cpu"
        ) from error


def _write_results(settings: Settings, task: Task, model: Pyramid) -> None:
    """Draw the samples of a patch, write them and the pictures, and say how good they are."""
    from csingan.report import write_losses, write_samples, write_scales
    from csingan.train import sample, sample_scales

    folder, pairs = settings.out / task.name, _pairs(settings, task)
    layouts = _sample_layouts(settings, task, settings.samples)
    samples = list(zip(sample(model, layouts, settings.seed), layouts, strict=True))
    pairs.write(samples)
    with atomic_folder(folder / "random_masks") as masks:
        for name, layout in zip(pairs.names, layouts, strict=True):
            write_image(masks / f"{name}.png", np.uint8(layout > 0) * 255)
    write_samples(folder / "samples.png", (task.image, task.labels), samples[:SHOWN])
    write_scales(folder / "scales.png", layouts[0], sample_scales(model, layouts[0], settings.seed))
    write_losses(folder, [losses.numpy() for losses in model.losses])
    pairs.finish()
    write_settings(folder, _trained_with(settings, task))
    print(f"{task.name}: {_contrast(task, samples)}look at {folder}/samples.png")


def _contrast(task: Task, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    """How true pairs are to their masks, told for the user; "" where none shows nuclei and background."""
    from csingan.report import separation

    of_samples = [separation(*pair) for pair in pairs if pair[1].any() and not pair[1].all()]
    if not of_samples:
        return ""
    return (
        f"haematoxylin tells nuclei from background with an AUC of {np.mean(of_samples):.3f} in "
        f"{len(of_samples)} synthetic pairs, {separation(task.image, task.labels):.3f} in the real one; "
    )


if __name__ == "__main__":
    run(
        main,
        Settings,
        "Train a GAN on each annotated patch and draw synthetic pairs; edit the constants at the top or pass "
        "them as flags.",
    )
