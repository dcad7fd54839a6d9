"""Figures of kernel padding: what windows meet, the padded kernel, and what it changes."""

from collections.abc import Iterable, Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .plots import GREY, INK, STYLE

COLOURS = {"odd": "#c0392b", "padded": "#1f6fb2", "sliced": "#2e8b57"}
_WINDOWS = ((1, 2), (3, 4), (7, 8))  # kernels of a ResNet with stride 2, and the padded ones
_SIDE = 16  # px of the picture in Fig. 2
_KINDS = {"l1": "L1", "l2": "L2", "contrast": "tile contrast"}
_NOISE = {"color": "#c9ccd3", "edgecolor": GREY, "hatch": "////", "linewidth": 0}


def references(kernel: int, stride: int, length: int) -> np.ndarray:
    """How many windows of `kernel` px contain each of `length` pixels, (length,).

    Windows start at every multiple of `stride`, also before the first pixel: no border shows.
    """
    pixel = np.arange(length)
    starts = np.arange(-kernel - kernel % stride, length, stride)[:, None]
    return ((starts <= pixel) & (pixel < starts + kernel)).sum(0)


def window_references() -> Figure:
    """Fig. 2: how often each pixel is referenced by odd and by even kernels with stride 2."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.2), layout="constrained")
        axes = figure.subplots(2, len(_WINDOWS))
        for column, pair in enumerate(_WINDOWS):
            counts = [np.multiply.outer(*[references(k, 2, _SIDE)] * 2) for k in pair]
            most = max(count.max() for count in counts)
            for panel, kernel, count in zip(axes[:, column], pair, counts, strict=True):
                image = panel.imshow(count, cmap="magma", vmin=0, vmax=most)
                low, high = count.min(), count.max()
                span = f"{low} to {high} windows" if low < high else f"each in {low}"
                panel.set_title(f"{kernel} x {kernel}, stride 2\n{span}")
                panel.set(xticks=[0, _SIDE - 1], yticks=[0, _SIDE - 1])
            figure.colorbar(image, ax=axes[:, column], location="bottom", shrink=0.8)
        figure.suptitle("How many windows contain a pixel: odd kernels above, even ones below")
        return figure


def padded_kernel(kernels: Mapping[str, np.ndarray], old: tuple[int, int], name: str) -> Figure:
    """Fig. 3: one filter as it was, as training with even kernels started from, and after it.

    kernels: (h, w) by title, in this order. old: height and width of the first one, framed in all.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(kernels), 3.4), layout="compressed")
        axes = figure.subplots(1, len(kernels))
        reach = max(np.abs(kernel).max() for kernel in kernels.values())
        for panel, (title, kernel) in zip(axes, kernels.items(), strict=True):
            image = panel.imshow(kernel, cmap="PuOr_r", vmin=-reach, vmax=reach)
            height, width = kernel.shape
            frame = {"fill": False, "linestyle": "--", "color": INK}
            panel.add_patch(Rectangle((-0.5, -0.5), old[1], old[0], **frame))
            panel.set(xticks=[], yticks=[], title=f"{title}, {height} x {width}")
            panel.spines[:].set_visible(False)
            panel.set(xlim=(-0.6, max(width, old[1]) - 0.4), ylim=(max(height, old[0]) - 0.4, -0.6))
        figure.colorbar(image, ax=axes, label="weight", shrink=0.7)
        figure.suptitle(name)
        return figure


def imbalance_before_and_after(imbalance: pd.DataFrame, target: str) -> Figure:
    """Fig. 4: imbalance of every network by kind of kernels, with what noise adds to it.

    Above the unbiased companions with their standard errors, below them the indices, scale-free and
    as in the paper; as much of each bar as noise alone would give is hatched. imbalance: rows of
    one target with the columns of `schemas.IMBALANCE`.
    """
    raw = imbalance["l1_raw"] / imbalance["l1"]  # the mean of the map
    rows = imbalance.assign(**{f"{k}_raw_floor": raw * imbalance[f"{k}_floor"] for k in _KINDS})
    models, arms = [*rows["model"].unique()], [*rows["kernels"].unique()]
    with mpl.rc_context(STYLE | {"hatch.linewidth": 0.6}):
        figure = Figure(figsize=(3 * max(2.6, 0.45 * len(models) + 1), 7.6), layout="constrained")
        axes = figure.subplots(3, 3, sharex=True)
        for column, (kind, name) in enumerate(_KINDS.items()):
            above, middle, below = axes[:, column]
            for number, kernels in enumerate(arms):
                of_arm = rows[rows["kernels"] == kernels].set_index("model").loc[models]
                place = np.arange(len(models)) + 0.8 * ((number + 0.5) / len(arms) - 0.5)
                style = {"width": 0.7 / len(arms)}
                arm = style | {"color": COLOURS[kernels], "label": kernels}
                error = of_arm[f"{kind}_unbiased_se"]
                above.bar(place, of_arm[f"{kind}_unbiased"], yerr=error, capsize=2, **arm)
                for panel, index in ((middle, kind), (below, f"{kind}_raw")):
                    if index in of_arm:
                        panel.bar(place, of_arm[index], **arm)
                        noise = style | _NOISE | {"label": "noise floor"}
                        panel.bar(place, of_arm[f"{index}_floor"], **noise)
            above.axhline(0, color=INK, linewidth=0.8)
            above.set_title(f"{name}, unbiased")
            middle.set_title(f"{name}, with noise")
            below.set_title(f"{name} as in the paper")
            below.set_xticks(range(len(models)), models, rotation=40, ha="right")
        corner = axes[2, 2]
        corner.set(title="", yticks=[])
        corner.tick_params(length=0)
        corner.spines[:].set_visible(False)
        labels = axes[1, 0].get_legend_handles_labels()
        handles = dict(zip(*reversed(labels), strict=True))
        handles["noise floor"] = handles.pop("noise floor")
        corner.legend(handles.values(), handles.keys(), loc="center", frameon=False)
        figure.suptitle(f"Pixel sensitivity imbalance of the {target}")
        return figure


def accuracies(runs: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Table 3 as a picture: test accuracy of every run, pairs joined, and the paper's means.

    runs: `tables.RUNS`. paper: before and after in percent by model, of `published.beside`; where
    it is missing nothing of the paper is drawn. Dotted: always answering the commonest class.
    """
    with mpl.rc_context(STYLE):
        models = [*runs["model"].unique()]
        arms = [*runs["kernels"].unique()]
        figure = Figure(figsize=(1.5 * len(models) + 2.4, 3.6), layout="constrained")
        axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
        printed = paper.dropna()
        for panel, model in zip(axes, models, strict=True):
            guessing = runs.loc[runs["model"] == model, "commonest_acc"].max()
            style = {"color": GREY, "linestyle": ":", "label": "always the commonest class"}
            panel.axhline(guessing, **style)
            wide = runs[runs["model"] == model].pivot_table(
                index="seed", columns="kernels", values="test_acc"
            )[arms]
            for _, row in wide.iterrows():
                panel.plot(arms, row, "o-", color=GREY, markersize=4, label="one seed")
            panel.plot(arms, wide.mean(), "_", color=INK, markersize=22, label="mean")
            if model in printed.index and "padded" in arms:
                theirs = printed.loc[model, ["before", "after"]]
                panel.plot(["odd", "padded"], theirs, "x", color=INK, label="the paper")
            panel.set_title(model, fontsize=8)
            panel.margins(x=0.35)
        axes[0].set_ylabel("test accuracy (%)")
        _legend_beside(figure, axes)
        return figure


def training_curves(epochs: pd.DataFrame) -> Figure:
    """Training loss and validation accuracy of every run, by kind of kernels.

    epochs: columns of `schemas.EPOCHS` with model, kernels and seed.
    """
    with mpl.rc_context(STYLE):
        models = [*epochs["model"].unique()]
        figure = Figure(figsize=(2.6 * len(models) + 1.4, 5), layout="constrained")
        axes = figure.subplots(2, len(models), sharex=True, sharey="row", squeeze=False)
        for column, model in enumerate(models):
            axes[0, column].set_title(model)
            axes[1, column].set_xlabel("epoch")
            _draw_curves(axes[0, column], epochs[epochs["model"] == model], "train_loss")
            _draw_curves(axes[1, column], epochs[epochs["model"] == model], "valid_acc")
        axes[0, 0].set_ylabel("training loss")
        axes[1, 0].set_ylabel("validation accuracy")
        axes[0, -1].legend(title="kernels", frameon=False)
        return figure


def _draw_curves(axes: Axes, epochs: pd.DataFrame, column: str) -> None:
    for kernels, of_arm in epochs.groupby("kernels", sort=False):
        for number, (_, run) in enumerate(of_arm.groupby("seed")):
            style = {"color": COLOURS[kernels], "label": None if number else kernels}
            axes.plot(run["epoch"], run[column], linewidth=1, **style)


def microobject_curves(epochs: pd.DataFrame, threshold: float, paper: pd.DataFrame) -> Figure:
    """Fig. 5: test accuracy over epochs, every run thin, their mean thick, and the threshold.

    epochs: columns of `schemas.EPOCHS` with model, kernels and seed. paper: before and after by
    model, of `published.beside`; its mean first epochs above the threshold are dotted lines, where
    they are not missing.
    """
    with mpl.rc_context(STYLE):
        models = [*epochs["model"].unique()]
        figure = Figure(figsize=(3.6 * len(models) + 1.6, 3.6), layout="constrained")
        axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
        printed = paper.dropna()
        for panel, model in zip(axes, models, strict=True):
            of_model = epochs[epochs["model"] == model]
            for kernels, of_arm in of_model.groupby("kernels", sort=False):
                colour = COLOURS[kernels]
                for _, run in of_arm.groupby("seed"):
                    panel.plot(run["epoch"], run["test_acc"], color=colour, linewidth=0.6)
                mean = of_arm.groupby("epoch")["test_acc"].mean()
                panel.plot(mean.index, mean, color=colour, linewidth=2.2, label=f"{kernels}, mean")
            panel.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
            if model in printed.index:
                for kernels, when in (("odd", "before"), ("padded", "after")):
                    style = {"color": COLOURS[kernels], "linestyle": ":"}
                    label = f"{kernels}, first epoch in the paper"
                    panel.axvline(printed.loc[model, when], label=label, **style)
            panel.set(title=model, xlabel="epoch", ylim=(0.4, 1.02))
        axes[0].set_ylabel("test accuracy")
        _legend_beside(figure, axes)
        return figure


def _legend_beside(figure: Figure, axes: Iterable[Axes]) -> None:
    """Each label once, whichever panels have it."""
    labels = [panel.get_legend_handles_labels() for panel in axes]
    handles = {label: handle for found in labels for handle, label in zip(*found, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right", frameon=False)
