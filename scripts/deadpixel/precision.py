"""When a map is as precise as asked for, by its standard errors after some blocks of images."""

from collections.abc import Mapping
from typing import Any

LEAST_BLOCKS = 5  # of fewer, an error by the jackknife says little
FITTED = ("sigma_x", "sigma_y", "center_x", "center_y", "r_squared")
INDICES = ("l1", "l2")
ERRORS = {
    **{name: f"{name}_jackknife_se" for name in FITTED},
    **{name: f"{name}_se" for name in INDICES},
}
_PRECISE = ("sigma_x", "sigma_y", "l1")  # when images are enough


def is_precise(row: Mapping[str, Any], share: float) -> bool:
    """Whether the standard errors of both sigmas and of L1 are below `share` of them.

    row: of `convergence.course`. Never so of fewer than `LEAST_BLOCKS` blocks, nor where one is not
    known, as the sigmas of a map that no Gaussian fits.
    """
    known = row["n_blocks"] >= LEAST_BLOCKS
    return known and all(row[ERRORS[name]] < share * row[name] for name in _PRECISE)
