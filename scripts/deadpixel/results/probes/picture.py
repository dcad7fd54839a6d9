"""Saliency maps drawn over an image: with their checkerboard, and after each correction."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..style import SEQUENTIAL, STYLE, WIDTH
from . import networks

MAPS = {
    "none": "gradient",
    "tile": "divided by the tile of R",
    "low_pass": "low-pass",
    "smooth_strides": "smoothed at strides",
}
_MOST = 99.0  # percentile that is drawn as the strongest


def pictures(rows: pd.DataFrame) -> Figure:
    """Of each network a row: one image, and its maps over it, each on a scale of its own.

    rows: of ``picture.parquet`` of any networks, all of one image.
    """
    found = [*networks(rows)]
    with mpl.rc_context(STYLE):
        size = WIDTH, 1.75 * len(found) + 0.2
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(found), 1 + len(MAPS), squeeze=False)
        for panels, (network, pixels) in zip(axes, found, strict=True):
            image = _square(pixels, "brightness")
            for panel, name in zip(panels, ["brightness", *MAPS], strict=True):
                panel.imshow(image, cmap="gray", vmin=0, vmax=1)
                if name in MAPS:
                    strength = _square(pixels, name)
                    strength = np.clip(strength / (np.percentile(strength, _MOST) or 1), 0, 1)
                    panel.imshow(SEQUENTIAL(strength, alpha=0.25 + 0.75 * strength))
                panel.set_axis_off()
            panels[0].set_title(f"{network['model']}, {network['kernels']} kernels", loc="left")
        for panel, title in zip(axes[0, 1:], MAPS.values(), strict=True):
            panel.set_title(title)
        return figure


def _square(pixels: Any, name: str) -> np.ndarray:
    """A column by row and column of the image."""
    return pixels.pivot_table(name, "row", "col").to_numpy()
