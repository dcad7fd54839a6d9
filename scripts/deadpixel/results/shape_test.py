"""What fine-tuning with even kernels changes: every run, Tables 2 and 3, Fig. 4."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..errors import InputError
from ..imbalance import METRICS
from . import pairs, stats
from .fields import FIT, TRF
from .render import KERNELS, MODEL, NUMBER, SEED, WHOLE, Column, Table, p_value, with_paper
from .style import GREY, INK, STYLE, WIDTH, colours, legend_beside, panels

_VALID = Column("valid_acc", NUMBER, "valid acc (%)", decimals=2)
_TEST = Column("test_acc", NUMBER, "test acc (%)", decimals=2)
RUNS = Table(
    *(MODEL, KERNELS, SEED),
    Column("best_epoch", WHOLE, "best epoch"),
    Column("n_test", WHOLE, "test images"),
    Column("n_classes", WHOLE, header=None),
    *(_VALID, _TEST),
    Column("commonest_acc", NUMBER, "always the commonest class (%)", decimals=2),
)
TABLE2 = Table(MODEL, KERNELS, *with_paper(_VALID, _TEST, TRF, *FIT))
TABLE3 = Table(
    *pairs.RUNS,
    *with_paper(
        Column("before", NUMBER, "before (%)", decimals=2),
        Column("after", NUMBER, "after (%)", decimals=2),
        Column("difference", NUMBER, "difference", decimals=2),
    ),
    *pairs.INTERVAL,
    *pairs.columns_of_test("signflip", "sign flips"),
    Column("only_before", WHOLE, "right only before"),
    Column("only_after", WHOLE, "right only after"),
    p_value("mcnemar_p", "p (McNemar)"),
)
_ROWS = ("noise taken off,\n± standard error", "with noise", "with noise,\nthe paper's scale")
_NOISE = {"color": "#c9ccd3", "edgecolor": GREY, "hatch": "////", "linewidth": 0}


def finetune_runs(epochs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per run: its best epoch by validation accuracy, and the test accuracy of that one.

    Both frames have the columns model, kernels and seed besides those of `schemas.EPOCHS` and
    `schemas.PREDICTIONS`. Accuracies are in percent; commonest_acc is what answering the commonest
    class of the test images for each of them would give. Raises `InputError` if all test images are
    of one class.
    """
    best = epochs.loc[epochs.groupby(pairs.RUN, sort=False)["valid_acc"].idxmax()]
    best = best[[*pairs.RUN, "epoch", "valid_acc"]].rename(columns={"epoch": "best_epoch"})
    right = predictions.assign(right=predictions["label"] == predictions["predicted"])
    tested = right.groupby(pairs.RUN).agg(
        n_test=("right", "size"),
        n_classes=("label", "nunique"),
        test_acc=("right", "mean"),
        commonest_acc=("label", lambda labels: labels.value_counts(normalize=True).max()),
    )
    runs = best.merge(tested.reset_index(), on=pairs.RUN)
    for run in runs[runs["n_classes"] < 2].itertuples():
        raise InputError(
            f"{run.model}, kernels {run.kernels}, seed {run.seed}: all test images are of one "
            "class, so that accuracy says nothing; give the data set two classes in each split"
        )
    percent = {name: 100 * runs[name] for name in ("valid_acc", "test_acc", "commonest_acc")}
    return runs.assign(**percent)[RUNS.names].reset_index(drop=True)


def table2(
    runs: pd.DataFrame, fits: pd.DataFrame, trf: pd.DataFrame, paper: pd.DataFrame
) -> pd.DataFrame:
    """Table 2: accuracy after fine-tuning, theoretical and effective size, a row for each run.

    runs: one per model and kernels. fits and trf: rows of one target. paper: of
    `published.beside`; it stands beside odd kernels.
    """
    key = ["model", "kernels"]
    sizes = trf.rename(columns={"size_h": "trf"})[[*key, "trf"]]
    fitted = fits[[*key, "sigma_x", "sigma_y", "r_squared"]]
    theirs = paper.add_prefix("paper_").assign(kernels="odd").set_index("kernels", append=True)
    joined = runs.merge(sizes, "left", key).merge(fitted, "left", key).join(theirs, on=key)
    order = joined.groupby("model")["test_acc"].transform("max").to_numpy()
    return joined.assign(order=order).sort_values(  # pyright: ignore[reportReturnType]
        ["order", "model", "kernels"], kind="stable", ignore_index=True
    )[TABLE2.names]


def table3(runs: pd.DataFrame, predictions: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Table 3: test accuracy before (odd kernels) and after, in percent; rows of `pairs.compared`.

    The p-value of the mean difference is exact, from all ways to flip signs. McNemar's test
    compares the images of the first seed.
    """
    rows = []
    for row, of_row in pairs.compared(runs, "test_acc", paper):
        before, after = of_row["test_acc_before"], of_row["test_acc_after"]
        row |= {f"runs_{when}": _list(of_row[f"test_acc_{when}"]) for when in ("before", "after")}
        row |= pairs.of_test("signflip", stats.sign_flip((after - before).to_numpy()))
        if row["model"] != pairs.ALL_MODELS:
            right = _right(predictions, row["model"], of_row["seed"].iloc[0])
            test = stats.mcnemar(
                right[pairs.before(row["kernels"])].to_numpy(), right[row["kernels"]].to_numpy()
            )
            row |= {"only_before": test.only_before, "only_after": test.only_after}
            row["mcnemar_p"] = test.p_value
        rows.append(row)
    return pd.DataFrame(rows, columns=TABLE3.names).astype(
        {"only_before": "Int32", "only_after": "Int32"}
    )


def _list(accuracies: pd.Series) -> str:
    return ", ".join(f"{value:.2f}" for value in accuracies)


def _right(predictions: pd.DataFrame, model: str, seed: int) -> pd.DataFrame:
    """Which images were right, bool, one row per image and one column per kind of kernels."""
    chosen = predictions[(predictions["model"] == model) & (predictions["seed"] == seed)]
    right = chosen.assign(right=chosen["label"] == chosen["predicted"])
    return right.set_index(["path", "kernels"])["right"].unstack()  # noqa: PD010, bools stay bools  # pyright: ignore[reportReturnType]


def accuracies(runs: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Table 3 as a figure: test accuracy of every run, pairs joined, and the paper's means.

    runs: `RUNS`. paper: before and after in percent by model, of `published.beside`; where it is
    missing nothing of the paper is drawn. Dotted: always answering the commonest class.
    """
    with mpl.rc_context(STYLE):
        models = [*runs["model"].unique()]
        kinds = [*runs["kernels"].unique()]
        figure, columns = panels(len(models), 1.4, 2.2)
        axes = [*columns[:, 0]]
        printed = paper.dropna()
        for panel, model in zip(axes, models, strict=True):
            guessing = runs.loc[runs["model"] == model, "commonest_acc"].max()
            style = {"color": GREY, "linestyle": ":", "label": "always the commonest class"}
            panel.axhline(guessing, **style)
            wide = runs[runs["model"] == model].pivot_table(
                index="seed", columns="kernels", values="test_acc"
            )[kinds]
            for _, row in wide.iterrows():
                panel.plot(
                    kinds, row, "o-", color=GREY, markersize=4, label="one seed, before and after"
                )
            panel.plot(kinds, wide.mean(), "_", color=INK, markersize=22, label="mean")
            if model in printed.index and "padded" in kinds:
                theirs = printed.loc[model, ["before", "after"]]
                panel.plot(["odd", "padded"], theirs, "x", color=INK, label="the paper")
            panel.set_title(model)
            panel.margins(x=0.35)
        axes[0].set_ylabel("test accuracy (%)")
        legend_beside(figure, axes)
        return figure


def training_curves(epochs: pd.DataFrame) -> Figure:
    """Training loss and validation accuracy of every run, by kind of kernels.

    epochs: columns of `schemas.EPOCHS` with model, kernels and seed.
    """
    with mpl.rc_context(STYLE):
        models = [*epochs["model"].unique()]
        figure, columns = panels(len(models), 1.4, 1.6, each=2)
        for (loss, accuracy), model in zip(columns, models, strict=True):
            of_model: Any = epochs[epochs["model"] == model]
            loss.set_title(model)
            _draw_curves(loss, of_model, "train_loss")
            _draw_curves(accuracy, of_model, "valid_acc")
            accuracy.set_xlabel("epoch")
        columns[0, 0].set_ylabel("training loss")
        columns[0, 1].set_ylabel("validation acc. (%)")
        columns[0, 1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        legend_beside(figure, columns[:, 0])
        return figure


def _draw_curves(axes: Axes, epochs: pd.DataFrame, column: str) -> None:
    colour_of = colours(epochs["kernels"])
    for kernels, of_kernels in epochs.groupby("kernels", sort=False):
        style: Any = {"color": colour_of[str(kernels)], "linewidth": 0.7}
        style |= {"marker": ".", "markersize": 1.5}
        for _, run in of_kernels.groupby("seed"):
            axes.plot(run["epoch"], run[column], label=f"{kernels}, a run", **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def imbalance_before_and_after(imbalance: pd.DataFrame, target: str) -> Figure:
    """Fig. 4: imbalance of every network by kind of kernels, with what noise adds to it.

    A column for each of `METRICS`. Above the unbiased companions with their standard errors, below
    them the indices, scale-free and as in the paper; as much of each bar as noise alone would give
    is hatched. imbalance: rows of one target with the columns of `schemas.imbalance`.
    """
    bars = imbalance[["model", "kernels"]]
    models = imbalance["model"].unique()
    with mpl.rc_context(STYLE | {"hatch.linewidth": 0.6}):  # pyright: ignore[reportArgumentType]
        figure = Figure(figsize=(WIDTH, 6), layout="constrained")
        axes = figure.subplots(3, len(METRICS), sharex=True)
        for (above, middle, below), (name, metric) in zip(axes.T, METRICS.items(), strict=True):
            index, noise = imbalance[name], imbalance[f"{name}_floor"]
            root, error = imbalance[f"{name}_unbiased"], imbalance[f"{name}_unbiased_se"]
            _draw_bars(above, bars.assign(value=root, error=error))
            above.axhline(0, color=INK, linewidth=0.6)
            above.set_title(metric.header)
            _draw_bars(middle, bars.assign(value=index, noise=noise))
            below.set_visible(metric.in_paper)
            if metric.in_paper:
                raw = imbalance[f"{name}_raw"]
                _draw_bars(below, bars.assign(value=raw, noise=noise * raw / index))
            lowest = below if metric.in_paper else middle
            lowest.set_xticks(range(len(models)), models, rotation=40, ha="right")
            lowest.tick_params(labelbottom=True)
        for panel, label in zip(axes[:, 0], _ROWS, strict=True):
            panel.set_ylabel(label)
        legend_beside(figure, axes.flat)
        figure.suptitle(f"Pixel sensitivity imbalance of the {target}")
        return figure


def _draw_bars(axes: Axes, bars: pd.DataFrame) -> None:
    """Of column value for each model and kind of kernels; with error or noise, where there is."""
    models, kinds = bars["model"].unique(), bars["kernels"].unique()
    width, colour_of = 0.7 / len(kinds), colours(kinds)
    for number, kernels in enumerate(kinds):
        of_kernels = bars[bars["kernels"] == kernels].set_index("model").reindex(models)
        place = np.arange(len(models)) + 0.8 * ((number + 0.5) / len(kinds) - 0.5)
        style: Any = {"color": colour_of[kernels], "label": f"{kernels} kernels"}
        style["error_kw"] = {"capsize": 1.5, "elinewidth": 0.6, "capthick": 0.6}
        axes.bar(place, of_kernels["value"], width, yerr=of_kernels.get("error"), **style)
        if "noise" in of_kernels:
            axes.bar(place, of_kernels["noise"], width, label="of noise alone", **_NOISE)
    axes.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
