"""What segment.py makes of one slide: records of its blocks, and from these the files that other tools read.

<slide>.parquet             GeoParquet: outline, centroid, score and measurements of every nucleus
<slide>.geojson(.gz)        for QuPath
overlays/<slide>.png        the slide with the density of its nuclei
slides/<slide>/             settings.json, and a record for each block
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import shapely

from mrcnn.slides import detections
from mrcnn.slides.tasks import Find, Slide, Stitch, Work
from nuclei.cluster import Workers
from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.folders.runs import Run
from nuclei.io.files import digest
from nuclei.io.images import write_image
from nuclei.outlines import geojson, geoparquet, label_slides
from nuclei.pictures import heat
from nuclei.slides.blocks import Grid, tiles_to_see
from nuclei.slides.regions import read_region
from nuclei.slides.slide import fingerprint, open_source

SLIDES, OVERLAYS = "slides", "overlays"
SUFFIXES = {
    "geojson": ".geojson",
    "geojson_gz": ".geojson.gz",
    "label_tiff": ".tif",
    "ome_zarr": ".ome.zarr",
}  # of what is made of the table, on demand
OVERVIEW = 2048  # px, the longer side of the picture
SPREAD = 400  # px of the slide, over which the density of nuclei is smoothed at least
SHARE = 1 / 150  # and of the longer side of the picture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class How:
    """How slides are segmented; see `mrcnn.segmentation.segment_slides`."""

    model: Path
    model_fingerprint: str
    side: int  # px of a tile
    confidence: float
    views: int
    overlap: int
    mpp: float
    source_mpp: float | None
    block: int


@dataclass(frozen=True)
class SlideJob:
    """A slide and its results below `out`."""

    path: Path
    out: Path
    how: How
    region_file: Path | None = None

    @property
    def table(self) -> Path:
        """The GeoParquet file."""
        return self.out / f"{self.path.stem}.parquet"

    @property
    def overlay(self) -> Path:
        """The overview picture."""
        return self.out / OVERLAYS / f"{self.path.stem}.png"

    @cached_property
    def run(self) -> Run:
        """Of this slide. The size of the blocks does not change the result."""
        how, region = self.how, self.region
        depends_on = {
            "slide": fingerprint(self.path),
            "model": how.model_fingerprint,
            "confidence": how.confidence,
            "views": how.views,
            "overlap": how.overlap,
            "mpp": how.mpp,
            "source_mpp": how.source_mpp,
            "region": None if region is None else digest([shapely.to_wkb(region)]),
        }
        return Run(self.out / SLIDES / self.path.stem, "slide", depends_on)

    @cached_property
    def slide(self) -> Slide:
        """As the tasks see it; InputError where it cannot be opened."""
        how = self.how
        with open_source(self.path, how.mpp, how.source_mpp) as source:
            grid = Grid(source.width, source.height, how.side, how.overlap, how.block)
        content, folder = fingerprint(self.path), self.run.folder.resolve()
        return Slide(self.path.resolve(), content, how.mpp, how.source_mpp, grid, folder)

    @cached_property
    def region(self) -> shapely.Geometry | None:
        """What of the slide is wanted, px at the resolution of the network; None: all of it."""
        if self.region_file is None:
            return None
        with open_source(self.path, self.how.mpp, self.how.source_mpp) as source:
            return read_region(self.region_file, source.scale)

    def check(self) -> None:
        """InputError where the slide, its region or the place of its results is wrong."""
        grid, region = self.slide.grid, self.region
        if region is not None and not region.intersects(shapely.box(0, 0, grid.width, grid.height)):
            raise InputError(
                f"the region in {self.region_file} lies outside of {self.path}; was it drawn on another?"
            )
        self.run.check()
        if self.run.state == "absent":
            for path in (self.table, *self.exports):
                if path.exists():
                    raise InputError(f"{path} was not made by segment.py; move it, or name another --out")

    @property
    def exports(self) -> list[Path]:
        """What may have been made of the table."""
        return [self.out / f"{self.path.stem}{suffix}" for suffix in SUFFIXES.values()]

    def make(self, workers: Workers) -> str:
        """Make what is missing of the table and the overview picture.

        Returns:
            what could not be done, for a message; "" where all was.
        """
        failed = 0
        if self.run.is_finished:
            log.info("%s was segmented before", self.path.name)
        else:
            self._set_aside()
            self.run.begin()
            for stale in (self.table, *self.exports):
                if stale.exists():
                    runs.remove(stale)
            with open_source(self.path, self.how.mpp, self.how.source_mpp) as source:
                seen = tiles_to_see(source, self.slide.grid, self.region)
            if not seen:
                log.warning("%s shows no tissue", self.path)
            works = [Work(self.path.name, block, tiles) for block, tiles in seen.items()]
            failed = self._do_blocks(works, workers)
            left_out = self._left_out(works)
        if failed or not (self.run.is_finished and self.table.exists() and self.overlay.exists()):
            self._write()
        if failed:  # the next run tries again
            return f"{failed} block(s) of {self.path} failed and are left out; run again to try again"
        if not self.run.is_finished:
            self.run.finish(left_out=left_out, tiles_of_block=self.slide.grid.tiles_of_block)
            for found in self.run.folder.glob("found_*"):
                runs.remove(found)
        return self.run.facts["left_out"]

    @property
    def records(self) -> list[Path]:
        """The records of the nuclei of all blocks, row by row."""
        n = self.run.facts.get("tiles_of_block", self.slide.grid.tiles_of_block)
        paths = (self.run.folder / f"nuclei_{n}").glob("[0-9]*.parquet")
        return sorted(paths, key=lambda path: tuple(map(int, path.stem.split("_"))))

    def _do_blocks(self, works: Sequence[Work], workers: Workers) -> int:
        """Find, then stitch; returns how many blocks failed."""
        how, name = self.how, self.path.name
        find = Find(self.slide, how.model.resolve(), how.model_fingerprint, how.confidence, how.views)
        stitch = Stitch(self.slide, None if self.region is None else shapely.to_wkb(self.region))
        todo = [work for work in works if not self.slide.found(work.block).exists()]
        if len(todo) < len(works):
            log.info("%s: %d of %d blocks were done before", name, len(works) - len(todo), len(works))
        failed = sum(bool(done.error) for done in workers.do(find, todo, name, "block"))
        # What was stitched beside a block that had failed lacks what is found there now.
        redo = {other for work in todo for other in self.slide.grid.around(work.block)}
        todo = [w for w in works if w.block in redo or not self.slide.nuclei(w.block).exists()]
        return failed + sum(
            bool(done.error) for done in workers.do(stitch, todo, f"{name}: stitching", "block")
        )

    def _write(self) -> None:
        """The table and the overview picture, from the records."""
        with open_source(self.path, self.how.mpp, self.how.source_mpp) as source:
            count = geoparquet.merge(self.table, self.records, source.scale, source.mpp)
            picture = source.overview(OVERVIEW)
            points = geoparquet.read_points(self.records) * (picture.shape[1] / source.width)
            spread = max(max(picture.shape) * SHARE, SPREAD * picture.shape[1] / source.width)
        write_image(self.overlay, heat(picture, points, spread))
        log.info("%s: %d nuclei", self.path.name, count)

    def _left_out(self, works: Sequence[Work]) -> str:
        records = [path for work in works if (path := self.slide.found(work.block)).exists()]
        damaged = [box for path in records for box in detections.damaged(path)]
        if not damaged:
            return ""
        total, side = sum(len(work.tiles) for work in works), self.slide.grid.side
        with open_source(self.path, self.how.mpp, self.how.source_mpp) as source:
            x, y = (round(at * scale) for at, scale in zip(damaged[0][:2], source.scale, strict=True))
        return (
            f"{self.path} is damaged: {len(damaged)} of {total} tiles of {side} px could not be read, the "
            f"first at x {x}, y {y}; their nuclei are missing"
        )

    def _set_aside(self) -> None:
        """Keep the results of another slide of that name, or of other settings, under a dated name."""
        if self.run.state == "stale":
            changes, there = self.run.changes, [p for p in (self.table, *self.exports) if p.exists()]
            aside = runs.set_aside([*there, self.run.folder], self.out)
            log.info("%s: %s; the old results are now in %s", self.path.name, changes, aside)

    def export(self, form: str) -> Path:
        """Write a format of SUFFIXES where it is missing; returns its path. InputError where that fails."""
        path = self.out / f"{self.path.stem}{SUFFIXES[form]}"
        if path.exists():
            return path
        if form.startswith("geojson"):
            geojson.write_stream(path, geoparquet.batches(self.table), self.path.name)
            return path
        painter, grid = label_slides.Painter(self.records), self.slide.grid
        with open_source(self.path, self.how.mpp, self.how.source_mpp) as source:
            mpp = source.mpp
        if form == "label_tiff":
            label_slides.write_tiff(path, painter, (grid.height, grid.width), mpp)
        else:
            label_slides.write_ome_zarr(path, painter, (grid.height, grid.width), mpp, self.path.stem)
        return path
