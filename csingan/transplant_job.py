"""The transplants of a run: pairs on the backgrounds of all patches that nobody annotated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from csingan.config import LayoutOptions
from csingan.inputs import Task
from csingan.layouts.sampler import DoesNotFit
from csingan.transplant import Host, Pair, transplant
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.pairs import DONORS, TRANSPLANT, Pairs, are_complete, pairs_of, write_pairs
from nuclei.folders.runs import Run
from nuclei.io.locks import alone

DOUBTFUL = 0.2  # smallest score of what may be a nucleus of a host,
SURE = 0.5  # and of what surely is one
FEWEST = 6  # of these, for stain and size to be known
HOSTS = 256  # patches that lend their backgrounds, at most; they are kept in memory
PICTURE = "samples.png"
SHOWN = 7  # transplants in the picture

# Labels (H, W) int32 and scores (N,) of all nuclei in an image (H, W, 3) whose score is at least DOUBTFUL.
Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Transplants:
    """The transplants of a run, and how they are made.

    Attributes:
        data: the folder of all patches.
        donors: the annotated patches.
        synthetic: where the pairs go, with those of stage 2's models.
        out: where the picture goes, in a folder of its own.
        count: how many pairs.
        options: of the layouts.
        seed: of the choice of backgrounds and donors, and of the layouts.
        network: gives the fingerprint of what finds nuclei.
    """

    data: Path
    donors: Sequence[Task]
    synthetic: Path
    out: Path
    count: int
    options: LayoutOptions
    seed: int
    network: Callable[[], str]

    @cached_property
    def _names(self) -> list[str]:
        return patches.list_patches(self.data)

    @cached_property
    def hosts(self) -> list[str]:
        """The patches that nobody annotated."""
        return [name for name in self._names if not patches.is_annotated(self.data / name)]

    @cached_property
    def pairs(self) -> Pairs:
        return pairs_of(
            self.synthetic, TRANSPLANT, [f"{TRANSPLANT}_{n}" for n in range(self.count)], self._depends_on
        )

    @cached_property
    def pictures(self) -> Run:
        return Run(self.out / TRANSPLANT, "pairs", self._depends_on, (PICTURE,), "pictures.json")

    @cached_property
    def _depends_on(self) -> dict:
        return {
            "transplants": self.count,
            "seed": self.seed,
            **asdict(self.options),
            DONORS: {task.name: task.annotation for task in self.donors},
            "backgrounds": f"{len(self.hosts)} ({patches.fingerprint(self.data, self.hosts)})",
            "network": self.network(),
        }

    def check(self) -> None:
        """InputError where there is no background, or files that no run has made are in the way."""
        if not self.count:
            return
        if not self.hosts:
            raise InputError(
                f"every patch in {self.data}/ is annotated, so there is no background for --transplants; "
                "add patches, or set it to 0"
            )
        if TRANSPLANT in self._names:
            raise InputError(f"{self.data / TRANSPLANT}/ has the name of the transplants; rename it")
        self.pairs.check()
        self.pictures.check()

    def make(self, load: Callable[[], Find]) -> None:
        """Write the pairs and their picture, unless they are there; `load` gives what finds nuclei.

        Raises:
            InputError: as `check`, or no patch shows nuclei.
        """
        self.check()
        with alone(self.out, self.synthetic):
            if not self.count:
                self._set_aside()
                return
            if are_complete(self.pairs) and self.pictures.is_finished:
                log.info("%s: finished with the same settings, kept", TRANSPLANT)
                return
            find, rng = load(), np.random.default_rng([self.seed, 2])
            hosts = list(self._read_hosts(find, rng))
            if not hosts:
                raise InputError(
                    f"no patch in {self.data}/ shows {FEWEST} nuclei or more, so that its stain is "
                    "not known; pass --transplants 0"
                )
            write_pairs(self.pairs, self._pairs(hosts, rng))
            self._draw(hosts)

    def _set_aside(self) -> None:
        """Keep transplants of an earlier run, which are no longer wanted, out of the way."""
        if (self.synthetic / f"{TRANSPLANT}.json").exists():
            self.pairs.set_aside()
            self.pictures.set_aside()

    def _read_hosts(self, find: Find, rng: np.random.Generator) -> Iterator[Host]:
        """Patches with enough nuclei, in random order."""
        names = rng.permutation(self.hosts).tolist()[: min(self.count, HOSTS)]
        for name in tqdm(names, "backgrounds", unit="patch"):
            image = patches.read_patch(self.data / name)
            labels, scores = find(image)
            sure = np.where(np.concatenate([[False], scores >= SURE])[labels], labels, 0)
            if np.count_nonzero(np.unique(sure)) >= FEWEST:
                yield Host(image, labels, sure)

    def _pairs(self, hosts: Sequence[Host], rng: np.random.Generator) -> Iterator[Pair]:
        for number in tqdm(range(self.count), "transplants", unit="pair"):
            donor = self.donors[int(rng.integers(len(self.donors)))]
            host = hosts[number % len(hosts)]
            try:
                yield transplant(host, (donor.image, donor.labels), self.options, rng)
            except DoesNotFit as error:
                raise InputError(f"{donor.name}, transplanted: {error}") from error

    def _draw(self, hosts: Sequence[Host]) -> None:
        from csingan.report import write_transplants

        self.pictures.begin()
        path = self.out / TRANSPLANT / PICTURE
        folders = [self.synthetic / name for name in self.pairs.items[:SHOWN]]
        pairs = [(patches.read_patch(folder), patches.read_masks(folder)) for folder in folders]
        write_transplants(path, [(hosts[n % len(hosts)].image, pair) for n, pair in enumerate(pairs)])
        self.pictures.finish()
        log.info("%d transplants: look at %s", self.count, path)
