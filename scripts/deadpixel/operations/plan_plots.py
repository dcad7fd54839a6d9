"""The plan as a figure: how long on how many devices, and predicted beside measured."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..results.style import COLOURS, GREY, STYLE, WIDTH
from .plan import duration, measured_jobs

_MINUTE, _HOUR, _DAY = 60, 3600, 24 * 3600
_TICKS = [
    *(1, 3, 10, 30),
    *(n * _MINUTE for n in (2, 5, 10, 20, 40)),
    *(n * _HOUR for n in (2, 6, 12)),
    *(n * _DAY for n in (1, 3, 7, 14, 30, 60, 120)),
]
_MOST_TICKS = 8
_BAND = 0.3  # of the measured time


def plan(jobs: pd.DataFrame, makespans: pd.DataFrame, devices: str) -> Figure:
    """Left: time until all is done over the number of `devices`. Right: the jobs.

    jobs: rows of `schemas.PLAN`; makespans: of `schemas.MAKESPANS`. Until half of the jobs have run
    the right panel shows each rule's share, after that each job's predicted over its measured time.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        spans, right = figure.subplots(1, 2)
        _draw_makespans(spans, makespans, devices)
        measured = measured_jobs(jobs)
        if len(measured):
            _draw_comparison(right, measured)
        else:
            _draw_shares(right, jobs)
        return figure


def _draw_makespans(axes: Axes, makespans: pd.DataFrame, devices: str) -> None:
    n, listed = makespans["devices"], makespans["list_seconds"]
    best, bound = makespans["optimum_seconds"], makespans["bound_seconds"]
    axes.plot(n, listed[0] / n, color=GREY, linewidth=0.8, label="if work could be divided at will")
    axes.plot(n, listed, "o-", markersize=5, label="by the scheduler's rule")
    axes.plot(n, best, "s--", markersize=3, label="best schedule found")
    bounds = {"alpha": 0.3, "linewidth": 0, "label": "down to the proven bound"}
    axes.fill_between(n, bound, best, color=COLOURS["padded"], **bounds)
    axes.set_xscale("log", base=2)
    axes.set_xticks(n, [str(number) for number in n])
    _scale_seconds(axes, "y", [*listed, *bound])
    axes.set(xlabel=f"{devices} (log scale)", ylabel="time until all is done (log scale)")
    axes.legend()


def _draw_comparison(axes: Axes, jobs: pd.DataFrame) -> None:
    extremes = [*jobs["measured_seconds"], *jobs["predicted_seconds"]]
    ends = np.array([0.7 * min(extremes), 1.4 * max(extremes)])
    band = {"color": "0.92", "linewidth": 0, "label": f"within {100 * _BAND:.0f} %"}
    axes.fill_between(ends, (1 - _BAND) * ends, (1 + _BAND) * ends, **band)
    axes.plot(ends, ends, color=GREY, linewidth=0.8)
    dots = {"linestyle": "none", "marker": "o", "markersize": 4, "alpha": 0.7}
    for rule, rows in _by_cost(jobs):
        axes.plot(rows["measured_seconds"], rows["predicted_seconds"], label=rule, **dots)
    for name in "xy":
        _scale_seconds(axes, name, extremes)
    axes.set(
        xlabel="measured time of a job (log scale)",
        ylabel="predicted from other jobs (log scale)",
    )
    axes.legend(fontsize=6)


def _draw_shares(axes: Axes, jobs: pd.DataFrame) -> None:
    by_cost = _by_cost(jobs)[::-1]
    shares = {rule: float(rows["predicted_seconds"].to_numpy().sum()) for rule, rows in by_cost}
    bars = axes.barh([*shares], [*shares.values()], color=COLOURS["padded"])
    axes.bar_label(bars, [duration(own) for own in shares.values()], padding=3)
    axes.set(
        xlabel="predicted time of all jobs of a rule",
        xlim=(0, 1.25 * max(shares.values())),
        xticks=[],
    )


def _by_cost(jobs: pd.DataFrame, most: int = 7) -> list[tuple[str, pd.DataFrame]]:
    """The rules that take longest, longest first, and all others as one."""
    rules = {str(rule): rows for rule, rows in jobs.groupby("rule")}
    order = sorted(rules, key=lambda rule: -rules[rule]["predicted_seconds"].to_numpy().sum())
    named = [(rule, rules[rule]) for rule in order[:most]]
    others = [rules[rule] for rule in order[most:]]
    return [*named, ("others", pd.concat(others))] if others else named


def _scale_seconds(axes: Axes, name: str, values: Sequence[float]) -> None:
    axes.set(**{f"{name}scale": "log"})
    low, high = min(values) / 1.5, max(values) * 1.5
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    ticks = ticks[:: 1 + len(ticks) // _MOST_TICKS]
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    axis.set_ticks(ticks, [duration(tick) for tick in ticks])
    axis.set_minor_locator(NullLocator())
