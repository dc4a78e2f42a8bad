"""The table and the plot of `benchmarks.stage1.labels_vs_score`."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from nuclei.io.files import atomic_file

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of the backend

RESAMPLES = 10_000
BASE = "random"
MAIN = (BASE, "consistency")  # drawn thick
KEYS = ["split", "model", "budget", "method"]


def write_report(runs: pd.DataFrame, out: Path) -> dict:
    """Write table.md and plot.png into `out`; return the gains in AJI over random patches."""
    table = summarise(runs)
    text = "\n\n".join(
        f"{split}, {model}\n\n{_markdown(part)}" for (split, model), part in table.groupby(["split", "model"])
    )
    with atomic_file(out / "table.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_file(out / "plot.png") as temporary:
        _plot(table[table.split == "official"]).savefig(temporary, dpi=110)
    return {
        f"{row.split} {row.model} {row.budget} {row.method}": [
            round(v, 4) for v in (row.gain, row.low, row.high)
        ]
        for row in table[table.gain.notna()].itertuples()
    }


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per split, model, budget and method: means, sd, and the gain in AJI over random patches.

    The gain is the mean difference between runs of the same number, which left out the same patches; low and
    high are its 95 % interval by the bootstrap over runs.
    """
    rows = []
    for keys, part in runs.groupby(KEYS):
        row = dict(zip(KEYS, keys, strict=True))
        row |= {"runs": len(part), "aji": part.aji.mean(), "sd": part.aji.std(), "pq": part.pq.mean()}
        base = runs[(runs[KEYS[:3]] == keys[:3]).all(axis=1) & (runs.method == BASE)]
        pairs = part.merge(base, on="number", suffixes=("", "_base"))
        if row["method"] != BASE and len(pairs) > 1:
            row |= _interval((pairs.aji - pairs.aji_base).to_numpy())
            row["gain_pq"] = (pairs.pq - pairs.pq_base).mean()
        rows.append(row)
    columns = [*KEYS, "runs", "aji", "sd", "pq", "gain", "low", "high", "gain_pq"]
    return pd.DataFrame(rows, columns=columns)


def _interval(differences: np.ndarray) -> dict[str, float]:
    """Mean of (N,) differences and its bootstrap interval."""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (RESAMPLES, len(differences))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"gain": differences.mean(), "low": low, "high": high}


def _markdown(table: pd.DataFrame) -> str:
    lines = [
        "| patches | method | runs | AJI | PQ | AJI over random (95 %) | PQ over random |",
        "|" + "---|" * 7,
    ]
    for row in table.sort_values(["budget", "aji"]).itertuples():
        aji = f"{row.aji:.3f} +- {row.sd:.3f}" if row.runs > 1 else f"{row.aji:.3f}"
        gain = f"{row.gain:+.3f} ({row.low:+.3f} to {row.high:+.3f})" if pd.notna(row.gain) else ""
        gain_pq = f"{row.gain_pq:+.3f}" if pd.notna(row.gain_pq) else ""
        patches = row.budget or "-"
        lines.append(f"| {patches} | {row.method} | {row.runs} | {aji} | {row.pq:.3f} | {gain} | {gain_pq} |")
    return "\n".join(lines)


def _plot(table: pd.DataFrame) -> plt.Figure:
    """AJI against the number of annotated patches, one panel a model; the two ends as horizontal lines."""
    models = sorted(set(table.model) - {"none"})
    figure, axes = plt.subplots(1, len(models), figsize=(5.5 * len(models), 4.2), sharey=True, squeeze=False)
    for axis, model in zip(axes[0], models, strict=True):
        for method, part in table[(table.model == model) & (table.budget > 0)].groupby("method"):
            part = part.sort_values("budget")
            error = 1.96 * part.sd / np.sqrt(part.runs)
            main = method in MAIN
            axis.errorbar(
                part.budget, part.aji, error, label=method, capsize=2, marker="o", markersize=4,
                linewidth=2 if main else 1, alpha=1 if main else 0.6,
            )  # fmt: skip
        for row in table[table.budget == 0].itertuples():
            if row.model == model or row.model == "none":
                axis.axhline(row.aji, color="black", linestyle=":", linewidth=1)
                axis.text(3, row.aji, row.method, fontsize=8, va="bottom")
        axis.set(title=model, xlabel="annotated patches", xscale="log", xticks=[3, 6, 12, 24])
        axis.set_xticklabels([3, 6, 12, 24])
        axis.minorticks_off()
    axes[0, 0].set_ylabel("AJI on the test images")
    axes[0, -1].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure
