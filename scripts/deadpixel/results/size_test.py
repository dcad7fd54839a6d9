"""Does the size of the receptive field predict accuracy? Table 1, its correlations, its figure."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..surgery.kinds import ODD
from . import published, stats
from .fields import FIT, LEAST_R_SQUARED, N_IMAGES, TRF
from .render import KERNELS, MODEL, NUMBER, TEXT, TRUTH, WHOLE, Column, Table, p_value, with_paper
from .style import GREY, STYLE, WIDTH, colours

SIZES = {
    "trf": "theoretical size (px)",
    "sigma_x": "σx of the fit (px)",
    "sigma_y": "σy of the fit (px)",
}
OURS, SAME, NINE = "ours", "the paper, same networks", "the paper, all nine"  # what is correlated
_PAPER = "the paper (CUB-200-2011)"
_MEASURED = (
    Column("acc1", NUMBER, "acc@1 (%)"),
    Column("acc5", NUMBER, "acc@5 (%)"),
    *(TRF, *FIT),
)
TABLE1 = Table(MODEL, KERNELS, N_IMAGES, *with_paper(*_MEASURED))
CORRELATIONS = Table(
    Column("source", TEXT, "numbers of"),
    Column("size", TEXT, "size", in_words=lambda row: SIZES[row["size"]]),
    Column("n", WHOLE, "networks"),
    Column("kendall", NUMBER, "Kendall τ-b"),
    p_value("kendall_p", "p (τ-b)"),
    Column("spearman", NUMBER, "Spearman ρ"),
    p_value("spearman_p", "p (ρ)"),
    Column("exact", TRUTH, "exact p"),
)


def table1(
    fits: pd.DataFrame,
    trf: pd.DataFrame,
    accuracies: Mapping[str, tuple[float, float] | None],
    paper: pd.DataFrame,
) -> pd.DataFrame:
    """Table 1: accuracy, theoretical and effective size, one row per row of `fits`.

    fits and trf: rows of one target. accuracies: acc@1 and acc@5 in percent by model, published for
    the very weights that the fits are of. paper: of `published.beside`. Rows are in the order of
    accuracy, as in the paper, and in that of the fits where it is not known.
    """
    acc1, acc5 = (
        [(accuracies.get(model) or (None, None))[k] for model in fits["model"]] for k in (0, 1)
    )
    sizes = trf.set_index(["model", "kernels"])["size_h"]
    ours = pd.DataFrame(
        {
            "model": fits["model"],
            "kernels": fits["kernels"],
            "acc1": acc1,
            "acc5": acc5,
            "trf": [sizes.get(key) for key in zip(fits["model"], fits["kernels"], strict=True)],
            **{name: fits[name] for name in ("sigma_x", "sigma_y", "r_squared", "n_images")},
        }
    )
    theirs = paper.add_prefix("paper_").assign(kernels=ODD).set_index("kernels", append=True)
    joined = ours.join(theirs, on=["model", "kernels"])[TABLE1.names]
    return joined.astype(  # pyright: ignore[reportCallIssue]
        {name: float for name in joined if name not in ("model", "kernels", "n_images")}
    ).sort_values("acc1", na_position="last", kind="stable", ignore_index=True)


def no_accuracy(table: pd.DataFrame) -> list[str]:
    """A sentence for readers where no network of Table 1 has a published accuracy."""
    if any(table["acc1"].notna()):
        return []
    return [
        "No accuracy stands beside our sizes, and none is correlated with them: accuracies are "
        "published for torchvision's ImageNet weights, which these networks do not have."
    ]


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of each size with acc@1 over the rows of Table 1.

    For our numbers, those at each crop by themselves, and for the paper's of the same networks,
    where Table 1 has them, and for all nine of the paper. Widths of a Gaussian below
    `LEAST_R_SQUARED` are left out.
    """
    names = ["acc1", *SIZES, "r_squared"]
    theirs = table[[f"paper_{name}" for name in names]].set_axis(names, axis=1)
    ours = {
        OURS if kernels == ODD else f"{OURS}, {kernels}": frame[names]
        for kernels, frame in table.groupby("kernels", sort=False)
    }
    rows = [
        {"source": source, **row}
        for source, frame in {**ours, SAME: theirs}.items()
        if frame["acc1"].notna().any()
        for row in _correlated(frame)
    ]
    rows += [{"source": NINE, **row} for row in _correlated_in_the_paper()]
    return pd.DataFrame(rows, columns=CORRELATIONS.names)


@functools.cache  # of nine networks there are 362,880 orders
def _correlated_in_the_paper() -> list[dict[str, Any]]:
    return [*_correlated(published.table(1))]


def _correlated(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    fitted = frame["r_squared"] >= LEAST_R_SQUARED
    for size in SIZES:
        known = frame if size == "trf" else frame[fitted]
        pairs = known[["acc1", size]].dropna()  # pyright: ignore[reportAttributeAccessIssue]
        sample = pairs[size].to_numpy(), pairs["acc1"].to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
        kendall, spearman = stats.kendall(*sample), stats.spearman(*sample)
        yield {
            "size": size,
            "n": kendall.n,
            "kendall": kendall.statistic,
            "kendall_p": kendall.p_value,
            "spearman": spearman.statistic,
            "spearman_p": spearman.p_value,
            "exact": kendall.exact,
        }


def size_against_accuracy(
    table: pd.DataFrame, paper: pd.DataFrame, correlated: pd.DataFrame, ours: str
) -> Figure:
    """Published acc@1 over each size of the receptive field, ours and the paper's (Table 1).

    Networks of ours without a published accuracy are not drawn, nor are widths of a Gaussian that
    does not fit. correlated: of `correlations`. ours: what our numbers are of, for the legend.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.subplots(1, len(SIZES), sharey=True)
        colour_of = colours(table["kernels"])
        known: Any = table[table["acc1"].notna()]
        names = dict.fromkeys([*paper["model"], *known["model"]])
        numbers = {model: str(number) for number, model in enumerate(names, start=1)}
        for panel, (size, label) in zip(axes, SIZES.items(), strict=True):
            drawn = known if size == "trf" else known[known["r_squared"] >= LEAST_R_SQUARED]
            for kernels, of_kernels in drawn.groupby("kernels", sort=False):
                whose = f"ours ({ours})" if kernels == ODD else f"ours, {kernels}"
                colour = colour_of[str(kernels)]
                _join(panel, of_kernels.merge(paper, on="model"), size, colour)
                style = {"facecolors": "none", "edgecolors": colour, "marker": "s", "label": whose}
                panel.scatter(of_kernels[size], of_kernels["acc1"], s=100, **style)
                strange = of_kernels[~of_kernels["model"].isin(paper["model"])]
                _write_numbers(panel, strange, size, numbers)
            theirs = {"facecolors": "white", "edgecolors": GREY}
            panel.scatter(paper[size], paper["acc1"], s=60, label=_PAPER, **theirs)
            _write_numbers(panel, paper, size, numbers)
            panel.set(xlabel=label)
            panel.set_title(_correlation_text(correlated, size), fontsize=7, loc="left")
            panel.margins(x=0.1)
        axes[0].set_ylabel("ImageNet acc@1 (%), published")
        handles, labels = axes[0].get_legend_handles_labels()
        unseen = [Line2D([], [], linestyle="none") for _ in numbers]
        labels += [f"{number} {model}" for model, number in numbers.items()]
        beside: Any = "outside right"  # unknown to the stubs
        figure.legend(handles + unseen, labels, loc=beside)
        if known.empty:
            figure.suptitle(
                f"Ours ({ours}) are not drawn:\nno accuracy is published of such weights"
            )
        return figure


def _join(panel: Axes, both: pd.DataFrame, size: str, colour: str) -> None:
    """Lines from the paper's networks to ours: what was found otherwise."""
    for _, row in both.iterrows():
        ends = [row[f"{size}_x"], row[f"{size}_y"]], [row["acc1_x"], row["acc1_y"]]
        panel.plot(*ends, color=colour, linewidth=0.6, zorder=0)


def _write_numbers(panel: Axes, rows: pd.DataFrame, size: str, numbers: Mapping[str, str]) -> None:
    for model, x, y in rows[["model", size, "acc1"]].itertuples(index=False):
        panel.annotate(numbers[model], (x, y), fontsize=6, ha="center", va="center_baseline")


def _correlation_text(correlated: pd.DataFrame, size: str) -> str:
    lines = []
    for row in correlated[correlated["size"] == size].to_dict("records"):  # pyright: ignore[reportCallIssue]
        if row["source"] != SAME:
            known = not math.isnan(row["kendall"])
            value = f"{row['kendall']:+.2f}, p = {row['kendall_p']:.2f}" if known else "undefined"
            value = value.replace("-", "\N{MINUS SIGN}")
            lines.append(f"{row['source']} (n = {row['n']}):\nτ-b {value}")
    return "\n".join(lines)
