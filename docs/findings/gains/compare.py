"""Print the contrast of each network, the gain of even kernels, and whether they go together.

PYTHONPATH=scripts python docs/findings/gains/compare.py [results/gains]
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from deadpixel import imbalance
from deadpixel.files import parquet, schemas
from deadpixel.results import microobject, stats, survey

NEVER = 41  # first epoch of a run that does not come above the threshold in 40


def main(results: Path) -> None:
    """A line for each network, from the least uneven one on, then Kendall's tau of both columns."""
    tables = results / "tables"
    seen = parquet.read(tables / "survey.parquet", survey.SURVEY.schema)
    contrast = seen[seen["kernels"] == "odd"].set_index("network")["contrast"]
    firsts = parquet.read(tables / "first_epochs.parquet", microobject.FIRST_EPOCHS.schema)
    trained = _trained(results / "imbalance.parquet")
    rows = []
    for model, runs in firsts.groupby("model"):
        (network,) = [n for n in contrast.index if n.rpartition(":")[2] == model]
        epochs = runs.assign(epoch=runs["first_epoch"].fillna(NEVER).clip(upper=NEVER))
        by_seed = epochs.pivot_table(index="seed", columns="kernels", values="epoch")
        rows.append((contrast[network], model, by_seed["odd"], by_seed["padded"]))
    rows.sort(key=lambda row: row[0])
    print("| network | contrast | trained, odd | trained, padded | odd | padded | epochs sooner |")
    print("|---|---|---|---|---|---|---|")
    for uneven, model, odd, padded in rows:
        found = stats.mean_difference(padded.to_numpy(), odd.to_numpy())
        gain = f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f})"
        contrasts = f"{uneven:.2f} | {trained[model, 'odd']:.2f} | {trained[model, 'padded']:.2f}"
        print(f"| {model} | {contrasts} | {_listed(odd)} | {_listed(padded)} | {gain} |")
    expected = np.array([row[0] for row in rows])
    measured = np.array([trained[row[1], "odd"] for row in rows])
    gains = np.array([(row[2] - row[3]).mean() for row in rows])
    shares = np.array([1 - row[3].mean() / row[2].mean() for row in rows])
    for what, contrast in (("expected", expected), ("trained", measured)):
        for name, values in (("epochs sooner", gains), ("share of the epochs", shares)):
            found = stats.kendall(contrast, values)
            numbers = f"tau {found.statistic:.2f}, exact p {found.p_value:.2f}, n {found.n}"
            print(f"{what} contrast and {name}: {numbers}")


def _trained(path: Path) -> pd.Series:
    """Contrast of the output's tile after fine-tuning, without noise, by network and kernels."""
    found = parquet.read(path, schemas.measures(imbalance.columns()))
    rows = found[(found["weights"] == "finetuned") & (found["target"] == "output")]
    return rows.set_index(["model", "kernels"])["contrast_unbiased"]


def _listed(epochs: pd.Series) -> str:
    return ", ".join("> 40" if epoch == NEVER else f"{epoch:.0f}" for epoch in epochs)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/findings/gains"))
