"""What kinds of kernels are called where only some operations of a network could be changed.

trf: rows with the columns model, kernels, changed and left_odd of `schemas.TRF`.
"""

import pandas as pd

from .pairs import ALL_MODELS


def label(kernels: str, changed: float, left_odd: float) -> str:
    """``padded`` where nothing stays odd, or nothing was to become even; ``padded (1 of 5)``."""
    if not changed or not left_odd:
        return kernels
    return f"{kernels} ({changed:.0f} of {changed + left_odd:.0f})"


def labelled(frame: pd.DataFrame, trf: pd.DataFrame) -> pd.DataFrame:
    """A table as it is read: its kernels by their labels. The row of all networks has one too."""
    labels = _in_part(trf)
    labels |= {(ALL_MODELS, kernels): f"{kernels} (some in part)" for _, kernels in labels}
    keys = zip(frame["model"], frame["kernels"], strict=True)
    return frame.assign(kernels=[labels.get(key, key[1]) for key in keys])


def titles(trf: pd.DataFrame) -> dict[str, str]:
    """For figures: names of networks that were changed in part, with the labels below them."""
    found: dict[str, str] = {}
    for (model, _), text in _in_part(trf).items():
        found[model] = f"{found.get(model, model)}\n{text}"
    return found


def _in_part(trf: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Labels by model and kernels, of those that are not simply called by their kernels."""
    rows = trf.drop_duplicates(["model", "kernels"])[["model", "kernels", "changed", "left_odd"]]
    labels = {(m, k): label(k, *counts) for m, k, *counts in rows.itertuples(index=False)}
    return {key: text for key, text in labels.items() if text != key[1]}
