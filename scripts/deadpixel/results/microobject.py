"""How soon a micro-object is seen: the first epoch of every run, Table 4, Fig. 5."""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from . import pairs, stats
from .pairs import RUN
from .render import KERNELS, MODEL, NUMBER, SEED, WHOLE, Column, Table, with_paper
from .style import GREY, STYLE, colours, legend_beside, panels

FIRST_EPOCHS = Table(
    *(MODEL, KERNELS, SEED),
    Column("first_epoch", WHOLE, "first epoch"),
    Column("first_step", WHOLE, "first step"),
    Column("area", NUMBER, "area (%)", decimals=2),
    Column("epochs", WHOLE, "epochs"),
    Column("steps", WHOLE, header=None),
    Column("best_test_acc", NUMBER, "best test acc (%)", decimals=2),
    Column("last_test_acc", NUMBER, "last test acc (%)", decimals=2),
)
_NUMBERS = ["seen", "unseen_before", "unseen_after"]
RUNNING = 512  # images that the running accuracy is of: its standard error at 90 % is 1.3 %
TABLE4 = Table(
    *pairs.RUNS,
    *with_paper(
        Column("epochs_before", NUMBER, "mean before", decimals=1),
        Column("epochs_after", NUMBER, "mean after", decimals=1),
    ),
    Column("median_before", NUMBER, "median before", decimals=1),
    Column("median_after", NUMBER, "median after", decimals=1),
    *with_paper(Column("epochs_difference", NUMBER, "difference", decimals=1)),
    *pairs.INTERVAL,
    *pairs.columns_of_test("logrank", "log-rank"),
    Column("seen", WHOLE, header=None),
    Column("unseen_before", WHOLE, header=None),
    Column("unseen_after", WHOLE, header=None),
)


def first_epochs(
    epochs: pd.DataFrame, steps: pd.DataFrame, threshold: float, planned: int
) -> pd.DataFrame:
    """How soon each run exceeds `threshold`, one row per run; nothing where it never does.

    first_epoch: by the test accuracy. first_step: by the running accuracy of `first_step`. area:
    under the curve of the test accuracy over the `planned` epochs, where those after a run was done
    count as its last one. Accuracies are in percent.

    Both frames have the columns model, kernels and seed besides those of `schemas.EPOCHS` and
    `schemas.STEPS`.
    """
    rows: list[dict[str, Any]] = []
    of_run: dict[Any, pd.DataFrame] = {run: own for run, own in steps.groupby(RUN)}  # noqa: C416
    for key, run in epochs.groupby(RUN, sort=False):
        accuracy = run.sort_values("epoch").set_index("epoch")["test_acc"]
        above = accuracy.index[accuracy > threshold]  # pyright: ignore[reportArgumentType, reportCallIssue]
        last, left = accuracy.iloc[-1], planned - len(accuracy)
        measured = {
            "first_epoch": above[0] if len(above) else None,
            "first_step": first_step(of_run[key], threshold),
            "area": 100 * (accuracy.sum() + left * last) / planned,
            "epochs": len(accuracy),
            "steps": len(of_run[key]),
            "best_test_acc": 100 * accuracy.max(),
            "last_test_acc": 100 * last,
        }
        rows.append({**dict(zip(RUN, key, strict=True)), **measured})  # pyright: ignore[reportArgumentType]
    firsts = dict.fromkeys(["first_epoch", "first_step"], "Int32")
    return pd.DataFrame(rows, columns=FIRST_EPOCHS.names).astype(firsts)


def first_step(steps: pd.DataFrame, threshold: float) -> int | None:
    """The first step of a run at which more than `threshold` of the last images were right.

    The last images are the fewest last steps of at least `RUNNING` images; what a step counts is
    answered before it changes the weights. steps: rows of `schemas.STEPS`.
    """
    ordered = steps.sort_values("step")
    images, right = (np.append(0, np.cumsum(ordered[name])) for name in ("images", "right"))
    before = np.searchsorted(images, images[1:] - RUNNING, side="right") - 1
    full = before >= 0
    share = (right[1:] - right[before])[full] / (images[1:] - images[before])[full]
    above = 1 + np.flatnonzero(full)[share > threshold]
    return int(above[0]) if len(above) else None


def table4(firsts: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Table 4: epochs until the threshold, before (odd kernels) and after; rows of `compared`.

    A run that never gets there counts with its last epoch in means, medians and differences, as in
    the paper, and as censored in the log-rank test, whose p-value is exact: from all swaps within
    pairs. It is written as > that epoch. seen: how many runs of both get there; unseen_before and
    unseen_after: how many do not.
    """
    waited = firsts.assign(
        wait=firsts["first_epoch"].astype("Float64").fillna(np.inf).astype(float),
        counted=firsts["first_epoch"].fillna(firsts["epochs"]).astype(float),
    )
    rows = [
        row | (_waits(of_row) if row["model"] != pairs.ALL_MODELS else {})
        for row, of_row in pairs.compared(waited, "counted", paper, "epochs_")
    ]
    table = pd.DataFrame(rows, columns=TABLE4.names)
    summed: Any = table.groupby("kernels")[_NUMBERS].transform("sum")
    return table.fillna(summed).astype(dict.fromkeys(_NUMBERS, "Int32"))


def _waits(runs: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for when in ("before", "after"):
        wait, epochs = runs[f"wait_{when}"], runs[f"epochs_{when}"]
        found[f"runs_{when}"] = ", ".join(
            f">{last}" if math.isinf(value) else f"{value:.0f}"
            for value, last in zip(wait, epochs, strict=True)
        )
        found[f"median_{when}"] = runs[f"counted_{when}"].median()
        found[f"unseen_{when}"] = np.isinf(wait).sum()
    found["seen"] = 2 * len(runs) - found["unseen_before"] - found["unseen_after"]
    last = runs[["epochs_before", "epochs_after"]].to_numpy().max()
    before, after = runs["wait_before"].to_numpy(), runs["wait_after"].to_numpy()
    test = stats.logrank_paired(before, after, last)
    return found | pairs.of_test("logrank", test)


def accuracy_over_epochs(epochs: pd.DataFrame, threshold: float, paper: pd.DataFrame) -> Figure:
    """Fig. 5: test accuracy over epochs, every run thin, their mean thick, and the threshold.

    The mean ends with the first run that does.

    epochs: columns of `schemas.EPOCHS` with model, kernels and seed. paper: before and after by
    model, of `published.beside`; its mean first epochs above the threshold are dotted lines, where
    they are not missing.
    """
    with mpl.rc_context(STYLE):
        models = [*epochs["model"].unique()]
        figure, columns = panels(len(models), 1.9, 2.8)
        axes = [*columns[:, 0]]
        printed = paper.dropna()
        colour_of = colours(epochs["kernels"])
        for panel, model in zip(axes, models, strict=True):
            of_model = epochs[epochs["model"] == model]
            for kernels, of_kernels in of_model.groupby("kernels", sort=False):
                colour = colour_of[str(kernels)]
                thin = {"color": colour, "linewidth": 0.5, "marker": ".", "markersize": 1.5}
                for _, run in of_kernels.groupby("seed"):
                    panel.plot(run["epoch"], run["test_acc"], **thin, label=f"{kernels}, a run")
                of_all = of_kernels.pivot_table(index="epoch", columns="seed", values="test_acc")
                mean: Any = of_all.dropna().mean(axis=1)
                thick = {"color": colour, "linewidth": 2.2, "label": f"{kernels}, mean"}
                panel.plot(mean.index, mean, **thick)
            reached = {
                "color": GREY,
                "linestyle": "--",
                "label": f"threshold, {100 * threshold:.0f} %",
            }
            panel.axhline(threshold, linewidth=1, **reached)
            if model in printed.index:
                for kernels, when in (("odd", "before"), ("padded", "after")):
                    style = {"color": colour_of[kernels], "linestyle": ":"}
                    label = f"{kernels}, first epoch in the paper"
                    panel.axvline(printed.loc[model, when], label=label, **style)
            lowest = min(0.4, epochs["test_acc"].min() - 0.02)
            panel.set(title=model, xlabel="epoch", ylim=(lowest, 1.02))
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel("test accuracy (%)")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        legend_beside(figure, axes)
        return figure
