"""Which saliency maps have a checkerboard, and what takes it out without moving them."""

from typing import Any

import pandas as pd

from ...probes.corrections import CORRECTIONS
from ..render import KERNELS, MODEL, NUMBER, TEXT, WHOLE, Column, Table
from . import intervals

SALIENCY = Table(
    *(MODEL, KERNELS),
    Column("saliency", TEXT, "map", in_words=lambda row: row["saliency"].replace("_", " ")),
    Column(
        "correction",
        TEXT,
        "correction",
        in_words=lambda row: CORRECTIONS[row["correction"]].title,
    ),
    Column("n_images", WHOLE, "images"),
    Column("contrast", NUMBER, "tile contrast"),
    Column("contrast_se", NUMBER, "± (contrast)"),
    *intervals.columns("agreement", "points where the plain one does (ρ)"),
    *intervals.columns("insertion", "insertion"),
    *intervals.columns("deletion", "deletion"),
)


def compared(images: pd.DataFrame, contrasts: Any) -> pd.DataFrame:
    """Rows of `SALIENCY` from those of ``saliency.parquet`` and ``contrasts.parquet``.

    contrast: without noise, of the mean tile of the mean map. Areas under the curves of insertion
    (high where a map points at what the network uses) and deletion (low there): means over images.
    """
    key = ["model", "kernels", "saliency", "correction"]
    found: list[dict[str, Any]] = []
    groups: Any = images.groupby(key, sort=False)
    for name, of_map in groups:
        row: dict[str, Any] = dict(zip(key, name, strict=True)) | {"n_images": len(of_map)}
        for measure in ("agreement", "insertion", "deletion"):
            row |= intervals.of_mean(measure, of_map[measure].to_numpy())
        found.append(row)
    unbiased = {"contrast": "contrast_unbiased", "contrast_se": "contrast_unbiased_se"}
    measured = contrasts[key].assign(**{name: contrasts[of] for name, of in unbiased.items()})
    return pd.DataFrame(found).merge(measured, on=key).reindex(columns=SALIENCY.names)
