"""The report on stage 2: real patches beside the synthetic pairs that were made from them."""

from __future__ import annotations

from nuclei.folders import patches
from nuclei.folders.pairs import TRANSPLANT
from nuclei.io.images import read_image
from nuclei.report import measures
from nuclei.report.embedded import picture, zoomable
from nuclei.report.page import Section, grid, heading, paragraph, table
from nuclei.report.places import Places, settings_of

SHOWN = 3  # synthetic pairs of a patch
MEASURED = 4  # pairs of a patch that are measured
HEAD = ("patch", "AUC", "AUC, real", "edge (px)", "contrast", "rings", "ghosts", "copy", "stain")
WORDS = (
    "AUC: how well haematoxylin tells nuclei from background. Edge: how far outside their outlines nuclei "
    "end, beside the real ones. Contrast: sharpness at the outlines; 1 is the real patch. Rings: how much "
    "paler or darker than in the real patch the rims around nuclei are, in optical density. Ghosts: spots "
    "stained like nuclei without an outline, for each nucleus, beside the real patch. Copy: how much a "
    "sample repeats the real patch; 1 is a copy. Stain: the largest difference of optical density."
)


def pairs(places: Places) -> Section:
    """Real beside synthetic, with measures of each patch."""
    section = Section(
        "pairs",
        "Synthetic pairs",
        look="Would you take the synthetic images for tissue, and do their nuclei fill their outlines?",
    )
    names = _patches_with_pairs(places)
    if not names or places.synthetic is None:
        return section
    section.count = f"{sum(len(pairs) for pairs in names.values())} pairs of {len(names)} patches"
    section.settings = settings_of(places.synthetic, f"{next(iter(names))}.json")
    rows = []
    for name, samples in names.items():
        real = patches.read_patch(places.data / name), patches.read_masks(places.data / name)
        made = {
            each: (patches.read_patch(places.synthetic / each), patches.read_masks(places.synthetic / each))
            for each in samples[:MEASURED]
        }
        found = measures.compare(list(made.values()), real)
        rows.append((name, *found.values()))
        section.warnings += [f"{name}: {doubt}" for doubt in measures.doubts(found)]
        section.parts += [heading(name), _row(name, real, dict(list(made.items())[:SHOWN]))]
    section.parts += _transplants(places)
    section.parts += _curves(places, next(iter(names)))
    section.parts = [table(HEAD, rows), paragraph(WORDS), *section.parts]
    return section


def _patches_with_pairs(places: Places) -> dict[str, list[str]]:
    """The synthetic pairs of each annotated patch, in the order of their numbers."""
    if places.synthetic is None or not places.synthetic.is_dir() or not places.data.is_dir():
        return {}
    found: dict[str, list[str]] = {}
    for path in places.synthetic.iterdir():
        name, _, number = path.name.rpartition("_")
        if patches.is_patch(path) and number.isdigit() and patches.is_annotated(places.data / name):
            found.setdefault(name, []).append(path.name)
    return {
        name: sorted(found[name], key=lambda each: int(each.rpartition("_")[2])) for name in sorted(found)
    }


def _row(name: str, real: measures.Pair, made: dict[str, measures.Pair]) -> str:
    figures = [zoomable(real[0], {"outlines": real[1]}, "real", f"The real patch {name} with its outlines")]
    for number, (image, labels) in enumerate(made.values()):
        alt = f"Synthetic pair {number} made from {name}: image and outlines"
        figures.append(zoomable(image, {"outlines": labels}, f"synthetic {number}", alt))
    return grid(figures)


def _transplants(places: Places) -> list[str]:
    path = places.csingan / TRANSPLANT / "samples.png"
    if not path.exists():
        return []
    alt = "Unannotated patches, and below each annotated nuclei on its background"
    return [heading("Transplants"), grid([picture(read_image(path), "patch, transplant", alt)], wide=True)]


def _curves(places: Places, name: str) -> list[str]:
    figures = []
    for kind in ("distance", "reconstruction"):
        path = places.csingan / name / f"loss_{kind}.png"
        if path.exists():
            alt = f"Curves of the training of {name}: {kind}, one a scale"
            figures.append(picture(read_image(path), f"{name}: {kind}", alt))
    return [heading("Training"), grid(figures, wide=True)] if figures else []
