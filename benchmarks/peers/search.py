"""How long and at which learning rate a peer learns best, judged by patches that it does not learn.

Each of three learning rates is tried for the shortest time. The best one is then tried for twice as long, and
again, until a doubling gains less than ENOUGH or the longest time is reached: the schedules of most tools
depend on the time they are given, so a training cannot just be watched and stopped.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from benchmarks.peers.peer import Lesson, Pair, Peer
from nuclei.evaluation.metrics import aji
from nuclei.io.files import read_json, write_json

RATES = (0.3, 1.0, 3.0)  # times the learning rate that the authors recommend
VALIDATION = 0.25  # share of the patches
ENOUGH = 0.005  # AJI
TRIAL = "trial.json"  # written last into the folder of a trial


def best_lesson(
    peer: Peer, pairs: list[Pair], lesson: Lesson, longest: float, folder: Path
) -> tuple[Lesson, list[dict]]:
    """The lesson after which the peer segments the held-out patches best, and all trials.

    Args:
        peer: the tool.
        pairs: all patches; a part of them is held out.
        lesson: what is tried; its time is the shortest one.
        longest: seconds; no trial is longer.
        folder: of the trials, which are kept and not repeated.
    """
    fitted, validated = hold_out(pairs, lesson.seed, VALIDATION)
    tried = [(_try(peer, fitted, validated, one, folder), one) for one in map(lesson.at_rate, RATES)]
    best = max(tried, key=lambda each: each[0])
    while 2 * best[1].seconds <= longest:
        longer = best[1].twice_as_long()
        tried.append((_try(peer, fitted, validated, longer, folder), longer))
        if tried[-1][0] < best[0] + ENOUGH:
            break
        best = tried[-1]
    trials = [{"rate": one.rate, "minutes": round(one.seconds / 60, 3), "aji": score} for score, one in tried]
    return best[1], trials


def hold_out(pairs: list[Pair], seed: int, share: float) -> tuple[list[Pair], list[Pair]]:
    """Those to fit and those to validate; a single pair serves for both."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    count = max(1, round(share * len(pairs)))
    fitted, validated = [pairs[i] for i in order[count:]], [pairs[i] for i in order[:count]]
    return fitted or validated, validated


def _try(peer: Peer, fitted: list[Pair], validated: list[Pair], lesson: Lesson, folder: Path) -> float:
    """Mean AJI of the validation patches after a lesson."""
    trial = folder / f"rate_{lesson.rate:g}_seconds_{lesson.seconds:g}"
    if not (trial / TRIAL).exists():
        shutil.rmtree(trial, ignore_errors=True)  # of a trial that was killed
        trial.mkdir(parents=True)
        facts = peer.train(trial, fitted, lesson)
        segment = peer.load(trial)
        score = np.mean([aji(labels, segment(image)) for image, labels in validated])
        print(f"{peer.name}: AJI {score:.3f} of {len(validated)} validation patches in {trial.name}")
        write_json(trial / TRIAL, {**facts, "aji": round(float(score), 4)})
    return read_json(trial / TRIAL)["aji"]
