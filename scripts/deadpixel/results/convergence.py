"""How many images are enough: the course of every map with the number of its images."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..precision import ERRORS, is_precise
from .fields import LEAST_R_SQUARED
from .style import GREY, OTHERS, STYLE, WIDTH, legend_beneath

SHARE = 0.01  # of what is drawn and told
_NETWORK = ["model", "kernels"]
_DRAWN = {"sigma_x": "σx", "sigma_y": "σy", "l1": "L1"}
_MOST = 30  # percent, either way: of the first few images anything may be


def figure(courses: pd.DataFrame) -> Figure:
    """Sigma and L1 of each map, relative to those of all images, over the number of images.

    courses: rows of `schemas.CONVERGENCE` with model and kernels, of which each has a row of
    panels. Bars are standard errors. Widths of a Gaussian below `LEAST_R_SQUARED` are not drawn.
    """
    targets = [*dict.fromkeys(courses["target"])]
    networks: Any = courses.groupby(_NETWORK, sort=False)
    several = len({*courses["kernels"]}) > 1
    with mpl.rc_context(STYLE):
        size = WIDTH, 0.6 + 1.5 * len(networks)
        drawn = Figure(figsize=size, layout="constrained")
        axes = drawn.subplots(len(networks), len(targets), squeeze=False, sharex=True, sharey=True)
        for row, (network, of_network) in zip(axes, networks, strict=True):
            name = ", ".join(network if several else network[:1])
            for panel, target in zip(row, targets, strict=True):
                course = of_network[of_network["target"] == target]
                _draw(panel, course)
                panel.set_title(f"{name}, {target}" if len(course) else f"{name}: no {target}")
            row[0].set_ylabel("difference from\nall images (%)")
        for panel in axes[-1]:
            panel.set_xlabel("images")
        axes[0, 0].set(xlim=(0, None), ylim=(-_MOST, _MOST))
        legend_beneath(drawn, axes.flat)
        return drawn


def _draw(panel: Axes, course: pd.DataFrame) -> None:
    panel.axhspan(-100 * SHARE, 100 * SHARE, color=GREY, alpha=0.3, linewidth=0, label="1 %")
    for number, (name, label) in enumerate(_DRAWN.items()):
        if name == "l1" or _is_gaussian(course):
            last = course[name].iloc[-1:].to_numpy()
            values = 100 * (course[name].to_numpy() / last - 1)
            errors = 100 * course[ERRORS[name]].to_numpy() / np.abs(last)
            style: dict[str, Any] = {"color": OTHERS[number], "label": label}
            panel.errorbar(course["n_images"], values, errors, elinewidth=0.6, **style)


def _is_gaussian(course: pd.DataFrame) -> bool:
    return bool((course["r_squared"].iloc[-1:] >= LEAST_R_SQUARED).all())


def images_enough(course: pd.DataFrame, share: float) -> int | None:
    """After how many images a map is precise to `share` and stays so; None if after none.

    course: rows of `schemas.CONVERGENCE` of one map.
    """
    enough = None
    for row in course.to_dict("records"):
        if not is_precise(row, share):
            enough = None
        elif enough is None:
            enough = int(row["n_images"])
    return enough
