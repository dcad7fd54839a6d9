"""What all figures share: their style, their colours and how they are written."""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import atomic

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "deadpixel",  # the same figure is the same file
}
DPI = 200  # of PNG files
GREY, INK = "#7a7f8c", "#1f2430"
COLOURS = {"odd": "#c0392b", "padded": "#1f6fb2", "sliced": "#2e8b57"}  # of kernels
_OTHERS = ["#8e5aa8", "#d98e04", "#0f8b8d", "#c2528b", "#6b7a1e", "#7a5c3e", "#3aa6dd", "#50555f"]


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """Colours of kinds of kernels: those of the paper have their own, others follow in order."""
    others = [kind for kind in dict.fromkeys(kinds) if kind not in COLOURS]
    return {**COLOURS, **dict(zip(others, itertools.cycle(_OTHERS), strict=False))}


def save(figure: Figure, paths: Sequence[Path | str]) -> None:
    """Write the figure to each of `paths`, its format by the suffix, atomically."""
    for path in map(Path, paths):
        bare = {"Date": None} if path.suffix == ".svg" else None
        with mpl.rc_context(STYLE), atomic.writing(path) as partial:
            figure.savefig(partial, dpi=DPI, metadata=bare)
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
    labels = [panel.get_legend_handles_labels() for panel in axes]
    handles = {label: handle for found in labels for handle, label in zip(*found, strict=True)}
    beside: Any = "outside right"  # unknown to the stubs
    figure.legend(handles.values(), handles.keys(), loc=beside, frameon=False)
