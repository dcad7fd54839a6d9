"""Maps as the page holds them: rounded to whole steps, deflated, as text.

A step is one of a square root, so that what is small is not lost beside a peak.
"""

import base64
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...files.maps import StoredField
from ...imbalance import mean_tile, tile_period

STEPS, ERROR_STEPS = 1023, 63  # from zero to the largest value of a map, and to its largest error
MOST_TEXT = 9_500_000  # characters of all maps of a page


def pack(values: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    """A map and its standard errors (H, W) for JSON; NaN errors are zero.

    text: two bytes of each value's steps, the high ones of all first, and one of each error's. A
    value is largest (steps / STEPS)², with the sign of its steps, which have STEPS added; so it is
    off by at most largest / STEPS, and less where it is small.
    """
    largest, largest_error = (float(np.nanmax(np.abs([*of.flat, 0]))) for of in (values, errors))
    steps = _steps(values, largest, STEPS) + STEPS
    error_steps = _steps(np.nan_to_num(errors), largest_error, ERROR_STEPS)
    planes = [steps >> 8, steps & 255, error_steps]
    packed = zlib.compress(np.stack(planes).astype(np.uint8).tobytes(), 9)
    return {
        "height": values.shape[0],
        "width": values.shape[1],
        "largest": largest,
        "largest_error": largest_error,
        "text": base64.b64encode(packed).decode(),
    }


def _steps(values: np.ndarray, largest: float, steps: int) -> np.ndarray:
    share = np.abs(values) / (largest or 1)
    return (np.sign(values) * np.rint(steps * np.sqrt(share))).astype(np.int64)


def tile(values: np.ndarray) -> dict[str, Any]:
    """The mean tile of a map (H, W), to three decimals, for JSON; what is NaN is null."""
    side = tile_period(values.shape)
    sensitivity = mean_tile(values, side)
    rounded = [None if np.isnan(one) else round(float(one), 3) for one in sensitivity.flat]
    return {"side": side, "values": rounded}


def id_of(field: StoredField) -> str:
    """What a map is of, as a name that an address can have."""
    return "/".join(field.key.values())


def fitting(fields: Iterable[StoredField]) -> tuple[dict[str, Any], list[str]]:
    """Maps for JSON by `id_of` as long as `MOST_TEXT` allows; the names of those left out."""
    found, left_out, length = {}, [], 0
    for field in fields:
        packed = pack(field.mean, field.se)
        length += len(packed["text"])
        if length > MOST_TEXT:
            left_out.append(id_of(field))
        else:
            found[id_of(field)] = {**packed, "tile": tile(field.mean)}
    return found, left_out
