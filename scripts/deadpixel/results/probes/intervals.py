"""Means over images with their 95 % intervals, as the tables of probes have them."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from .. import stats
from ..render import NUMBER, Column, Row


def columns(name: str, header: str, decimals: int = 2) -> tuple[Column, ...]:
    """A number, and its interval in words behind it."""

    def in_words(row: Row) -> str | None:
        if pd.isna(row[f"{name}_low"]):
            return None
        return f"{row[f'{name}_low']:.{decimals}f} to {row[f'{name}_high']:.{decimals}f}"

    return (
        Column(name, NUMBER, header, decimals),
        Column(f"{name}_low", NUMBER, f"95 % ({header})", decimals, in_words),
        Column(f"{name}_high", NUMBER, header=None),
    )


def of_mean(name: str, values: pd.Series | np.ndarray) -> dict[str, float]:
    """Mean of the finite ones of `values`, one of each image, and its interval (Student's t)."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), math.nan)
    found = stats.mean_difference(np.zeros_like(known), known)
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def of_ratio(name: str, above: np.ndarray, below: np.ndarray) -> dict[str, float]:
    """Geometric mean of ratios of positive numbers, one of each image, and its interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = of_mean(name, np.log(np.asarray(above, float) / np.asarray(below, float)))
    return {key: math.exp(value) for key, value in found.items()}


def of_correlation(name: str, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Pearson's correlation, and its interval by Fisher's z from four images on."""
    if min(np.ptp(x), np.ptp(y)) == 0:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), math.nan)
    found: Any = scipy_stats.pearsonr(x, y)
    low, high = found.confidence_interval(0.95) if len(x) > 3 else (math.nan, math.nan)
    return {name: float(found.statistic), f"{name}_low": low, f"{name}_high": high}


def of_share(name: str, succeeded: pd.Series | np.ndarray) -> dict[str, float]:
    """Share in % of successes (n,), bool, and its interval (Clopper and Pearson 1934)."""
    values = np.asarray(succeeded, dtype=bool)
    if not len(values):
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), math.nan)
    found = scipy_stats.binomtest(int(values.sum()), len(values)).proportion_ci(0.95)
    share = 100 * values.mean()
    return {name: share, f"{name}_low": 100 * found.low, f"{name}_high": 100 * found.high}
