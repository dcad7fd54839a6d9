"""How much of its logits a network has of the fixed linear model: Eqs. 6 to 10."""

from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..render import KERNELS, MODEL, NUMBER, TEXT, WHOLE, Column, Table, p_value
from . import intervals, networks

BY = {
    "by_gradient": "the image's own gradient",
    "by_field": "R",
    "by_signed": "the mean gradient with its sign",
}
LINEAR = Table(
    *(MODEL, KERNELS),
    Column("by", TEXT, "weights", in_words=lambda row: BY[row["by"]]),
    Column("n_images", WHOLE, "images"),
    Column("r_squared", NUMBER, "R² of Eq. 10"),
    *intervals.columns("correlation", "correlation"),
    Column("spearman", NUMBER, "Spearman's ρ", decimals=2),
    p_value("spearman_p", "p (ρ)"),
)


def explained(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `LINEAR` from those of ``logits.parquet`` of any networks.

    r_squared takes the weights as they are, and for the rest its mean over the other images; the
    correlations allow for any slope and constant.
    """
    found: list[dict[str, Any]] = []
    for network, of_network in networks(rows):
        others, probed = (of_network[of_network["reference"] == which] for which in (True, False))
        rest = float((others["logit"] - others["by_gradient"]).mean())
        logit = probed["logit"].to_numpy()
        for by in BY:
            guess = probed[by].to_numpy()
            ranks = stats.spearman(guess, logit)
            found.append(
                {
                    **{**network, "by": by, "n_images": len(probed)},
                    "r_squared": r_squared(logit, rest, guess),
                    **intervals.of_correlation("correlation", guess, logit),
                    **{"spearman": ranks.statistic, "spearman_p": ranks.p_value},
                }
            )
    return pd.DataFrame(found, columns=LINEAR.names)


def r_squared(logit: np.ndarray, rest: float, predicted: np.ndarray) -> float:
    """R2 of `predicted` (N,) plus a constant `rest` for `logit` (N,): of Eq. 10.

    Below 0 where the mean logit would have been the better guess; NaN of logits that are equal.
    """
    logit, error = np.asarray(logit), np.asarray(logit) - np.asarray(predicted) - rest
    spread = float(((logit - logit.mean()) ** 2).sum())
    return 1 - float((error**2).sum()) / spread if spread else np.nan
