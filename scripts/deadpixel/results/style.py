"""What all figures share: their style, their colours and how they are written."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..files import atomic

WIDTH = 7.48  # inches: the 190 mm of a page with two columns
_LEGEND = 1.6  # inches beside panels
GREY, INK = "#7a7f8c", "#1f2430"
# Of kinds of kernels. Okabe and Ito's colours, then Tol's: told apart by the colour-blind, too.
COLOURS = {"odd": "#d55e00", "padded": "#0072b2", "sliced": "#009e73"}
OTHERS = ["#aa4499", "#e69f00", "#56b4e9", "#882255", "#999933", "#332288", "#7a5c3e", "#50555f"]
SEQUENTIAL = mpl.colormaps["magma"].with_extremes(bad=GREY)
# Violet below, orange above: in Oklab two straight lines from one white, so that equal steps look
# equal (Ottosson, A perceptual color space for image processing, 2020).
DIVERGING = LinearSegmentedColormap.from_list(
    "violet to orange",
    [
        *("#7147b3", "#8f74c6", "#b09fd8", "#d3cbe8", "#f7f7f7"),
        *("#e5c9bc", "#d19c83", "#bb704a", "#a24100"),
    ],
).with_extremes(bad=GREY)
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # which Matplotlib brings: figures are the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=[*COLOURS.values(), *OTHERS]),
    "figure.titlesize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "deadpixel",  # the same figure is the same file
}
DPI = 200  # of PNG files
_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """Colours of kinds of kernels: those of the paper have their own, others follow in order."""
    others = [kind for kind in dict.fromkeys(kinds) if kind not in COLOURS]
    return {**COLOURS, **dict(zip(others, itertools.cycle(OTHERS), strict=False))}


def ink_on(value: float) -> str:
    """Colour of text on `SEQUENTIAL` at `value`, from 0 to 1."""
    return "white" if value < 0.65 else INK


def panels(count: int, width: float, height: float, each: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure of `count` columns of `each` panels, in as many rows as a page's width needs.

    width, height: of a panel, inches. The panels are (count, each), and share y among the columns.
    At the right there is room for `legend_beside`.
    """
    columns = min(count, int((WIDTH - _LEGEND) / width))
    rows = math.ceil(count / columns)
    size = columns * width + _LEGEND, rows * each * height
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows * each, columns, squeeze=False)
    found = axes.reshape(rows, each, columns).swapaxes(1, 2).reshape(-1, each)
    for unused in found[count:].flat:
        unused.remove()
    for number, column in enumerate(found[1:count], start=1):
        for panel, first in zip(column, found[0], strict=True):
            panel.sharey(first)
            panel.tick_params(labelleft=number % columns == 0)
    return figure, found[:count]


def save(figure: Figure, paths: Sequence[Path | str]) -> None:
    """Write the figure to each of `paths`, its format by the suffix, atomically.

    Maps keep their own pixels in vector formats; in others they are resampled, without moiré.
    """
    for path in map(Path, paths):
        vector = path.suffix in _UNDATED
        for image in figure.findobj(AxesImage):
            image.set_interpolation("none" if vector else "auto")
        with mpl.rc_context(STYLE), atomic.writing(path) as partial:
            figure.savefig(partial, dpi=DPI, metadata=_UNDATED.get(path.suffix))
            figure.set_layout_engine("none")  # solved by the first: the same in all of them
            if path.suffix == ".svg":
                partial.write_text(_numbered(partial.read_text()))


def _numbered(svg: str) -> str:
    """With clips and markers named in their order: Matplotlib names them by a hash of sizes, of
    which a solved layout leaves the last bits to chance."""
    numbers: dict[str, str] = {}
    names = re.compile(r"""(?<=["#])[a-zA-Z][0-9a-f]{10}(?=["')])""")
    return names.sub(lambda name: numbers.setdefault(name[0], f"id{len(numbers)}"), svg)


def legend_beside(figure: Figure, axes: Iterable[Axes]) -> None:
    """Each label once, whichever panels have it."""
    _legend(figure, axes, "outside right", 1)


def legend_beneath(figure: Figure, axes: Iterable[Axes]) -> None:
    """Each label once, whichever panels have it, in a line."""
    _legend(figure, axes, "outside lower center", 4)


def _legend(figure: Figure, axes: Iterable[Axes], where: Any, columns: int) -> None:
    labels = [panel.get_legend_handles_labels() for panel in axes]
    handles = {label: handle for found in labels for handle, label in zip(*found, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc=where, ncols=columns)
