"""Runs with odd kernels beside those with each other kind, in pairs of one seed: Tables 3, 4."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..surgery.kinds import ODD, at_crop, kind_and_crop
from . import stats
from .render import KERNELS, MODEL, NUMBER, TEXT, TRUTH, WHOLE, Column, Row, p_value

RUN = ["model", "kernels", "seed"]  # columns that tell runs apart
ALL_MODELS = "all"  # the row over networks, where there are several
# With two pairs Student's t makes an interval of 12.7 standard errors: wider than accuracies are.
INTERVAL_PAIRS = 3


def _interval(row: Row) -> str:
    if pd.notna(row["low"]):
        return f"{row['low']:.2f} to {row['high']:.2f}"
    unit = "network" if row["model"] == ALL_MODELS else "pair"
    return f"none from {row['n_pairs']} {unit}{'s' if row['n_pairs'] > 1 else ''}"


RUNS = (
    *(MODEL, KERNELS, Column("n_pairs", WHOLE, "pairs")),
    *(Column(f"runs_{when}", TEXT, f"runs {when}") for when in ("before", "after")),
)
INTERVAL = (
    Column("low", NUMBER, "95 % interval", in_words=_interval),
    Column("high", NUMBER, header=None),
)


def columns_of_test(test: str, header: str) -> tuple[Column, ...]:
    """What `of_test` gives."""
    return (
        p_value(f"{test}_p", f"p ({header})"),
        p_value(f"{test}_smallest_p", "smallest possible p"),
        Column(f"{test}_exact", TRUTH, header=None),
    )


def of_test(test: str, found: stats.PermutationTest) -> dict[str, Any]:
    """A test's p-value, the smallest possible one, and whether they are exact."""
    values = found.p_value, found.smallest, found.exact
    return dict(zip((f"{test}_p", f"{test}_smallest_p", f"{test}_exact"), values, strict=True))


def by_seed(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each kind of kernels but odd ones, and its runs beside odd ones of their model and seed.

    Those at another crop are beside odd ones of that crop, and odd ones of it beside plain odd.
    """
    for kernels in [kind for kind in runs["kernels"].unique() if kind != ODD]:
        odd, changed = (runs[runs["kernels"] == kind] for kind in (before(kernels), kernels))
        yield kernels, odd.merge(changed, on=["model", "seed"], suffixes=("_before", "_after"))


def before(kernels: str) -> str:
    """Odd kernels of the same crop; of odd ones at another crop, plain odd ones."""
    kind, crop = kind_and_crop(kernels)
    return ODD if kind == ODD or crop is None else at_crop(ODD, crop)


def compared(
    runs: pd.DataFrame, value: str, paper: pd.DataFrame, prefix: str = ""
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Rows of a table for each kind of kernels but odd ones, each with its pairs.

    A row for each model over its seeds, and `ALL_MODELS` over the models' means, where there are
    several: means of column `value` and their difference, named with `prefix`, and its interval,
    from at least `INTERVAL_PAIRS`. paper: of `published.beside`; it stands beside padded kernels.
    """
    for kernels, pairs in by_seed(runs):
        for model, of_model in pairs.groupby("model", sort=False):
            row = {"model": model, "kernels": kernels, **_difference(of_model, value, prefix)}
            if kernels == "padded" and model in paper.index:
                before, after = paper.loc[model]
                theirs = {"before": before, "after": after, "difference": after - before}
                row |= {f"paper_{prefix}{name}": number for name, number in theirs.items()}
            yield row, of_model
        values = [f"{value}_before", f"{value}_after"]
        means: Any = pairs.groupby("model", sort=False)[values].mean()
        if len(means) > 1:
            row = {"model": ALL_MODELS, "kernels": kernels}
            yield row | _difference(means, value, prefix), means


def _difference(pairs: Any, value: str, prefix: str) -> dict[str, Any]:
    before, after = (pairs[f"{value}_{when}"].to_numpy() for when in ("before", "after"))
    difference = stats.mean_difference(before, after)
    return {
        "n_pairs": difference.n,
        f"{prefix}before": np.mean(before),
        f"{prefix}after": np.mean(after),
        f"{prefix}difference": difference.mean,
        **interval(difference),
    }


def interval(difference: stats.MeanDifference) -> dict[str, float]:
    """Its 95 % interval, from at least `INTERVAL_PAIRS`."""
    enough = difference.n >= INTERVAL_PAIRS
    return {
        "low": difference.low if enough else math.nan,
        "high": difference.high if enough else math.nan,
    }


def few(table: pd.DataFrame) -> list[str]:
    """A sentence for readers where the smallest possible p-value is above 0.05 somewhere."""
    (smallest,) = (name for name in table if str(name).endswith("_smallest_p"))
    if table[table[smallest] > 0.05].empty:
        return []
    return [
        "Where the smallest possible p is above 0.05, there are too few pairs for any difference, "
        "however large, to stand out from chance at that level: it takes six pairs, as 2/2⁶ is "
        "0.031."
    ]
