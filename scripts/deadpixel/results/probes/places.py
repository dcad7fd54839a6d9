"""What the same change does on strong and on weak pixels: Eqs. 11 and 12, and blanked pixels."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ...probes.places import DISTURBED, GROUPS
from ..render import KERNELS, MODEL, NUMBER, TEXT, WHOLE, Column, Table
from . import intervals, networks

KINDS = {DISTURBED: "added to a colour", "mean": "set to the mean", "black": "set to black"}
PLACES = Table(
    *(MODEL, KERNELS),
    Column("kind", TEXT, "change", in_words=lambda row: KINDS[row["kind"]]),
    Column("size", NUMBER, "size (std)", decimals=2),
    Column("side", WHOLE, "side (px)"),
    *(Column("n_images", WHOLE, "images"), Column("n_places", WHOLE, "places")),
    *intervals.columns("ratio", "strong over weak"),
    Column("expected", NUMBER, "the same of R", decimals=2),
    *intervals.columns("rank", "rank correlation with R"),
    *intervals.columns("slope", "slope on size × R"),
    Column("bend", NUMBER, "off the line", decimals=2),
    *intervals.columns("drop", "logit falls by", decimals=3),
    *intervals.columns("flipped_strong", "class flips, strong (%)", decimals=1),
    *intervals.columns("flipped_weak", "class flips, weak (%)", decimals=1),
)
_CHANGE = ["kind", "size", "side"]


def answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `PLACES` from those of ``places.parquet`` of any networks.

    Strong and weak places are the tenths of the phases that other images are most and least
    sensitive at. ratio: of the mean sizes of the logit's change there, the geometric mean over
    images; expected: of R of the probed images over these tenths, which selection does not raise.
    rank: of the size of a change with R of other images, slope: of the change on size times that R,
    both over an image's places, then their means over images. bend: how far changes are from those
    of the smallest size in proportion, as a share of these (root mean squares). Flips are over
    places of all images.
    """
    rows = rows.assign(size=rows["size"].abs(), signed=rows["size"])
    found = []
    for network, of_network in networks(rows):
        of_size = of_network[of_network["kind"] == DISTURBED]
        least = of_size[of_size["size"] == of_size["size"].min()]
        for change, same in of_network.groupby(_CHANGE, sort=False, dropna=False):
            row = network | dict(zip(_CHANGE, change, strict=True))
            found.append(row | _answer(same, least))
    return pd.DataFrame(found, columns=PLACES.names)


def _answer(same: Any, least: Any) -> dict[str, Any]:
    """Of one change to all places of all images; least: of the smallest disturbance."""
    images = [*same.groupby("image", sort=False)]
    strong, weak = (same[same["group"] == group] for group in (GROUPS - 1, 0))
    sizes = [of.groupby("image", sort=False)["change"].agg(_mean_size) for of in (strong, weak)]
    disturbed = same["kind"].iloc[0] == DISTURBED
    slopes = [_slope(of_image) for _, of_image in images] if disturbed else []
    return {
        "n_images": len(images),
        "n_places": len(same.drop_duplicates(["image", "row", "col"])),
        **intervals.of_ratio("ratio", sizes[0].to_numpy(), sizes[1].to_numpy()),
        "expected": strong["own_sensitivity"].mean() / weak["own_sensitivity"].mean(),
        **intervals.of_mean("rank", np.array([_rank(of_image) for _, of_image in images])),
        **intervals.of_mean("slope", np.array(slopes)),
        "bend": _bend(same, least) if disturbed else np.nan,
        **intervals.of_mean("drop", np.array([-one["change"].mean() for _, one in images])),
        **intervals.of_share("flipped_strong", strong["flipped"]),
        **intervals.of_share("flipped_weak", weak["flipped"]),
    }


def _mean_size(changes: Any) -> float:
    return float(changes.abs().mean())


def _rank(of_image: Any) -> float:
    sizes, field = of_image["change"].abs(), of_image["field"]
    if min(sizes.nunique(), field.nunique()) < 2:
        return np.nan
    found: Any = spearmanr(sizes, field)
    return float(found.statistic)


def _slope(of_image: Any) -> float:
    """Least squares, through zero."""
    x = of_image["signed"] * of_image["field"]
    return float((x * of_image["change"]).sum() / (x**2).sum()) if x.any() else np.nan


def _bend(same: Any, least: Any) -> float:
    key = ["image", "row", "col", "colour", "sign"]
    both = [of.assign(sign=np.sign(of["signed"])) for of in (same, least)]
    paired = both[0].merge(both[1], on=key, suffixes=("", "_least"))
    straight = paired["change_least"] * paired["size"] / paired["size_least"]
    whole = (straight**2).sum()
    return float(np.sqrt(((paired["change"] - straight) ** 2).sum() / whole)) if whole else np.nan
