"""The bare network on the tiles of a slide, all of them in memory: `python -m benchmarks.slides.bare SLIDE`.

Prints one JSON line: seconds for the tiles that show tissue, the network loaded and compiled beforehand.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from mrcnn.inference.tiling import OVERLAP, sides, tiles_at_once
from mrcnn.inference.tta import places
from mrcnn.selftraining.start import start_weights
from nuclei.slides.blocks import Grid, tiles_to_see
from nuclei.slides.slide import Source, open_source


def main(path: Path) -> None:
    from mrcnn import model as modellib  # Keras takes seconds, which `count_tiles` need not wait for

    predictor = modellib.load(start_weights(), DETECTION_MIN_CONFIDENCE=0.4).predictor
    learnt = predictor.config.IMAGE_SHAPE[0]
    side = sides(learnt)[-1]
    with open_source(path) as source:
        tiles = np.stack([source.read(left, top, side, side) for top, left in _corners(source, side)])
    count, times = tiles_at_once(side, learnt, 1), places(side, learnt)
    predictor.predict(tiles[:count], times)
    began = time.monotonic()
    for first in range(0, len(tiles) - count + 1, count):
        predictor.predict(tiles[first : first + count], times)
    print(json.dumps({"seconds": time.monotonic() - began, "tiles": len(tiles)}))


def count_tiles(path: Path, side: int) -> int:
    """How many tiles of `side` px the network sees of a slide."""
    with open_source(path) as source:
        return len(_corners(source, side))


def _corners(source: Source, side: int) -> list[tuple[int, int]]:
    """(top, left) px of the tiles that show tissue."""
    seen = tiles_to_see(source, Grid(source.width, source.height, side, OVERLAP, 2048), None)
    return [corner for tiles in seen.values() for corner in tiles]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
