"""What of kernel padding makes a difference: arms that each change one thing, compared by seed.

An arm is a kind of kernels, on images of another crop where its name says so. A contrast has one or
more pairs of arms that differ in the same thing: the mean over these of the second's run less the
first's, of one seed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import blocks, extent, imbalance
from . import pairs, stats
from .render import KERNELS, MODEL, NUMBER, SEED, TEXT, WHOLE, Column, Table
from .style import GREY, INK, STYLE, WIDTH, colours, legend_beneath

Pair = Sequence[str]  # names of two arms
# How soon, how soon more finely, and how well; which of them there are depends on the task.
MEASURES = {
    "first_epoch": "first epoch",
    "first_step": "first step",
    "area": "area (%)",
    "test_acc": "test acc (%)",
}
_WORDS = {"first_epoch": ("epochs", "sooner", "later"), "test_acc": ("points", "lower", "higher")}
LEVEL = 0.05  # shared by the contrasts of a network in a measure (Bonferroni)
POWER = 0.8
RUNS = Table(
    *(MODEL, KERNELS, SEED),
    Column("first_epoch", NUMBER, MEASURES["first_epoch"], decimals=0),
    Column("first_step", NUMBER, MEASURES["first_step"], decimals=0),
    Column("area", NUMBER, MEASURES["area"], decimals=2),
    Column("epochs", WHOLE, "epochs"),
    Column("best_epoch", WHOLE, "best epoch"),
    Column("test_acc", NUMBER, MEASURES["test_acc"], decimals=2),
)
CONTRASTS = Table(
    *(MODEL, Column("contrast", TEXT, "contrast"), Column("arms", TEXT, "arms")),
    Column("measure", TEXT, "measure", in_words=lambda row: MEASURES[row["measure"]]),
    Column("n_pairs", WHOLE, "seeds"),
    Column("before", NUMBER, "mean before", decimals=2),
    Column("after", NUMBER, "mean after", decimals=2),
    Column("difference", NUMBER, "difference", decimals=2),
    *pairs.INTERVAL,
    *pairs.columns_of_test("signflip", "sign flips"),
    Column("level", NUMBER, "p asked for", decimals=3),
    Column("detectable", NUMBER, "would have been seen", decimals=2),
)
_EDGES = {name: f"edge_{name}" for name in extent.Edges._fields}
ARMS = Table(
    *(MODEL, KERNELS, Column("runs", WHOLE, "runs")),
    Column("finetuned", WHOLE, "fine-tuned"),
    Column("added", WHOLE, "weights added"),
    Column("left_odd", WHOLE, "left odd"),
    Column("contrast", NUMBER, "tile contrast"),
    Column("contrast_se", NUMBER, "± (contrast)"),
    *(
        column
        for name, edge in _EDGES.items()
        for column in (
            Column(edge, NUMBER, f"edge, {name}", decimals=2),
            Column(f"{edge}_se", NUMBER, f"± ({name})", decimals=2),
        )
    ),
    *(Column(name, NUMBER, f"{of}, mean", 2) for name, of in MEASURES.items()),
)


def counted(firsts: pd.DataFrame) -> pd.DataFrame:
    """Runs of `microobject.first_epochs` with numbers alone.

    One that never exceeds the threshold counts with its last epoch and its last step.
    """
    return firsts.assign(
        first_epoch=firsts["first_epoch"].fillna(firsts["epochs"]).astype(float),
        first_step=firsts["first_step"].fillna(firsts["steps"]).astype(float),
    )


def joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`RUNS` of both tasks, each of which lacks some columns."""
    runs = pd.concat(parts).reindex(columns=RUNS.names)
    return runs.astype({"epochs": "Int32", "best_epoch": "Int32"})


def contrasts(runs: pd.DataFrame, named: Mapping[str, Sequence[Pair]]) -> pd.DataFrame:
    """Each contrast of each network and measure; of several pairs, each of these too.

    runs: model, kernels, seed and some of `MEASURES`. Pairs of which a network lacks an arm are
    left out. The p-value is exact, from all ways to flip signs of the seeds. level: what p may be
    at most, a share of `LEVEL` for each contrast that the network has. detectable: the difference
    that this test would find with probability `POWER`, if runs vary as these do; see
    `stats.detectable`.
    """
    rows = [
        {"model": model, "measure": measure, **row}
        for model, of_model in runs.groupby("model", sort=False)
        for measure in _measures(of_model)
        for row in _of_network(of_model.pivot_table(measure, "seed", "kernels"), named)
    ]
    return pd.DataFrame(rows, columns=CONTRASTS.names)


def _measures(runs: pd.DataFrame) -> list[str]:
    return [name for name in MEASURES if name in runs.dropna(axis=1, how="all")]


def _of_network(
    values: pd.DataFrame, named: Mapping[str, Sequence[Pair]]
) -> Iterator[dict[str, Any]]:
    """values: a row per seed, a column per arm."""
    known = {
        name: [pair for pair in of if {*pair} <= {*values} and values[[*pair]].dropna().size]
        for name, of in named.items()
    }
    number = sum(map(bool, known.values()))
    for name, of_contrast in known.items():
        for row in _rows(values, of_contrast, LEVEL / number if number else LEVEL):
            yield {"contrast": name, **row}


def _rows(
    values: pd.DataFrame, of_contrast: Sequence[Pair], level: float
) -> Iterator[dict[str, Any]]:
    for compared in [of_contrast, *([pair] for pair in of_contrast if len(of_contrast) > 1)]:
        befores, afters = [before for before, _ in compared], [after for _, after in compared]
        whole = values[befores + afters].dropna()
        if whole.empty:
            continue
        before, after = whole[befores].mean(axis=1), whole[afters].mean(axis=1)
        yield {
            "arms": ", ".join(map(_in_words, compared)),
            "before": before.mean(),
            "after": after.mean(),
            **_difference(before.to_numpy(), after.to_numpy(), level),
        }


def _difference(before: np.ndarray, after: np.ndarray, level: float) -> dict[str, Any]:
    found = stats.mean_difference(before, after)
    interval = pairs.interval(found)
    return {
        "n_pairs": found.n,
        "difference": found.mean,
        **interval,
        **pairs.of_test("signflip", stats.sign_flip(after - before)),
        "level": level,
        "detectable": np.std(after - before, ddof=1) * stats.detectable(found.n, level, POWER)
        if found.n > 1
        else math.nan,
    }


def lacking(named: Mapping[str, Sequence[Pair]], table: pd.DataFrame) -> list[str]:
    """A sentence for each contrast of which there are pairs that no network has both arms of."""
    rows = zip(table["contrast"], table["arms"], strict=True)
    compared = {(contrast, pair) for contrast, arms in rows for pair in arms.split(", ")}
    sentences = []
    for name, of_contrast in named.items():
        pairs_of = [_in_words(pair) for pair in of_contrast]
        if missing := [pair for pair in pairs_of if (name, pair) not in compared]:
            sentences.append(f"{name}: no network has both arms of {', '.join(missing)}.")
    return sentences


def _in_words(pair: Pair) -> str:
    return " to ".join(pair)


def in_words(table: pd.DataFrame) -> list[str]:
    """A sentence for each contrast as a whole, of the measures that `_WORDS` has words for."""
    said: Any = table[table["measure"].isin([*_WORDS])]
    whole = said.drop_duplicates(["model", "contrast", "measure"])
    return [_sentence(row) for row in whole.to_dict("records")]


def _sentence(row: Mapping[str, Any]) -> str:
    unit, less, more = _WORDS[row["measure"]]
    difference = row["difference"]
    size = f"{abs(difference):.2f} {unit} {more if difference > 0 else less}"
    what = f"{row['model']}, {row['contrast']} ({row['arms']}), {MEASURES[row['measure']]}"
    text = f"{what}: {size if difference else 'no difference'}"
    if math.isnan(row["low"]):
        return f"{text}; too few seeds ({row['n_pairs']}) for more."
    interval = f"95 % interval of the difference {row['low']:.2f} to {row['high']:.2f}"
    test = f"p = {row['signflip_p']:.3f}, asked for {row['level']:.3f}"
    text = f"{text} ({interval}, {row['n_pairs']} seeds, {test})."
    if row["signflip_p"] <= row["level"]:
        return f"{text} It makes a difference."
    if (smallest := row["signflip_smallest_p"]) > row["level"]:
        return f"{text} So few seeds cannot show any: the smallest possible p is {smallest:.3f}."
    seen = f"{row['detectable']:.2f} {unit} would have been, in four cases of five"
    return f"{text} No difference is shown; one of {seen}."


def arms(
    runs: pd.DataFrame, fields: Mapping[tuple[str, str], Mapping[str, float]], trf: pd.DataFrame
) -> pd.DataFrame:
    """What each arm of a network is and has, and means of its runs of either task.

    runs: as for `contrasts`. fields: by model and kernels, what `at_start` says. trf: rows of
    `schemas.TRF`; left_odd counts operations that still have an odd kernel and stride 2.
    """
    key, measures = ["model", "kernels"], _measures(runs)
    changed = trf.drop_duplicates(key).set_index(key)[["added", "left_odd"]]
    started = pd.DataFrame.from_dict(dict(fields), orient="index")
    grouped: Any = runs.groupby(key, sort=False)[measures]
    numbers = grouped.count().rename(columns={"first_epoch": "runs", "test_acc": "finetuned"})
    found = grouped.mean().join([changed, started, numbers.drop(columns=measures, errors="ignore")])
    whole = dict.fromkeys(["runs", "finetuned", "added", "left_odd"], "Int32")
    return found.reset_index().reindex(columns=ARMS.names).astype(whole)  # pyright: ignore[reportArgumentType]


def at_start(fields: Sequence[np.ndarray], theory: extent.Theory) -> dict[str, float]:
    """Contrast of the mean tile, without noise, and edges of the mean of several networks' fields.

    fields: of runs of one arm, (H, W) each, of as many images. Errors are jackknife ones over the
    runs: what one network has of its own, and too few images, are noise here.
    """
    weights = [1] * len(fields)
    reach = extent.measure(
        np.mean(fields, axis=0), blocks.maps_without_each(fields, weights), theory
    )
    uneven = imbalance.measure(fields, weights)
    names = [f"{edge}{of}" for edge in _EDGES.values() for of in ("", "_se")]
    return {
        "contrast": uneven["contrast_unbiased"],
        "contrast_se": uneven["contrast_unbiased_se"],
        **{name: reach[name] for name in names},
    }


def figure(runs: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Of each network a row: its runs by arm, and its contrasts with their intervals.

    runs: as for `contrasts`. table: `CONTRASTS`.
    """
    with mpl.rc_context(STYLE):
        models, measures = [*runs["model"].unique()], _measures(runs)
        lines = [_lines(runs, table, model) for model in models]
        size = WIDTH, 0.22 * sum(lines) + 0.7 * len(models) + 0.3
        drawn = Figure(figsize=size, layout="constrained")
        shape = len(models), 1 + len(measures)
        axes = drawn.subplots(*shape, squeeze=False, height_ratios=lines)
        colour_of = colours(runs["kernels"])
        for (first, *others), model in zip(axes, models, strict=True):
            of_model, of_both = _of(runs, model=model), _of(table, model=model)
            _draw_runs(first, of_model, _measures(of_model)[0], colour_of)
            first.set_title(model)
            places = {key: place for place, key in enumerate(_keys(of_both))}
            for panel, measure in zip(others, measures, strict=True):
                _draw_contrasts(panel, _of(of_both, measure=measure), places)
                panel.set_xlabel(f"difference,\n{MEASURES[measure]}")
                panel.tick_params(labelleft=panel is others[0])
        legend_beneath(drawn, axes.flat)
        return drawn


def _lines(runs: pd.DataFrame, table: pd.DataFrame, model: str) -> int:
    arms_of = _of(runs, model=model)["kernels"].nunique()
    return max(arms_of, len(_keys(_of(table, model=model))), 4)


def _of(frame: pd.DataFrame, **key: str) -> Any:
    """Rows with these values."""
    ((name, value),) = key.items()
    return frame[frame[name] == value]


def _keys(contrasts: pd.DataFrame) -> list[tuple[str, str]]:
    """Contrasts, and pairs of those that have several, in the order of the table."""
    return [*dict.fromkeys(zip(contrasts["contrast"], contrasts["arms"], strict=True))]


def _draw_runs(panel: Axes, runs: pd.DataFrame, measure: str, colour_of: Mapping[str, str]) -> None:
    known: Any = runs.dropna(subset=measure)
    kinds = [*known["kernels"].unique()]
    for place, kernels in enumerate(kinds):
        values = _of(known, kernels=kernels)[measure].to_numpy()
        style = {"color": colour_of[kernels], "markersize": 3, "alpha": 0.6}
        panel.plot(values, place + _apart(values), "o", **style)
        bar = {"color": INK, "markersize": 10, "markeredgewidth": 1.5, "linestyle": "none"}
        panel.plot(values.mean(), place, marker="|", label="mean of an arm's runs", **bar)
    panel.set_yticks(range(len(kinds)), kinds)
    panel.set_ylim(len(kinds) - 0.5, -0.5)
    panel.set_xlabel(f"{MEASURES[measure]},\neach run")
    if (known[measure] % 1 == 0).all():
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def _apart(values: np.ndarray) -> np.ndarray:
    """Equal values beside each other, so that each is seen: 0, -0.06, 0.06, -0.12..."""
    numbers = pd.Series(values).groupby(values).cumcount().to_numpy()
    return 0.06 * ((numbers + 1) // 2) * np.where(numbers % 2, -1, 1)


def _draw_contrasts(panel: Axes, table: pd.DataFrame, places: dict[tuple[str, str], int]) -> None:
    panel.set_visible(not table.empty)
    panel.axvline(0, color=GREY, linewidth=0.8)
    whole = {name: key for key in reversed(places) for name in key[:1]}
    for row in table.to_dict("records"):
        key = row["contrast"], row["arms"]
        color, of = (INK, "contrast") if key in whole.values() else (GREY, "one pair of arms")
        panel.plot([row["low"], row["high"]], [places[key]] * 2, color=color)
        dot = {"color": color, "markersize": 4, "label": f"{of}, with its 95 % interval"}
        panel.plot(row["difference"], places[key], "o", **dot)
    labels = [key[0] if key in whole.values() else f"({key[1]})" for key in places]
    panel.set_yticks([*places.values()], labels)
    panel.set_ylim(len(places) - 0.5, -0.5)
