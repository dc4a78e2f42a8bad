"""Score a folder of predicted label images against a folder of true ones."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.evaluation.metrics import score
from nuclei.io.ids import check_ids
from nuclei.io.images import pair_by_stem, read_labels
from nuclei.outlines import results

log = logging.getLogger(__name__)


def evaluate(pred: Path, truth: Path) -> pd.DataFrame:
    """Score every predicted label image of a folder.

    Files go together by their names without suffix; true images without a prediction are not scored. AP50
    ranks the nuclei by their scores where the predictions are `segment.py`'s, and else takes them all alike.

    Returns:
        One row per image: image, nuclei (true), predicted (nuclei), and the scores by their `metrics.NAMES`.

    Raises:
        InputError: both are one folder, a prediction has no truth or another size, or a file cannot be read
            or is a mask.
    """
    if pred.resolve() == truth.resolve():
        raise InputError(
            f"{pred} and {truth} are the same folder; name that of the predictions, then the truth"
        )
    if (truth / results.SCORES).is_dir() and not (pred / results.SCORES).is_dir():
        log.warning("%s/ was written by segment.py, and %s/ was not: are they swapped?", truth, pred)
    rows = []
    for pred_path, truth_path in tqdm(pair_by_stem(pred, truth), desc="score", unit="image", disable=None):
        p, t = read_labels(pred_path), read_labels(truth_path)
        if p.shape != t.shape:
            raise InputError(
                f"{pred_path} is {_size(p)} px, but {truth_path} is {_size(t)} px; compare images of one size"
            )
        check_ids(t, truth_path)
        scores = results.read_scores(pred_path, p)
        if scores is None:  # a nucleus that segment.py found may be in pieces
            check_ids(p, pred_path)
        counts = {"nuclei": len(np.unique(t[t > 0])), "predicted": len(np.unique(p[p > 0]))}
        rows.append({"image": pred_path.stem, **counts, **score(t, p, scores)})
    return pd.DataFrame(rows)


def _size(labels: np.ndarray) -> str:
    return f"{labels.shape[1]} x {labels.shape[0]}"
