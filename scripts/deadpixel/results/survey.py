"""Which networks see how unevenly: the survey's table, and a figure of all, ranked."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..surgery.kinds import ODD
from .render import KERNELS, NUMBER, TEXT, Column, Table
from .style import GREY, SEQUENTIAL, STYLE, WIDTH, colours, legend_beneath

SURVEY = Table(
    Column("network", TEXT, "network"),
    KERNELS,
    Column("contrast", NUMBER, "contrast"),
    Column("weakest_share", NUMBER, "under half of the mean"),
    Column("ratio", NUMBER, "strongest / weakest", decimals=2),
    Column("asymmetry_y", NUMBER, "asymmetry y"),
    Column("asymmetry_x", NUMBER, "asymmetry x"),
    Column("operation", TEXT, "most uneven operation"),
    Column("contrast_without", NUMBER, "contrast without"),
    Column("own_side", NUMBER, "own images (px)", decimals=0),
    Column("own_asymmetry", NUMBER, "asymmetry y of these"),
    Column("even_side", NUMBER, "even from (px)", decimals=0),
    Column("even_step", NUMBER, "every (px)", decimals=0),
    Column("reason", TEXT, "not known"),
)
_TILES = 8  # of the most uneven networks, beside the bars
_ROW, _LEAST, _ALONE = 0.115, 2.4, 1.2  # inches


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `SURVEY`, networks by their contrast with odd kernels, the most uneven first.

    Those without numbers come last.
    """
    of_odd: Any = rows[rows["kernels"] == ODD].set_index("network")["contrast"]
    keyed = rows.assign(rank=rows["network"].map(of_odd))
    order: Any = keyed.sort_values("rank", ascending=False, na_position="last", kind="stable")
    return order[SURVEY.names].reset_index(drop=True)


def figure(table: pd.DataFrame, tiles: pd.DataFrame) -> Figure:
    """Contrast of each network by kinds of kernels, and the tiles of the most uneven ones.

    table: of `ranked`. tiles: rows of `schemas.SURVEY_TILES`.
    """
    known = table.dropna(subset=["contrast"])
    networks = [*dict.fromkeys(known["network"])]
    height = max(_LEAST, 1.1 + _ROW * len(networks))
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(WIDTH, height), layout="constrained")
        parts: Any = drawn.subfigures(1, 2, width_ratios=[5, 1])
        dots = parts[0].subplots()
        _dots(dots, known, networks)
        legend_beneath(parts[0], [dots])
        shown = max(1, min(_TILES, len(networks)))
        columns = parts[1].subplots(shown, 1, squeeze=False)[:, 0]
        for axes in columns:
            axes.set_axis_off()
        of_odd: Any = tiles[tiles["kernels"] == ODD]
        for axes, network in zip(columns, networks, strict=False):
            _tile(axes, of_odd[of_odd["network"] == network], network)
    return drawn


def pictures(tiles: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """The tile of each network with odd kernels, alone, and the name of a file for it.

    tiles: rows of `schemas.SURVEY_TILES`. In names all but letters, digits and - . _ is as in a
    web address, so that no two networks have the same one.
    """
    of_odd: Any = tiles[tiles["kernels"] == ODD]
    for network, rows in of_odd.groupby("network", sort=False):
        with mpl.rc_context(STYLE):
            drawn = Figure(figsize=(_ALONE, _ALONE + 0.15), layout="constrained")
            axes = drawn.subplots()
            axes.set_axis_off()
            _tile(axes, rows, network)
        yield quote(network, safe=""), drawn


def _dots(axes: Axes, known: pd.DataFrame, networks: list[str]) -> None:
    place = {network: number for number, network in enumerate(networks)}
    for kind, colour in colours(known["kernels"]).items():
        rows: Any = known[known["kernels"] == kind]
        if len(rows):
            axes.plot(
                rows["contrast"], rows["network"].map(place), "o", ms=2.5, c=colour, label=kind
            )
    axes.set_yticks([*place.values()], [*place], fontsize=5.5)
    axes.set_ylim(len(networks) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("contrast of the tile, expected of random weights")
    axes.grid(axis="y", color=GREY, alpha=0.25, lw=0.4)


def _tile(axes: Axes, rows: pd.DataFrame, network: str) -> None:
    pixels = rows.pivot_table(index="row", columns="col", values="sensitivity")
    axes.imshow(pixels, cmap=SEQUENTIAL, vmin=0, vmax=2)
    axes.set_title(network, fontsize=5.5, pad=2)
