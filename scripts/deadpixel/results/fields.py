"""Every map of the experiments in one table, and their mean tiles."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .. import extent, imbalance
from .render import KERNELS, MODEL, NOTHING, NUMBER, TEXT, WHOLE, Column, Row, Table

# A Gaussian that explains less of a map's variance has no widths worth printing or correlating.
LEAST_R_SQUARED = 0.5


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
