"""Every map of the experiments: a table of them all, and the maps of a network with their tiles."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from .. import extent, imbalance
from . import arms
from .render import KERNELS, MODEL, NOTHING, NUMBER, TEXT, WHOLE, Column, Row, Table
from .style import STYLE

# A Gaussian that explains less of a map's variance has no widths worth printing or correlating.
LEAST_R_SQUARED = 0.5
COLOURS, SIGNED_COLOURS, TILE_COLOURS = "magma", "RdBu_r", "PuOr_r"
BRIGHTEST = 99.8  # percentile of the map at which the colour scale ends
_Maps = Mapping[str, Mapping[str, np.ndarray]]


def _no_gaussian(row: Row) -> str | None:
    return NOTHING if row["r_squared"] < LEAST_R_SQUARED else None


def _no_gaussian_because(row: Row) -> str | None:
    return _no_gaussian(row) and f"no Gaussian (R² {row['r_squared']:.3f})"


N_IMAGES = Column("n_images", WHOLE, "images")
TRF = Column("trf", NUMBER, "TRF (px)", decimals=0)
FIT = (
    Column("sigma_x", NUMBER, "σx (px)", in_words=_no_gaussian_because),
    Column("sigma_y", NUMBER, "σy (px)", in_words=_no_gaussian),
    Column("r_squared", NUMBER, "R²"),
)


def _imbalance_columns(name: str, metric: imbalance.Metric) -> list[Column]:
    of, decimals = metric.header, metric.decimals
    index, floor = (of, f"{of} noise floor") if metric.in_paper else (None, None)
    return [
        Column(f"{name}_unbiased", NUMBER, f"{of} unbiased", decimals),
        Column(f"{name}_unbiased_se", NUMBER, f"{of} ± se", decimals),
        Column(name, NUMBER, index, decimals),
        Column(f"{name}_floor", NUMBER, floor, decimals),
    ]


def _extent_columns(name: str, metric: extent.Metric) -> list[Column]:
    return [
        Column(name, NUMBER, metric.header, metric.decimals),
        Column(f"{name}_se", NUMBER, header=None),
    ]


FIELDS = Table(
    Column("dataset", TEXT, "data set"),
    MODEL,
    Column("weights", TEXT, "weights"),
    KERNELS,
    Column("target", TEXT, "target"),
    N_IMAGES,
    Column("center_x", NUMBER, "centre x (px)", 1, in_words=_no_gaussian),
    Column("center_y", NUMBER, "centre y (px)", 1, in_words=_no_gaussian),
    *FIT[:2],
    Column("sigma_x_se", NUMBER, header=None),
    Column("sigma_y_se", NUMBER, header=None),
    *FIT[2:],
    Column("trf_h", NUMBER, "TRF (px)", decimals=0),
    Column("trf_w", NUMBER, header=None),
    Column("offset_y", NUMBER, "TRF offset (px)", decimals=1),
    Column("offset_x", NUMBER, header=None),
    *(column for item in imbalance.METRICS.items() for column in _imbalance_columns(*item)),
    *(column for item in extent.METRICS.items() for column in _extent_columns(*item)),
)
_THEORY = {"size_h": "trf_h", "size_w": "trf_w", "offset_h": "offset_y", "offset_w": "offset_x"}


def receptive_fields(
    fits: pd.DataFrame, trf: pd.DataFrame, imbalances: pd.DataFrame, extents: pd.DataFrame
) -> pd.DataFrame:
    """Theoretical field, Gaussian fit, imbalance and extent of every map, one row each."""
    found = joined(fits, trf.rename(columns=_THEORY), imbalances, extents)
    return found[FIELDS.names]  # pyright: ignore[reportReturnType]


def joined(
    fits: pd.DataFrame, trf: pd.DataFrame, imbalances: pd.DataFrame, extents: pd.DataFrame
) -> pd.DataFrame:
    """All columns of the four, one row for each map that was fitted."""
    key = ["dataset", "model", "weights", "kernels", "target"]
    found = fits.merge(trf, "left", ["model", "kernels", "target"])
    for measured in (imbalances, extents):
        found = found.merge(measured.drop(columns="n_images"), "left", key)
    return found


TARGETS = Table(
    MODEL,
    Column("target", TEXT, "target"),
    Column("reading", TEXT, "as models.NAME.targets has it"),
    Column("stride_h", NUMBER, "stride (px)", decimals=0),
    Column("stride_w", NUMBER, header=None),
    Column("size_h", NUMBER, "TRF (px)", decimals=0),
    Column("size_w", NUMBER, header=None),
    Column("kind", TEXT, "which is"),
    Column("reason", TEXT, "because"),
)


def targets(trf: pd.DataFrame) -> pd.DataFrame:
    """Which module of each network is which target, and how it is read: one row each."""
    return trf.query("kernels == 'odd'").reindex(columns=TARGETS.names)


def lacking(networks: Iterable[str], target: str, table: pd.DataFrame) -> list[str]:
    """A sentence for readers about the networks of which a table has no row."""
    missing = [network for network in networks if network not in set(table["model"])]
    return [f"Without {target}, and so not here: {', '.join(missing)}."] if missing else []


def poor_fits(table: pd.DataFrame) -> list[str]:
    """A sentence for readers where a Gaussian explains too little to have a width."""
    if table[table["r_squared"] < LEAST_R_SQUARED].empty:
        return []
    return [
        f"No Gaussian: below R² = {LEAST_R_SQUARED} its widths describe nothing and are not "
        "printed; the Parquet file has them."
    ]


def tiles_of(rows: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Mean tiles (period, period) by kernels and target, of rows of `schemas.TILES`."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for (kernels, target), tile in rows.groupby(["kernels", "target"]):  # pyright: ignore[reportGeneralTypeIssues]
        places = tile.set_index(["row", "col"])["sensitivity"]
        found.setdefault(kernels, {})[target] = places.unstack().to_numpy()  # noqa: PD010, NaN stays
    return found


def erf_maps(
    maps: _Maps, tiles: _Maps, fits: pd.DataFrame, trf: pd.DataFrame, title: str
) -> Figure:
    """Effective receptive fields of one network as in Fig. 1, and their mean tiles.

    maps: R (H, W) by kernels and target; each kind of kernels has a row of maps and one of tiles,
    (period, period) likewise. fits and trf: this network's rows, indexed by kernels and target.
    Dashed: the theoretical field of the central feature; ellipse: one sigma of the fitted Gaussian,
    where one fits.
    """
    with mpl.rc_context(STYLE):
        columns = max(len(fields) for fields in maps.values())
        figure = Figure(figsize=(3.3 * columns, 6.6 * len(maps)), layout="compressed")
        axes = figure.subplots(2 * len(maps), columns, squeeze=False)
        reach = _reach_of_tiles(maps, tiles)
        scale = {"cmap": TILE_COLOURS, "vmin": 1 - reach, "vmax": 1 + reach}
        for row, (kernels, fields) in enumerate(maps.items()):
            for column, (target, field) in enumerate(fields.items()):
                panel, below = axes[2 * row, column], axes[2 * row + 1, column]
                fit, theory = fits.loc[(kernels, target)], trf.loc[(kernels, target)]
                _draw_map(panel, field, fit, theory)
                heading = target
                if len(maps) > 1:
                    called = arms.label(kernels, *theory[["changed", "left_odd"]])
                    heading = f"{target}, {called} kernels"
                panel.set_title(f"{heading}\n{_describe(fit, theory)}")
                tile = tiles[kernels][target]
                image = below.imshow(tile, **scale)
                below.set_title(f"mean {len(tile)} x {len(tile)} px tile")
            ratio = "sensitivity / mean around"
            beyond = any((tile > 1 + reach).any() for tile in tiles[kernels].values())
            style = {"label": ratio, "shrink": 0.8, "extend": "both" if beyond else "neither"}
            figure.colorbar(image, ax=axes[2 * row + 1], **style)
        figure.suptitle(title)
        return figure


def _reach_of_tiles(maps: _Maps, tiles: _Maps) -> float:
    """How far tiles go from 1: a map narrower than its tile has a peak there, so others count."""
    wide, narrow = [], []
    for kernels, fields in maps.items():
        for target, field in fields.items():
            tile = tiles[kernels][target]
            reach = np.abs(np.nan_to_num(tile - 1)).max()
            (wide if _deviation(field) >= len(tile) else narrow).append(reach)
    return max(wide or narrow)


def _deviation(field: np.ndarray) -> float:
    """Root mean squared distance per axis, in px, of what a map has from its centre of mass."""
    if not field.any():
        return 0.0
    weight, (row, column) = np.abs(field), np.indices(field.shape)
    y, x = extent.center_of_mass(weight)
    squares = (row - y) ** 2 + (column - x) ** 2
    return float(np.sqrt((weight * squares).sum() / weight.sum() / 2))


def colouring(field: np.ndarray) -> dict[str, Any]:
    """Colours of a map (H, W) and their limits, for Matplotlib: of both signs where it has both."""
    brightest = float(np.percentile(np.abs(field), BRIGHTEST))
    if (field < 0).any():
        return {"cmap": SIGNED_COLOURS, "vmin": -brightest, "vmax": brightest}
    return {"cmap": COLOURS, "vmin": 0.0, "vmax": brightest}


def _draw_map(axes: Axes, field: np.ndarray, fit: Any, theory: Any) -> None:
    axes.imshow(field, **colouring(field))
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


def _describe(fit: Any, theory: Any) -> str:
    size = theory["size_h"]
    known = "TRF ∞" if size == np.inf else "TRF unknown" if pd.isna(size) else f"TRF {size:.0f} px"
    if pd.isna(fit["r_squared"]):
        return f"{known}, no Gaussian fits"
    if fit["r_squared"] < LEAST_R_SQUARED:
        return f"{known}, no Gaussian (R² {fit['r_squared']:.3f})"
    return f"{known}, σ {fit['sigma_x']:.1f} x {fit['sigma_y']:.1f} px, R² {fit['r_squared']:.3f}"
