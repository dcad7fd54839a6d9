"""Effective receptive fields of a network as a figure: whole, down to the pixel, and as tiles."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.patheffects import withStroke

from .. import extent
from . import arms
from .fields import LEAST_R_SQUARED
from .style import DIVERGING, INK, SEQUENTIAL, STYLE, WIDTH

BRIGHTEST = 99.8  # percentile of a map at which its colours end
_WIDEST = 99  # percentile of what tiles deviate from 1 at which theirs end
_DARK_EDGES = [withStroke(linewidth=2, foreground=INK)]  # seen on any map
_WHITE = {"color": "white", "linewidth": 1, "path_effects": _DARK_EDGES}
_MEANINGS: dict[Any, str] = {
    "-": "fitted Gaussian: its ellipse of one σ, which holds 39 % of it",
    "--": "theoretical field",
    ":": "what is shown larger",
}
_SCALES = (
    f"Maps: 1 is the {BRIGHTEST}th percentile of each, without its zeros.",
    f"Tiles: {_WIDEST} % of their pixels are within the colours.",
)
_NARROWEST = 4  # inches that the longest line of the legend needs
_Maps = Mapping[str, Mapping[str, np.ndarray]]


def figure(maps: _Maps, tiles: _Maps, fits: pd.DataFrame, trf: pd.DataFrame, title: str) -> Figure:
    """Effective receptive fields of one network as in Fig. 1, with what lies in their pixels.

    maps: R (H, W) by kernels and target. Each kind of kernels has a row of maps and below it one of
    their middles, pixel by pixel, and of their mean tiles. tiles: (period, period) likewise. fits
    and trf: this network's rows, indexed by kernels and target. All maps have one scale, each
    relative to its 99.8th percentile; all tiles have one, to the 99th of what they deviate from 1.
    """
    columns = max(len(fields) for fields in maps.values())
    signed = any((field < 0).any() for fields in maps.values() for field in fields.values())
    reach = _reach_of_tiles(maps, tiles)
    with mpl.rc_context(STYLE):
        size = max(_NARROWEST, columns * WIDTH / 3), 0.9 + 3.5 * len(maps)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.add_gridspec(2 * len(maps), 2 * columns, height_ratios=[2, 1] * len(maps))
        for row, (kernels, fields) in enumerate(maps.items()):
            wholes, parts = [], []
            for column, (target, field) in enumerate(fields.items()):
                left, right = 2 * column, 2 * column + 1
                whole = drawn.add_subplot(grid[2 * row, left : right + 1])
                middle, tile = (drawn.add_subplot(grid[2 * row + 1, at]) for at in (left, right))
                fit, theory = fits.loc[(kernels, target)], trf.loc[(kernels, target)]
                _draw_map(whole, field, fit, theory, signed)
                _draw_middle(middle, whole, field, len(tiles[kernels][target]), signed)
                _draw_tile(tile, tiles[kernels][target], reach)
                name = _name(target, kernels, theory) if len(maps) > 1 else target
                whole.set_title(f"{name}\n{_describe(fit, theory)}")
                wholes, parts = [*wholes, whole], [*parts, middle, tile]
            _explain_colours(wholes, parts, signed, reach)
        _explain_lines(drawn, columns)
        drawn.suptitle(title)
        return drawn


def _name(target: str, kernels: str, theory: Any) -> str:
    return f"{target}, {arms.label(kernels, *theory[['changed', 'left_odd']])} kernels"


def _colours(signed: bool) -> dict[str, Any]:
    """Of a map that is relative to its brightest pixels."""
    return {"cmap": DIVERGING if signed else SEQUENTIAL, "norm": Normalize(-1.0 * signed, 1)}


def relative(field: np.ndarray) -> np.ndarray:
    """A map (H, W) over the `BRIGHTEST` percentile of what its pixels are that are not zero."""
    strength = np.abs(field[field != 0])
    return field / np.percentile(strength, BRIGHTEST) if len(strength) else field


def _draw_map(axes: Axes, field: np.ndarray, fit: Any, theory: Any, signed: bool) -> None:
    height, width = field.shape
    axes.imshow(relative(field), **_colours(signed))
    axes.set(xticks=[0, width // 2, width - 1], yticks=[0, height // 2, height - 1])
    if fit["r_squared"] >= LEAST_R_SQUARED:
        center = fit["center_x"], fit["center_y"]
        sides = 2 * fit["sigma_x"], 2 * fit["sigma_y"]
        axes.add_patch(Ellipse(center, *sides, fill=False, **_WHITE))
    if theory["size_h"] < 2 * height:
        w, h = theory["size_w"], theory["size_h"]
        corner = theory["center_w"] - w / 2, theory["center_h"] - h / 2
        axes.add_patch(Rectangle(corner, w, h, fill=False, linestyle="--", **_WHITE))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    _draw_bar(axes, width)


def _draw_middle(axes: Axes, whole: Axes, field: np.ndarray, side: int, signed: bool) -> None:
    """The `side` x `side` px around a map's centre of mass, framed in the whole map."""
    center = extent.center_of_mass(np.abs(field)) if field.any() else np.array(field.shape) / 2
    top, left = (
        int(np.clip(round(at - side / 2), 0, length - side))
        for at, length in zip(center, field.shape, strict=True)
    )
    part = relative(field)[top : top + side, left : left + side]
    axes.imshow(part, **_colours(signed))
    axes.set(xticks=[], yticks=[], title=f"its middle {side} px")
    xs, ys = (np.array([start, start + side]) - 0.5 for start in (left, top))
    whole.plot(xs[[0, 1, 1, 0, 0]], ys[[0, 0, 1, 1, 0]], ":", **_WHITE)
    _draw_bar(axes, side)


def _draw_bar(axes: Axes, width: int) -> None:
    """A scale bar, a power of two of pixels long, in the lower left."""
    length = 2 ** int(np.log2(max(width / 4, 1)))
    bottom, _ = axes.get_ylim()
    left, up = 0.05 * width - 0.5, bottom - 0.05 * width
    thick = _WHITE | {"linewidth": 2, "solid_capstyle": "butt"}
    axes.plot([left, left + length], [up, up], **thick)
    box = {"facecolor": INK, "alpha": 0.6, "pad": 0.8, "linewidth": 0}
    words = {"color": "white", "fontsize": 6, "textcoords": "offset points", "bbox": box}
    axes.annotate(f"{length} px", (left, up), (0, 3), **words)


def _draw_tile(axes: Axes, tile: np.ndarray, reach: float) -> None:
    axes.imshow(tile, cmap=DIVERGING, vmin=1 - reach, vmax=1 + reach)
    places = range(0, len(tile), 8)
    axes.set(xticks=places, yticks=places, title=f"mean {len(tile)} px tile")


def _explain_colours(
    wholes: Sequence[Axes], parts: Sequence[Axes], signed: bool, reach: float
) -> None:
    """A colour bar for a row of maps, and one for the row of their tiles."""
    maps, tiles = (
        ScalarMappable(**_colours(signed)),
        ScalarMappable(Normalize(1 - reach, 1 + reach), DIVERGING),
    )
    beyond = "both" if signed else "max"
    figure: Any = wholes[0].figure
    figure.colorbar(maps, ax=wholes, extend=beyond, shrink=0.8, label="sensitivity")
    around = "sensitivity /\nmean around"
    figure.colorbar(tiles, ax=parts, extend="both", shrink=0.9, label=around)


def _explain_lines(drawn: Figure, columns: int) -> None:
    lines = [
        Line2D([], [], linestyle=line, label=meaning, **_WHITE)
        for line, meaning in _MEANINGS.items()
    ]
    beneath: Any = "outside lower center"  # unknown to the stubs
    wide = columns > 2
    style = {"ncols": 3 if wide else 1, "title": (" " if wide else "\n").join(_SCALES)}
    drawn.legend(handles=lines, loc=beneath, title_fontsize=7, **style)


def _reach_of_tiles(maps: _Maps, tiles: _Maps) -> float:
    """How far colours go from 1: a map narrower than its tile has a peak there, so others count."""
    wide, narrow = [], []
    for kernels, fields in maps.items():
        for target, field in fields.items():
            tile = tiles[kernels][target]
            deviations = np.abs(tile[np.isfinite(tile)] - 1)
            (wide if _deviation(field) >= len(tile) else narrow).append(deviations)
    deviations = np.concatenate(wide or narrow)
    return float(np.percentile(deviations, _WIDEST)) if deviations.any() else 1.0


def _deviation(field: np.ndarray) -> float:
    """Root mean squared distance per axis, in px, of what a map has from its centre of mass."""
    if not field.any():
        return 0.0
    weight, (row, column) = np.abs(field), np.indices(field.shape)
    y, x = extent.center_of_mass(weight)
    squares = (row - y) ** 2 + (column - x) ** 2
    return float(np.sqrt((weight * squares).sum() / weight.sum() / 2))


def _describe(fit: Any, theory: Any) -> str:
    size = theory["size_h"]
    known = "whole image" if size == np.inf else "unknown" if pd.isna(size) else f"{size:.0f} px"
    if pd.isna(fit["r_squared"]):
        shape = "no Gaussian fits"
    elif fit["r_squared"] < LEAST_R_SQUARED:
        shape = f"no Gaussian (R² {fit['r_squared']:.3f})"
    else:
        shape = f"σ {fit['sigma_x']:.1f} × {fit['sigma_y']:.1f} px, R² {fit['r_squared']:.3f}"
    return f"theory: {known}\n{shape}"
