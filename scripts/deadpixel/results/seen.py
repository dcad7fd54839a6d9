"""Where the micro-object is seen: by place, by distance to each edge, by phase of the tile."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import PercentFormatter

from . import squares
from .pairs import RUN
from .render import KERNELS, MODEL, NUMBER, TEXT, WHOLE, Column, Table
from .squares import Maps, Run
from .style import GREY, INK, OTHERS, SEQUENTIAL, STYLE, WIDTH, ink_on

QUARTERS, EIGHTHS, FIFTHS = 4, 8, 5  # of the image's sides, of distances, of sensitivities
CHANCE = 0.5
_NEAR_AND_FAR = OTHERS[:2]  # the edges at the first pixel, and at the last
_HEADINGS = ("by place", "columns", "rows", "by phase of the tile")
_MEASURES = ("distance from this edge (px)",) * 2 + ("sensitivity of the tile there",)

SHARES = Table(
    *(MODEL, KERNELS, Column("by", TEXT, "by"), Column("cell", WHOLE, "cell")),
    Column("bin_from", NUMBER, "from"),
    Column("bin_to", NUMBER, "to"),
    *(Column("share", NUMBER, "share seen"), *squares.INTERVAL),
    *(Column("n_runs", WHOLE, "runs"), Column("n_squares", WHOLE, "squares")),
)


def shares(seen: pd.DataFrame, maps: Maps, size: int) -> pd.DataFrame:
    """Share of the squares that are seen, by where they are; rows of `SHARES`.

    `by` is one of

    - place: cell 4 i + j is of quarter i of the rows and quarter j of the columns of all places;
    - top, bottom, left, right: eighths of the distances to that edge, px;
    - phase: fifths of the run's squares by the mean under them of the network's mean tile, which
      is 1 on average; no row where it is the same under all of them.

    A run's share is over its squares in a cell and its epochs; the row has the mean over runs that
    have squares there, and its interval. Bounds of a phase are means over runs. seen, maps, size
    and errors as of `squares.runs`.
    """
    found = []
    for run in squares.runs(seen, maps, size):
        of_square = pd.Series(run.right.mean(1))
        for by, cell, bounds in _cells(run):
            of_cell = of_square.groupby(cell).agg(["mean", "size"])
            found += [
                (*run.name, by, index, *bounds[index], share, number)
                for index, share, number in of_cell.itertuples()
            ]
    key = ["model", "kernels", "by", "cell"]
    names: Any = [*RUN, *key[2:], "bin_from", "bin_to", "share", "n_squares"]
    rows = []
    for values, cell in pd.DataFrame(found, columns=names).groupby(key, sort=False):
        row: dict[str, Any] = dict(zip(key, values, strict=True))  # pyright: ignore[reportArgumentType]
        row |= {name: cell[name].mean() for name in ("bin_from", "bin_to")}
        row |= squares.over_runs("share", cell["share"].to_numpy())
        rows.append(row | {"n_squares": cell["n_squares"].sum()})
    return pd.DataFrame(rows, columns=SHARES.names)


def _cells(run: Run) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """By what squares are grouped, the cell of each (n,), from where to where cells are (c, 2)."""
    (row, col), (height, width) = run.corners.T, run.room
    unbounded = np.full((QUARTERS**2, 2), np.nan)
    yield "place", QUARTERS * (QUARTERS * row // height) + QUARTERS * col // width, unbounded
    distances = {
        "top": (row, height),
        "bottom": (height - 1 - row, height),
        "left": (col, width),
        "right": (width - 1 - col, width),
    }
    for by, (distance, room) in distances.items():
        starts = -(-np.arange(EIGHTHS + 1) * room // EIGHTHS)
        yield by, EIGHTHS * distance // room, np.stack([starts[:-1], starts[1:] - 1], 1)
    if np.ptp(run.tile) > squares.ROUNDING:
        bounds = np.quantile(run.tile, np.linspace(0, 1, FIFTHS + 1))
        fifth = np.searchsorted(bounds[1:-1], run.tile, side="right")
        yield "phase", fifth, np.stack([bounds[:-1], bounds[1:]], 1)


def where_seen(shares: pd.DataFrame, title: str) -> Figure:
    """Where one network's squares are seen: a row of panels for each kind of kernels.

    shares: rows of `SHARES` of one model. Heat maps have one scale; so have all other panels.
    """
    with mpl.rc_context(STYLE):
        kinds = [*shares["kernels"].unique()]
        figure = Figure(figsize=(WIDTH, 0.9 + 1.25 * len(kinds)), layout="constrained")
        axes = figure.subplots(len(kinds), 4, squeeze=False, width_ratios=[1, 1.5, 1.5, 1.5])
        places = shares.loc[shares["by"] == "place", "share"]
        scale = {"vmin": min(CHANCE - 0.02, places.min()), "vmax": places.max()}
        for row, kernels in zip(axes, kinds, strict=True):
            of_kind = shares[shares["kernels"] == kernels]
            by: Any = dict([*of_kind.groupby("by")])
            image = _draw_places(row[0], by["place"], scale)
            row[0].set_ylabel(kernels)
            row[1].set_ylabel("squares seen (%)")
            for panel, edges in zip(row[1:3], (("left", "right"), ("top", "bottom")), strict=True):
                _draw_distances(panel, by, edges)
            _draw_phases(row[3], by.get("phase"))
        _share_limits(axes[:, 1:].ravel(), shares.query("by != 'place'"))
        for panel, heading in zip(axes[0], _HEADINGS, strict=True):
            panel.set_title(heading, loc="left")
        for panel in axes[0, 1:3]:
            above: Any = {"loc": "lower right", "bbox_to_anchor": (1, 0.98), "handlelength": 1.0}
            panel.legend(ncols=2, borderaxespad=0, columnspacing=1, **above)
        for panel, label in zip(axes[-1, 1:], _MEASURES, strict=True):
            panel.set_xlabel(label)
        bar = figure.colorbar(image, ax=axes[:, 0], location="left", shrink=min(1, 3 / len(kinds)))
        bar.formatter = PercentFormatter(1, decimals=0, symbol="")
        bar.set_label("squares seen (%); dashed: chance")
        bar.ax.axhline(CHANCE, color="white", linestyle="--")
        figure.suptitle(f"{title}: where the square is seen; bands: 95 % over runs")
        return figure


def _draw_places(panel: Axes, rows: pd.DataFrame, scale: Mapping[str, float]) -> AxesImage:
    grid = np.full(QUARTERS**2, np.nan)
    grid[rows["cell"]] = rows["share"]
    image = panel.imshow(grid.reshape(QUARTERS, QUARTERS), cmap=SEQUENTIAL, **scale)  # pyright: ignore[reportArgumentType]
    place_on_scale: Any = image.norm
    for cell, share in zip(rows["cell"], rows["share"], strict=True):
        at = cell % QUARTERS, cell // QUARTERS
        style = {"color": ink_on(place_on_scale(share)), "fontsize": 6}
        panel.text(*at, f"{100 * share:.0f}", ha="center", va="center", **style)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    return image


def _draw_distances(panel: Axes, by: Mapping[str, pd.DataFrame], edges: Sequence[str]) -> None:
    for edge, colour in zip(edges, _NEAR_AND_FAR, strict=True):
        _draw_shares(panel, _middles(by[edge]), by[edge], colour, edge)


def _draw_phases(panel: Axes, rows: pd.DataFrame | None) -> None:
    if rows is None:
        panel.text(0.5, 0.5, "the same everywhere", ha="center", transform=panel.transAxes)
        panel.set_xticks([])
        return
    _draw_shares(panel, rows["cell"], rows, INK)
    every_other: Any = rows[rows["cell"] % 2 == 0]
    panel.set_xticks(every_other["cell"], [f"{middle:.3f}" for middle in _middles(every_other)])


def _middles(rows: pd.DataFrame) -> Any:
    return (rows["bin_from"] + rows["bin_to"]) / 2


def _draw_shares(
    panel: Axes, x: Any, rows: pd.DataFrame, colour: str, label: str | None = None
) -> None:
    panel.plot(x, rows["share"], color=colour, marker="o", markersize=3, label=label)
    panel.fill_between(x, rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)


def _share_limits(panels: Iterable[Axes], rows: pd.DataFrame) -> None:
    """One scale for all, with chance in it and marked."""
    values = np.array([CHANCE, *rows[["share", "low", "high"]].to_numpy().ravel()])
    low, high = np.nanmin(values), np.nanmax(values)
    for panel in panels:
        panel.axhline(CHANCE, color=GREY, linestyle="--", linewidth=1)
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        panel.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
