"""Whether one-pixel attacks do better on strong pixels than on weak ones."""

from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..render import KERNELS, MODEL, NUMBER, TEXT, WHOLE, Column, Table, p_value
from . import intervals, networks

PLACES = {"anywhere": "anywhere", "strong": "strong ones", "weak": "weak ones"}
ATTACKS = Table(
    *(MODEL, KERNELS),
    Column("places", TEXT, "pixels", in_words=lambda row: PLACES[row["places"]]),
    Column("n_images", WHOLE, "images"),
    *intervals.columns("succeeded", "succeeded (%)", decimals=1),
    Column("queries", NUMBER, "queries, median", decimals=0),
    *intervals.columns("fall", "probability falls by", decimals=3),
    Column("only_here", WHOLE, "only here"),
    Column("only_weak", WHOLE, "only on weak ones"),
    p_value("mcnemar_p", "p (McNemar)"),
)


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `ATTACKS` from those of ``attacks.parquet`` of any networks.

    queries: over all attacks, those without success with all that they took. Each set of places is
    compared with the weak ones, image by image.
    """
    found: list[dict[str, Any]] = []
    for network, of_network in networks(rows):
        by = {
            places: of.set_index("image").sort_index()
            for places, of in of_network.groupby("places")
        }
        weak = by["weak"]["succeeded"].to_numpy()
        for places, attacks in by.items():
            test = stats.mcnemar(attacks["succeeded"].to_numpy(), weak)
            against = {"only_here": test.only_before, "only_weak": test.only_after}
            row = network | {"places": places, "n_images": len(attacks)}
            row |= intervals.of_share("succeeded", attacks["succeeded"])
            row |= {"queries": float(np.median(attacks["queries"]))}
            row |= intervals.of_mean("fall", (attacks["before"] - attacks["after"]).to_numpy())
            found.append(row if places == "weak" else row | against | {"mcnemar_p": test.p_value})
    table = pd.DataFrame(found, columns=ATTACKS.names)
    return table.astype({"only_here": "Int32", "only_weak": "Int32"})
