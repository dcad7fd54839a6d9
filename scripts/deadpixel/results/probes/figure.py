"""The figure of all probes: each of them with every kind of kernels beside each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...probes.corrections import CORRECTIONS
from ...probes.places import DISTURBED
from ..style import GREY, STYLE, WIDTH, colours, legend_beneath

Tables = Mapping[str, Any]
_BY = {"by_gradient": "own\ngradient", "by_field": "R", "by_signed": "signed\nmean"}
_95 = 1.96  # standard errors of a mean
_APART = 0.16  # of kinds of kernels, where one place is 1


def figure(tables: Tables) -> Figure:
    """Of each network two rows of panels, from its tables by name: `linear`, `places` and so on."""
    models = [*tables["linear"]["model"].unique()]
    colour_of = colours(tables["linear"]["kernels"])
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(WIDTH, 4.4 * len(models) + 0.3), layout="constrained")
        parts: Any = drawn.subfigures(len(models), squeeze=False)
        for part, model in zip(parts[:, 0], models, strict=True):
            part.suptitle(model)
            for panel, draw in zip(part.subplots(2, 3).flat, _PANELS, strict=True):
                draw(panel, {n: t[t["model"] == model] for n, t in tables.items()}, colour_of)
        legend_beneath(drawn, [axes for part in parts[:, 0] for axes in part.axes])
        return drawn


def _compare(
    panel: Axes,
    table: Any,
    by: str,
    labels: Mapping[Any, str],
    value: str,
    colour_of: Mapping[str, str],
) -> None:
    """A point with its interval for each kind of kernels, at each value of column `by`."""
    kinds = [*table["kernels"].unique()]
    for number, kernels in enumerate(kinds):
        own = table[table["kernels"] == kernels].set_index(by).reindex([*labels])
        middle, low, high = (own[f"{value}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        reach = np.nan_to_num(np.stack([middle - low, high - middle]).clip(min=0))
        places = np.arange(len(labels)) + _APART * (number - (len(kinds) - 1) / 2)
        style: Any = {"fmt": "o", "markersize": 3, "capsize": 0, "linewidth": 1}
        label = f"{kernels} kernels, 95 %"
        panel.errorbar(places, middle, reach, color=colour_of[kernels], label=label, **style)
    panel.set_xticks(range(len(labels)), [*labels.values()])
    panel.set_xlim(-0.5, len(labels) - 0.5)


def _line(panel: Axes, at: float) -> None:
    panel.axhline(at, color=GREY, linewidth=0.8, linestyle=":")


def _linear(panel: Axes, tables: Tables, colour_of: Mapping[str, str]) -> None:
    _compare(panel, tables["linear"], "by", _BY, "correlation", colour_of)
    _line(panel, 0)
    panel.set(title="the fixed linear model", ylabel="correlation with the logit")


def _places(panel: Axes, tables: Tables, colour_of: Mapping[str, str]) -> None:
    table = tables["places"][tables["places"]["kind"] == DISTURBED]
    labels = {size: f"{size:g}" for size in sorted(table["size"].unique())}
    _compare(panel, table, "size", labels, "ratio", colour_of)
    for kernels, own in table.groupby("kernels", sort=False):
        style: Any = {"color": colour_of[str(kernels)], "linestyle": "--", "linewidth": 0.8}
        panel.axhline(own["expected"].iloc[0], label=f"{kernels} kernels, by R", **style)
    _line(panel, 1)
    panel.set(title="one colour disturbed", xlabel="by (std)", ylabel="strong over weak pixels")


def _blanked(panel: Axes, tables: Tables, colour_of: Mapping[str, str]) -> None:
    table = tables["places"][tables["places"]["kind"] != DISTURBED]
    table = table.assign(done=table["kind"] + table["side"].astype(str))
    labels = {row["done"]: f"{row['kind']}\n{row['side']} px" for row in table.to_dict("records")}
    _compare(panel, table, "done", labels, "ratio", colour_of)
    _line(panel, 1)
    panel.set(title="squares replaced", ylabel="strong over weak pixels")


def _periods(panel: Axes, tables: Tables, colour_of: Mapping[str, str]) -> None:
    table = tables["spectrum"]
    columns = ["share", "share_low", "share_high", "white"]
    table = table.groupby(["kernels", "period"], sort=False)[columns].mean().reset_index()
    labels = {period: str(period) for period in sorted(table["period"].unique())}
    _compare(panel, table, "period", labels, "share", colour_of)
    white = table.drop_duplicates("period").set_index("period")["white"].reindex([*labels])
    style: Any = {"color": GREY, "marker": "_", "linestyle": "none", "markersize": 12}
    panel.plot(range(len(labels)), white, label="of white noise", **style)
    panel.set(title="moved images", xlabel="period (px)", ylabel="share of the logit's power")


def _attacks(panel: Axes, tables: Tables, colour_of: Mapping[str, str]) -> None:
    labels = {name: name for name in ("anywhere", "strong", "weak")}
    _compare(panel, tables["attacks"], "places", labels, "succeeded", colour_of)
    panel.set(title="one-pixel attacks", xlabel="pixels", ylabel="succeeded (%)")


def _saliency(panel: Axes, tables: Tables, colour_of: Mapping[str, str]) -> None:
    table = tables["saliency"]
    table = table.assign(
        contrast_low=table["contrast"] - _95 * table["contrast_se"],
        contrast_high=table["contrast"] + _95 * table["contrast_se"],
        of=table["saliency"] + "/" + table["correction"],
    )
    chosen = [("gradient", name) for name in CORRECTIONS] + [("smooth_strides", "none")]
    labels = {f"{name}/{done}": _SHORT[name, done] for name, done in chosen}
    _compare(panel, table, "of", labels, "contrast", colour_of)
    _line(panel, 0)
    panel.set(title="gradient maps", ylabel="contrast of the tile")


_SHORT = {
    ("gradient", "none"): "plain",
    ("gradient", "tile"): "by\ntile",
    ("gradient", "low_pass"): "low-\npass",
    ("smooth_strides", "none"): "smooth\nstrides",
}
_PANELS: Sequence[Callable[[Axes, Tables, Mapping[str, str]], None]] = (
    *(_linear, _places, _blanked),
    *(_periods, _attacks, _saliency),
)
