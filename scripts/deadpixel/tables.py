"""The paper's tables with its numbers beside ours, as frames and as Markdown and HTML."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from . import stats, store

_PAPER = Path(__file__).parent / "paper"
TABLE1 = pa.schema(
    [
        pa.field("model", pa.string()),
        pa.field("n_images", pa.int32()),
        *(
            pa.field(f"{whose}{name}", pa.float64())
            for name in ("acc1", "acc5", "trf", "sigma_x", "sigma_y", "r_squared")
            for whose in ("", "paper_")
        ),
    ]
)
CORRELATIONS = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("size", pa.string()),
        pa.field("n", pa.int32()),
        *(
            pa.field(name, pa.float64())
            for name in ("kendall", "kendall_p", "spearman", "spearman_p")
        ),
        pa.field("exact", pa.bool_()),
    ]
)
FIELDS = pa.schema(
    [
        *(field for field in store.FITS if field.name not in ("amplitude", "failure")),
        *(pa.field(name, pa.float64()) for name in ("trf_h", "trf_w", "offset_y", "offset_x")),
        *(pa.field(name, pa.float64()) for name in ("l1", "l1_se", "l2", "l2_se")),
    ]
)
RUNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("model", "kernels")),
        *(pa.field(name, pa.int32()) for name in ("seed", "best_epoch", "n_test")),
        *(pa.field(name, pa.float64()) for name in ("valid_acc", "test_acc")),
    ]
)
TABLE2 = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("model", "kernels")),
        *(
            pa.field(f"{whose}{name}", pa.float64())
            for name in ("valid_acc", "test_acc", "trf", "sigma_x", "sigma_y", "r_squared")
            for whose in ("", "paper_")
        ),
    ]
)
TABLE3 = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("model", "kernels")),
        pa.field("n_pairs", pa.int32()),
        *(pa.field(name, pa.string()) for name in ("runs_before", "runs_after")),
        *(
            pa.field(name, pa.float64())
            for name in ("before", "paper_before", "after", "paper_after")
        ),
        *(pa.field(name, pa.float64()) for name in ("difference", "low", "high")),
        pa.field("paper_difference", pa.float64()),
        *(pa.field(name, pa.int32()) for name in ("only_before", "only_after")),
        pa.field("mcnemar_p", pa.float64()),
    ]
)
FIRST_EPOCHS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("model", "kernels")),
        *(pa.field(name, pa.int32()) for name in ("seed", "first_epoch", "epochs")),
        *(pa.field(name, pa.float64()) for name in ("best_test_acc", "last_test_acc")),
    ]
)
TABLE4 = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("model", "kernels")),
        pa.field("n_pairs", pa.int32()),
        *(pa.field(name, pa.string()) for name in ("runs_before", "runs_after")),
        *(
            pa.field(name, pa.float64())
            for name in (
                *("epochs_before", "paper_epochs_before", "epochs_after", "paper_epochs_after"),
                *("median_before", "median_after", "epochs_difference", "low", "high"),
                *("paper_epochs_difference", "logrank_p"),
            )
        ),
    ]
)
ALL_MODELS = "all"  # the row of Table 3 over models
_SIZES = ("trf", "sigma_x", "sigma_y")
_HEADERS = {
    "model": "model",
    "dataset": "data set",
    "weights": "weights",
    "kernels": "kernels",
    "target": "target",
    "n_images": "images",
    "acc1": "acc@1 (%)",
    "acc5": "acc@5 (%)",
    "seed": "seed",
    "best_epoch": "best epoch",
    "n_test": "test images",
    "valid_acc": "valid acc (%)",
    "test_acc": "test acc (%)",
    "n_pairs": "pairs",
    "runs_before": "runs before",
    "runs_after": "runs after",
    "before": "before (%)",
    "after": "after (%)",
    "difference": "difference",
    "low": "95 % from",
    "high": "to",
    "first_epoch": "first epoch",
    "epochs": "epochs",
    "best_test_acc": "best test acc (%)",
    "last_test_acc": "last test acc (%)",
    "epochs_before": "mean before",
    "epochs_after": "mean after",
    "median_before": "median before",
    "median_after": "median after",
    "epochs_difference": "difference",
    "logrank_p": "p (log-rank)",
    "only_before": "right only before",
    "only_after": "right only after",
    "mcnemar_p": "p (McNemar)",
    "trf": "TRF (px)",
    "trf_h": "TRF (px)",
    "offset_y": "TRF offset (px)",
    "center_x": "centre x (px)",
    "center_y": "centre y (px)",
    "sigma_x": "σx (px)",
    "sigma_y": "σy (px)",
    "r_squared": "R²",
    "l1": "L1",
    "l1_se": "± se",
    "l2": "L2",
    "l2_se": "± se ",
    "source": "numbers of",
    "size": "size",
    "kendall": "Kendall τ-b",
    "kendall_p": "p (τ-b)",
    "spearman": "Spearman ρ",
    "spearman_p": "p (ρ)",
    "exact": "exact p",
}
_ACCURACIES = ("valid_acc", "test_acc", "before", "after", "difference", "low", "high")
_EPOCHS = ("before", "after", "difference")
_DECIMALS = {
    **dict.fromkeys(_ACCURACIES, 2),
    **dict.fromkeys((f"epochs_{name}" for name in _EPOCHS), 1),
    **dict.fromkeys(("median_before", "median_after"), 1),
    **dict.fromkeys(("best_test_acc", "last_test_acc"), 2),
    "trf": 0,
    "trf_h": 0,
    "offset_y": 1,
    "center_x": 1,
    "center_y": 1,
}


def paper_table(number: int) -> pd.DataFrame:
    """Table 1, 2, 3 or 4 as printed in the paper, one row per model."""
    return pd.read_csv(_PAPER / f"table{number}.csv")


def table1(
    fits: pd.DataFrame, trf: pd.DataFrame, accuracies: Mapping[str, tuple[float, float] | None]
) -> pd.DataFrame:
    """Table 1: accuracy, theoretical and effective size, one row per row of `fits`.

    fits and trf: rows of one target. accuracies: published acc@1 and acc@5 in percent by model.
    Rows are in the order of accuracy, as in the paper; a model it does not have comes without its
    numbers.
    """
    acc1, acc5 = (
        [(accuracies.get(model) or (None, None))[k] for model in fits["model"]] for k in (0, 1)
    )
    sizes = trf.set_index(["model", "kernels"])["size_h"]
    ours = pd.DataFrame(
        {
            "model": fits["model"],
            "acc1": acc1,
            "acc5": acc5,
            "trf": [sizes.get(key) for key in zip(fits["model"], fits["kernels"], strict=True)],
            **{name: fits[name] for name in ("sigma_x", "sigma_y", "r_squared", "n_images")},
        }
    )
    paper = paper_table(1).set_index("model").add_prefix("paper_")
    joined = ours.join(paper, on="model")[TABLE1.names]
    return joined.astype(
        {name: float for name in joined if name not in ("model", "n_images")}
    ).sort_values("acc1", na_position="last", kind="stable", ignore_index=True)


def size_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of each size with acc@1 over the rows of Table 1.

    For our numbers, for the paper's of the same networks, and for all nine of the paper.
    """
    paper = paper_table(1)
    same = table.dropna(subset="paper_acc1")
    same = same[["model", *(f"paper_{name}" for name in ("acc1", *_SIZES))]]
    sources = {
        "ours": table,
        "the paper, same networks": same.rename(columns=lambda name: name.removeprefix("paper_")),
        "the paper, all nine": paper,
    }
    rows = []
    for source, frame in sources.items():
        for size in _SIZES:
            pairs = frame[["acc1", size]].dropna()
            kendall = stats.kendall(pairs[size].to_numpy(), pairs["acc1"].to_numpy())
            spearman = stats.spearman(pairs[size].to_numpy(), pairs["acc1"].to_numpy())
            rows.append(
                {
                    "source": source,
                    "size": size,
                    "n": kendall.n,
                    "kendall": kendall.statistic,
                    "kendall_p": kendall.p_value,
                    "spearman": spearman.statistic,
                    "spearman_p": spearman.p_value,
                    "exact": kendall.exact,
                }
            )
    return pd.DataFrame(rows, columns=CORRELATIONS.names)


def finetune_runs(epochs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per run: its best epoch by validation accuracy, and the test accuracy of that one.

    Both frames have the columns model, kernels and seed besides those of `store.EPOCHS` and
    `store.PREDICTIONS`. Accuracies are in percent.
    """
    key = ["model", "kernels", "seed"]
    best = epochs.loc[epochs.groupby(key, sort=False)["valid_acc"].idxmax()]
    best = best[[*key, "epoch", "valid_acc"]].rename(columns={"epoch": "best_epoch"})
    right = predictions.assign(right=predictions["label"] == predictions["predicted"])
    tested = right.groupby(key)["right"].agg(n_test="size", test_acc="mean").reset_index()
    runs = best.merge(tested, on=key)
    percent = {name: 100 * runs[name] for name in ("valid_acc", "test_acc")}
    return runs.assign(**percent)[RUNS.names].reset_index(drop=True)


def table2(runs: pd.DataFrame, fits: pd.DataFrame, trf: pd.DataFrame) -> pd.DataFrame:
    """Table 2: accuracy after fine-tuning, theoretical and effective size, a row per model and arm.

    runs: one per model and kernels. fits and trf: rows of one target. The paper's numbers stand
    beside odd kernels.
    """
    key = ["model", "kernels"]
    sizes = trf.rename(columns={"size_h": "trf"})[[*key, "trf"]]
    fitted = fits[[*key, "sigma_x", "sigma_y", "r_squared"]]
    paper = paper_table(2).assign(kernels="odd").set_index(key).add_prefix("paper_")
    joined = runs.merge(sizes, "left", key).merge(fitted, "left", key).join(paper, on=key)
    order = joined.groupby("model")["test_acc"].transform("max").to_numpy()
    return joined.assign(order=order).sort_values(
        ["order", "model", "kernels"], kind="stable", ignore_index=True
    )[TABLE2.names]


def table3(runs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Table 3: test accuracy before (odd kernels) and after, in percent, pairs of the same seed.

    The interval of a model is over its seeds, that of the row `ALL_MODELS` over the models' mean
    differences. McNemar's test compares the images of the first seed.
    """
    paper = paper_table(3).set_index("model")
    rows = []
    for arm in [kernels for kernels in runs["kernels"].unique() if kernels != "odd"]:
        pairs = runs[runs["kernels"] == "odd"].merge(
            runs[runs["kernels"] == arm], on=["model", "seed"], suffixes=("_before", "_after")
        )
        means = pairs.groupby("model", sort=False)[["test_acc_before", "test_acc_after"]].mean()
        for model, of_model in pairs.groupby("model", sort=False):
            row = _compared(model, arm, of_model)
            if arm == "padded" and model in paper.index:
                before, after = paper.loc[model]
                row |= {"paper_before": before, "paper_after": after}
                row["paper_difference"] = after - before
            right = _right(predictions, model, of_model["seed"].iloc[0])
            test = stats.mcnemar(right["odd"].to_numpy(), right[arm].to_numpy())
            row |= {"only_before": test.only_before, "only_after": test.only_after}
            rows.append({**row, "mcnemar_p": test.p_value})
        rows.append(_compared(ALL_MODELS, arm, means))
    return pd.DataFrame(rows, columns=TABLE3.names).astype(
        {"only_before": "Int32", "only_after": "Int32"}
    )


def _compared(model: str, arm: str, pairs: pd.DataFrame) -> dict[str, Any]:
    before, after = pairs["test_acc_before"], pairs["test_acc_after"]
    difference = stats.mean_difference(before.to_numpy(), after.to_numpy())
    return {
        "model": model,
        "kernels": arm,
        "n_pairs": difference.n,
        "runs_before": ", ".join(f"{value:.2f}" for value in before),
        "runs_after": ", ".join(f"{value:.2f}" for value in after),
        "before": before.mean(),
        "after": after.mean(),
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
    }


def _right(predictions: pd.DataFrame, model: str, seed: int) -> pd.DataFrame:
    """Which images were right, bool, one row per image and one column per kind of kernels."""
    chosen = predictions[(predictions["model"] == model) & (predictions["seed"] == seed)]
    right = chosen.assign(right=chosen["label"] == chosen["predicted"])
    return right.set_index(["path", "kernels"])["right"].unstack()  # noqa: PD010, bools stay bools


def first_epochs(epochs: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The first epoch whose test accuracy exceeds `threshold`, one row per run; none if none does.

    `epochs` has the columns model, kernels and seed besides those of `store.EPOCHS`. Accuracies are
    in percent.
    """
    rows = []
    for (model, kernels, seed), run in epochs.groupby(["model", "kernels", "seed"], sort=False):
        accuracy = run.sort_values("epoch").set_index("epoch")["test_acc"]
        above = accuracy.index[accuracy > threshold]
        key = {"model": model, "kernels": kernels, "seed": seed}
        first = {"first_epoch": above[0] if len(above) else None, "epochs": len(accuracy)}
        best = {"best_test_acc": 100 * accuracy.max(), "last_test_acc": 100 * accuracy.iloc[-1]}
        rows.append({**key, **first, **best})
    return pd.DataFrame(rows, columns=FIRST_EPOCHS.names).astype({"first_epoch": "Int32"})


def table4(firsts: pd.DataFrame) -> pd.DataFrame:
    """Table 4: epochs until the threshold, before (odd kernels) and after, pairs of one seed.

    A run that never gets there counts with its last epoch in means, medians and differences, as in
    the paper, and as censored in the log-rank test; it is written as > that epoch. The interval of
    a model is over its seeds, that of the row `ALL_MODELS` over the models' mean differences.
    """
    paper = paper_table(4).set_index("model")
    waited = firsts.assign(
        wait=firsts["first_epoch"].astype("Float64").fillna(np.inf).astype(float),
        counted=firsts["first_epoch"].fillna(firsts["epochs"]).astype(float),
    )
    rows = []
    for arm in [kernels for kernels in firsts["kernels"].unique() if kernels != "odd"]:
        pairs = waited[waited["kernels"] == "odd"].merge(
            waited[waited["kernels"] == arm], on=["model", "seed"], suffixes=("_before", "_after")
        )
        means = []
        for model, of_model in pairs.groupby("model", sort=False):
            row = {"model": model, "kernels": arm, **_waits(of_model)}
            if arm == "padded" and model in paper.index:
                before, after = paper.loc[model]
                row |= {"paper_epochs_before": before, "paper_epochs_after": after}
                row["paper_epochs_difference"] = after - before
            rows.append(row)
            means.append((row["epochs_before"], row["epochs_after"]))
        before, after = np.array(means).T
        rows.append({"model": ALL_MODELS, "kernels": arm, **_difference(before, after)})
    return pd.DataFrame(rows, columns=TABLE4.names)


def _waits(pairs: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for when in ("before", "after"):
        wait, epochs = pairs[f"wait_{when}"], pairs[f"epochs_{when}"]
        found[f"runs_{when}"] = ", ".join(
            f">{last}" if math.isinf(value) else f"{value:.0f}"
            for value, last in zip(wait, epochs, strict=True)
        )
        found[f"median_{when}"] = pairs[f"counted_{when}"].median()
    last = pairs[["epochs_before", "epochs_after"]].to_numpy().max()
    test = stats.logrank_exact(pairs["wait_before"], pairs["wait_after"], last)
    found["logrank_p"] = test.p_value
    return found | _difference(
        pairs["counted_before"].to_numpy(), pairs["counted_after"].to_numpy()
    )


def _difference(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    difference = stats.mean_difference(before, after)
    return {
        "n_pairs": difference.n,
        "epochs_before": before.mean(),
        "epochs_after": after.mean(),
        "epochs_difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
    }


def receptive_fields(
    fits: pd.DataFrame, trf: pd.DataFrame, imbalance: pd.DataFrame
) -> pd.DataFrame:
    """Theoretical field, Gaussian fit and imbalance of every map, one row each."""
    key = ["dataset", "model", "weights", "kernels", "target"]
    theory = trf.rename(
        columns={
            "size_h": "trf_h",
            "size_w": "trf_w",
            "offset_h": "offset_y",
            "offset_w": "offset_x",
        }
    )
    joined = fits.merge(theory, "left", ["model", "kernels", "target"])
    return joined.merge(imbalance.drop(columns="n_images"), "left", key)[FIELDS.names]


def save(
    table: pd.DataFrame,
    schema: pa.Schema,
    facts: Mapping[str, Any],
    parquet: str,
    markdown_path: str,
    html_path: str,
) -> None:
    """Write a table whole as Parquet, and its main columns to be read."""
    store.write(table, parquet, schema, facts)
    for path, text in ((markdown_path, markdown(table)), (html_path, html(table))):
        with store.atomic(path) as partial:
            partial.write_text(text, encoding="utf-8")


def markdown(table: pd.DataFrame) -> str:
    """The table's main columns as Markdown, rounded for reading."""
    return _readable(table).to_markdown(index=False, disable_numparse=True) + "\n"


def html(table: pd.DataFrame) -> str:
    """The table's main columns as an HTML page that stands alone."""
    return _PAGE.format(body=_readable(table).to_html(index=False, border=0))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    def header(name: str) -> str:
        bare = name.removeprefix("paper_")
        return ("paper: " if bare != name else "") + _HEADERS.get(bare, bare)

    columns = {
        header(name): [_cell(value, name.removeprefix("paper_")) for value in table[name]]
        for name in table
        if name.removeprefix("paper_") in _HEADERS
    }
    return pd.DataFrame(columns)


def _cell(value: object, name: str) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if value == float("inf"):
        return "∞"
    if name.endswith("_p") and value < 0.0005:
        return "< 0.001"
    return f"{value:.{_DECIMALS.get(name, 3)}f}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>dead pixel test</title>
<style>
body {{ font: 13px/1.4 system-ui, sans-serif; margin: 1em; color: #1f2430; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3em .5em; text-align: right; }}
td {{ white-space: nowrap; }} th {{ border-bottom: 2px solid #1f2430; vertical-align: bottom; }}
tr:nth-child(even) td {{ background: #f3f5f9; }}
th:first-child, td:first-child {{ text-align: left; }}
</style></head><body>
{body}
</body></html>
"""
