"""How networks bear it when images move: by axis, at equal confidence, and by period."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ...probes import spectrum, stability
from ..render import KERNELS, MODEL, NUMBER, TEXT, WHOLE, Column, Table
from . import intervals, networks

STRIDES = (2, 4, 8, 16, 32)
CONFIDENCE = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # edges of bins, fixed before anyone looked
_AXIS = Column("axis", TEXT, "moved")
SHIFTS = Table(
    *(MODEL, KERNELS, _AXIS, Column("n_images", WHOLE, "images")),
    Column("reach", WHOLE, "by at most (px)"),
    *intervals.columns("confidence", "confidence, unmoved"),
    *intervals.columns("stays", "class stays"),
    *intervals.columns("pairs", "consistency of pairs"),
    *intervals.columns("always", "class stays everywhere (%)", decimals=1),
    *intervals.columns("logit_std", "logit varies by (std)", decimals=3),
)
AT_CONFIDENCE = Table(
    *(MODEL, KERNELS, _AXIS),
    Column("low", NUMBER, "confidence from", decimals=2),
    Column("high", NUMBER, "to", decimals=2),
    Column("images", WHOLE, "images"),
    Column("stays", NUMBER, "class stays"),
    Column("pairs", NUMBER, "consistency of pairs"),
    Column("always", NUMBER, "class stays everywhere"),
)
SPECTRUM = Table(
    *(MODEL, KERNELS, _AXIS, Column("period", WHOLE, "period (px)")),
    Column("n_images", WHOLE, "images"),
    *intervals.columns("share", "share of the power", decimals=3),
    Column("white", NUMBER, "of white noise"),
)


def bearing(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `SHIFTS` from those of ``shifts.parquet`` of any networks: means over images."""
    found: list[dict[str, Any]] = []
    for network, of_network in networks(rows):
        borne: Any = stability.stability(of_network).groupby("axis", sort=False)
        for axis, images in borne:
            means = ("confidence", "stays", "pairs", "logit_std")
            found.append(
                {
                    **{**network, "axis": axis, "n_images": len(images)},
                    "reach": int(of_network["offset"].max()),
                    **{k: v for name in means for k, v in _mean(images, name).items()},
                    **intervals.of_share("always", images["always"]),
                }
            )
    return pd.DataFrame(found, columns=SHIFTS.names)


def _mean(images: Any, name: str) -> dict[str, float]:
    return intervals.of_mean(name, images[name].to_numpy())


def at_equal_confidence(rows: pd.DataFrame, edges: Sequence[float] = CONFIDENCE) -> pd.DataFrame:
    """Rows of `AT_CONFIDENCE`: networks that are more accurate are more consistent, too."""
    found: list[Any] = []
    for network, of_network in networks(rows):
        binned: Any = stability.at_equal_confidence(stability.stability(of_network), edges)
        found.append(binned[binned["images"] > 0].assign(**network))
    return pd.concat(found).reindex(columns=AT_CONFIDENCE.names)


def periods(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `SPECTRUM`: which share of how a logit varies repeats with each stride's period.

    Beside it what logits that vary at random would have there.
    """
    found: list[dict[str, Any]] = []
    for network, of_network in networks(rows):
        for axis in stability.AXES:
            signals = spectrum.curves(of_network, axis)
            length = signals.shape[1]
            white = spectrum.shares(spectrum.white(length), length, STRIDES)
            shares = spectrum.shares(spectrum.power(signals), length, STRIDES)
            for period, of_images in shares.items():
                row = network | {"axis": axis, "period": period}
                row |= {"n_images": len(signals), **intervals.of_mean("share", of_images)}
                found.append(row | {"white": float(white[period])})
    return pd.DataFrame(found, columns=SPECTRUM.names)
