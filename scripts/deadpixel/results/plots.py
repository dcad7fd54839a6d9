"""Figures. Functions take arrays and frames and return a Matplotlib figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle

from ..files import atomic
from ..imbalance import PERIOD, mean_tile
from .tables import LEAST_R_SQUARED

STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "deadpixel",  # the same figure is the same file
}
_MAP = "magma"
GREY, INK = "#7a7f8c", "#1f2430"
_BRIGHTEST = 99.8  # percentile of the map at which the colour scale ends
_SIZES = {
    "trf": "theoretical size (px)",
    "sigma_x": "σx of the fit (px)",
    "sigma_y": "σy of the fit (px)",
}


def save(figure: Figure, paths: Sequence[Path | str]) -> None:
    """Write the figure to each of `paths`, its format by the suffix, atomically."""
    for path in map(Path, paths):
        bare = {"Date": None} if path.suffix == ".svg" else None
        with mpl.rc_context(STYLE), atomic.writing(path) as partial:
            figure.savefig(partial, dpi=200, metadata=bare)


def erf_maps(
    maps: Mapping[str, Mapping[str, np.ndarray]], fits: pd.DataFrame, trf: pd.DataFrame, title: str
) -> Figure:
    """Effective receptive fields of one network as in Fig. 1, and their mean tiles.

    maps: R (H, W) by kernels and target; each kind of kernels has a row of maps and one of tiles.
    fits and trf: this network's rows, indexed by kernels and target. Dashed: the theoretical field
    of the central feature; ellipse: one sigma of the fitted Gaussian, where one fits.
    """
    with mpl.rc_context(STYLE):
        columns = max(len(fields) for fields in maps.values())
        figure = Figure(figsize=(3.3 * columns, 6.6 * len(maps)), layout="compressed")
        axes = figure.subplots(2 * len(maps), columns, squeeze=False)
        every = {(k, t): field for k, fields in maps.items() for t, field in fields.items()}
        period = min(PERIOD, *(length for field in every.values() for length in field.shape))
        tiles = {place: mean_tile(field, period) for place, field in every.items()}
        reach = max(np.abs(np.nan_to_num(tile - 1)).max() for tile in tiles.values())
        for row, (kernels, fields) in enumerate(maps.items()):
            for column, (target, field) in enumerate(fields.items()):
                panel, below = axes[2 * row, column], axes[2 * row + 1, column]
                fit, theory = fits.loc[(kernels, target)], trf.loc[(kernels, target)]
                _draw_map(panel, field, fit, theory)
                heading = target if len(maps) == 1 else f"{target}, {kernels} kernels"
                panel.set_title(f"{heading}\n{_describe(fit, theory)}")
                tile = tiles[kernels, target]
                image = below.imshow(tile, cmap="PuOr_r", vmin=1 - reach, vmax=1 + reach)
                below.set_title(f"mean {period} x {period} px tile")
            ratio = "sensitivity / mean around"
            figure.colorbar(image, ax=axes[2 * row + 1], label=ratio, shrink=0.8)
        figure.suptitle(title)
        return figure


def _draw_map(axes: Axes, field: np.ndarray, fit: pd.Series, theory: pd.Series) -> None:
    axes.imshow(field, cmap=_MAP, vmin=0, vmax=np.percentile(field, _BRIGHTEST))
    if fit["r_squared"] >= LEAST_R_SQUARED:
        center = fit["center_x"], fit["center_y"]
        ring = {"fill": False, "edgecolor": "white", "linewidth": 1}
        axes.add_patch(Ellipse(center, 2 * fit["sigma_x"], 2 * fit["sigma_y"], **ring))
    height, width = field.shape
    axes.set(xticks=[0, width // 2, width - 1], yticks=[0, height // 2, height - 1])
    if theory["size_h"] < 2 * height:
        w, h = theory["size_w"], theory["size_h"]
        corner = theory["center_w"] - w / 2, theory["center_h"] - h / 2
        dashed = {"fill": False, "color": "white", "linestyle": "--"}
        axes.add_patch(Rectangle(corner, w, h, **dashed))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _describe(fit: pd.Series, theory: pd.Series) -> str:
    size = theory["size_h"]
    known = "TRF ∞" if size == np.inf else "TRF unknown" if pd.isna(size) else f"TRF {size:.0f} px"
    if pd.isna(fit["r_squared"]):
        return f"{known}, no Gaussian fits"
    if fit["r_squared"] < LEAST_R_SQUARED:
        return f"{known}, no Gaussian (R² {fit['r_squared']:.3f})"
    return f"{known}, σ {fit['sigma_x']:.1f} x {fit['sigma_y']:.1f} px, R² {fit['r_squared']:.3f}"


def size_against_accuracy(
    table: pd.DataFrame, paper: pd.DataFrame, correlations: pd.DataFrame, ours: str
) -> Figure:
    """Published acc@1 over each size of the receptive field, ours and the paper's (Table 1).

    Networks of ours without a published accuracy are not drawn, nor are widths of a Gaussian that
    does not fit. ours: what our numbers are of, for the legend.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        axes = figure.subplots(1, len(_SIZES), sharey=True)
        for panel, (size, label) in zip(axes, _SIZES.items(), strict=True):
            theirs = {"facecolors": "none", "edgecolors": GREY}
            panel.scatter(paper[size], paper["acc1"], label="the paper (CUB-200-2011)", **theirs)
            drawn = table if size == "trf" else table[table["r_squared"] >= LEAST_R_SQUARED]
            if table["acc1"].notna().any():
                style = {"color": "#c0392b", "marker": "x", "label": f"ours ({ours})"}
                panel.scatter(drawn[size], drawn["acc1"], **style)
            for number, row in enumerate(paper.itertuples(), start=1):
                place = getattr(row, size), row.acc1
                panel.annotate(number, place, (6, -2), textcoords="offset points", fontsize=7)
            panel.set(xlabel=label)
            panel.set_title(_correlation_text(correlations, size), fontsize=8, loc="left")
            panel.margins(x=0.1)
        axes[0].set_ylabel("ImageNet acc@1 (%), published")
        names = [f"{number} {model}" for number, model in enumerate(paper["model"], start=1)]
        handles, labels = axes[0].get_legend_handles_labels()
        unseen = [Line2D([], [], linestyle="none") for _ in names]
        figure.legend(handles + unseen, labels + names, loc="outside right", frameon=False)
        if table["acc1"].isna().all():
            figure.suptitle(
                f"Ours ({ours}) are not drawn: no accuracy is published of such weights"
            )
        return figure


def _correlation_text(correlations: pd.DataFrame, size: str) -> str:
    lines = []
    for row in correlations[correlations["size"] == size].itertuples():
        if row.source.endswith("same networks"):
            continue
        value = (
            "undefined" if pd.isna(row.kendall) else f"{row.kendall:+.2f}, p = {row.kendall_p:.2f}"
        )
        lines.append(f"{row.source} (n = {row.n}): τ-b {value}")
    return "\n".join(lines)
