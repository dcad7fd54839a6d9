"""The paper's tables, its numbers beside ours where they may be compared, as frames."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError
from ..files import schemas
from . import published, stats

# A Gaussian that explains less of a map's variance has no widths worth printing or correlating.
LEAST_R_SQUARED = 0.5
# With two pairs Student's t makes an interval of 12.7 standard errors: wider than accuracies are.
INTERVAL_PAIRS = 3
ALL_MODELS = "all"  # the row of Tables 3 and 4 over networks, where there are several
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
        *(field for field in schemas.FITS if field.name not in ("amplitude", "failure")),
        *(pa.field(name, pa.float64()) for name in ("trf_h", "trf_w", "offset_y", "offset_x")),
        *(
            pa.field(f"{index}{of}", pa.float64())
            for index in ("l1", "l2", "contrast")
            for of in ("_unbiased", "_unbiased_se", "", "_floor")
        ),
    ]
)
RUNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("model", "kernels")),
        *(pa.field(name, pa.int32()) for name in ("seed", "best_epoch", "n_test", "n_classes")),
        *(pa.field(name, pa.float64()) for name in ("valid_acc", "test_acc", "commonest_acc")),
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
        *(
            pa.field(name, pa.float64())
            for name in (
                *("difference", "paper_difference", "low", "high"),
                *("signflip_p", "signflip_smallest_p"),
            )
        ),
        pa.field("signflip_exact", pa.bool_()),
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
                *("median_before", "median_after"),
                *("epochs_difference", "paper_epochs_difference", "low", "high"),
                *("logrank_p", "logrank_smallest_p"),
            )
        ),
        pa.field("logrank_exact", pa.bool_()),
    ]
)
_SIZES = ("trf", "sigma_x", "sigma_y")


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
            "acc1": acc1,
            "acc5": acc5,
            "trf": [sizes.get(key) for key in zip(fits["model"], fits["kernels"], strict=True)],
            **{name: fits[name] for name in ("sigma_x", "sigma_y", "r_squared", "n_images")},
        }
    )
    joined = ours.join(paper.add_prefix("paper_"), on="model")[TABLE1.names]
    return joined.astype(
        {name: float for name in joined if name not in ("model", "n_images")}
    ).sort_values("acc1", na_position="last", kind="stable", ignore_index=True)


def size_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of each size with acc@1 over the rows of Table 1.

    For our numbers and for the paper's of the same networks, where Table 1 has them, and for all
    nine of the paper. Widths of a Gaussian below `LEAST_R_SQUARED` are left out.
    """
    names = ["acc1", *_SIZES, "r_squared"]
    sources = {
        "ours": table[names],
        "the paper, same networks": table[[f"paper_{name}" for name in names]].set_axis(
            names, axis=1
        ),
    }
    rows = [
        {"source": source, **row}
        for source, frame in sources.items()
        if frame["acc1"].notna().any()
        for row in _correlated(frame)
    ]
    rows += [{"source": "the paper, all nine", **row} for row in _correlated_in_the_paper()]
    return pd.DataFrame(rows, columns=CORRELATIONS.names)


@functools.cache  # of nine networks there are 362,880 orders
def _correlated_in_the_paper() -> list[dict[str, Any]]:
    return [*_correlated(published.table(1))]


def _correlated(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    fitted = frame["r_squared"] >= LEAST_R_SQUARED
    for size in _SIZES:
        known = frame if size == "trf" else frame[fitted]
        pairs = known[["acc1", size]].dropna()
        sample = pairs[size].to_numpy(), pairs["acc1"].to_numpy()
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


def finetune_runs(epochs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per run: its best epoch by validation accuracy, and the test accuracy of that one.

    Both frames have the columns model, kernels and seed besides those of `schemas.EPOCHS` and
    `schemas.PREDICTIONS`. Accuracies are in percent; commonest_acc is what answering the commonest
    class of the test images for each of them would give. Raises `InputError` if all test images are
    of one class.
    """
    key = ["model", "kernels", "seed"]
    best = epochs.loc[epochs.groupby(key, sort=False)["valid_acc"].idxmax()]
    best = best[[*key, "epoch", "valid_acc"]].rename(columns={"epoch": "best_epoch"})
    right = predictions.assign(right=predictions["label"] == predictions["predicted"])
    tested = right.groupby(key).agg(
        n_test=("right", "size"),
        n_classes=("label", "nunique"),
        test_acc=("right", "mean"),
        commonest_acc=("label", lambda labels: labels.value_counts(normalize=True).max()),
    )
    runs = best.merge(tested.reset_index(), on=key)
    for run in runs[runs["n_classes"] < 2].itertuples():
        raise InputError(
            f"{run.model}, kernels {run.kernels}, seed {run.seed}: all test images are of one "
            "class, so that accuracy says nothing; give the data set two classes in each split"
        )
    percent = {name: 100 * runs[name] for name in ("valid_acc", "test_acc", "commonest_acc")}
    return runs.assign(**percent)[RUNS.names].reset_index(drop=True)


def table2(
    runs: pd.DataFrame, fits: pd.DataFrame, trf: pd.DataFrame, paper: pd.DataFrame
) -> pd.DataFrame:
    """Table 2: accuracy after fine-tuning, theoretical and effective size, a row per model and arm.

    runs: one per model and kernels. fits and trf: rows of one target. paper: of
    `published.beside`; it stands beside odd kernels.
    """
    key = ["model", "kernels"]
    sizes = trf.rename(columns={"size_h": "trf"})[[*key, "trf"]]
    fitted = fits[[*key, "sigma_x", "sigma_y", "r_squared"]]
    theirs = paper.add_prefix("paper_").assign(kernels="odd").set_index("kernels", append=True)
    joined = runs.merge(sizes, "left", key).merge(fitted, "left", key).join(theirs, on=key)
    order = joined.groupby("model")["test_acc"].transform("max").to_numpy()
    return joined.assign(order=order).sort_values(
        ["order", "model", "kernels"], kind="stable", ignore_index=True
    )[TABLE2.names]


def table3(runs: pd.DataFrame, predictions: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Table 3: test accuracy before (odd kernels) and after, in percent, pairs of the same seed.

    The interval of a model is over its seeds, that of the row `ALL_MODELS` over the models' mean
    differences; fewer than `INTERVAL_PAIRS` have none. So is the exact p-value of the mean
    difference, from all ways to flip signs. McNemar's test compares the images of the first seed.
    paper: of `published.beside`; it stands beside padded kernels.
    """
    rows = []
    for arm, pairs in _pairs(runs):
        for model, of_model in pairs.groupby("model", sort=False):
            row = {"model": model, "kernels": arm, **_accuracy_difference(of_model)}
            if arm == "padded" and model in paper.index:
                row |= _of_the_paper("", *paper.loc[model])
            right = _right(predictions, model, of_model["seed"].iloc[0])
            test = stats.mcnemar(right["odd"].to_numpy(), right[arm].to_numpy())
            row |= {"only_before": test.only_before, "only_after": test.only_after}
            rows.append({**row, "mcnemar_p": test.p_value})
        means = pairs.groupby("model", sort=False)[["test_acc_before", "test_acc_after"]].mean()
        if len(means) > 1:
            rows.append({"model": ALL_MODELS, "kernels": arm, **_accuracy_difference(means)})
    return pd.DataFrame(rows, columns=TABLE3.names).astype(
        {"only_before": "Int32", "only_after": "Int32"}
    )


def _pairs(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Runs with odd kernels beside those with each other kind, of the same model and seed."""
    for arm in [kernels for kernels in runs["kernels"].unique() if kernels != "odd"]:
        odd, changed = (runs[runs["kernels"] == kernels] for kernels in ("odd", arm))
        yield arm, odd.merge(changed, on=["model", "seed"], suffixes=("_before", "_after"))


def _accuracy_difference(pairs: pd.DataFrame) -> dict[str, Any]:
    before, after = pairs["test_acc_before"], pairs["test_acc_after"]
    test = stats.sign_flip((after - before).to_numpy())
    return {
        "runs_before": ", ".join(f"{value:.2f}" for value in before),
        "runs_after": ", ".join(f"{value:.2f}" for value in after),
        **_difference("", before.to_numpy(), after.to_numpy()),
        "signflip_p": test.p_value,
        "signflip_smallest_p": test.smallest,
        "signflip_exact": test.exact,
    }


def _difference(prefix: str, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    difference = stats.mean_difference(before, after)
    enough = difference.n >= INTERVAL_PAIRS
    return {
        "n_pairs": difference.n,
        f"{prefix}before": before.mean(),
        f"{prefix}after": after.mean(),
        f"{prefix}difference": difference.mean,
        "low": difference.low if enough else math.nan,
        "high": difference.high if enough else math.nan,
    }


def _of_the_paper(prefix: str, before: float, after: float) -> dict[str, float]:
    values = {"before": before, "after": after, "difference": after - before}
    return {f"paper_{prefix}{name}": value for name, value in values.items()}


def _right(predictions: pd.DataFrame, model: str, seed: int) -> pd.DataFrame:
    """Which images were right, bool, one row per image and one column per kind of kernels."""
    chosen = predictions[(predictions["model"] == model) & (predictions["seed"] == seed)]
    right = chosen.assign(right=chosen["label"] == chosen["predicted"])
    return right.set_index(["path", "kernels"])["right"].unstack()  # noqa: PD010, bools stay bools


def first_epochs(epochs: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The first epoch whose test accuracy exceeds `threshold`, one row per run; none if none does.

    `epochs` has the columns model, kernels and seed besides those of `schemas.EPOCHS`. Accuracies
    are in percent.
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


def table4(firsts: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Table 4: epochs until the threshold, before (odd kernels) and after, pairs of one seed.

    A run that never gets there counts with its last epoch in means, medians and differences, as in
    the paper, and as censored in the log-rank test, whose p-value is exact: from all swaps within
    pairs. It is written as > that epoch. The interval of a model is over its seeds, that of the row
    `ALL_MODELS` over the models' mean differences; fewer than `INTERVAL_PAIRS` have none. paper: of
    `published.beside`; it stands beside padded kernels.
    """
    waited = firsts.assign(
        wait=firsts["first_epoch"].astype("Float64").fillna(np.inf).astype(float),
        counted=firsts["first_epoch"].fillna(firsts["epochs"]).astype(float),
    )
    rows = []
    for arm, pairs in _pairs(waited):
        for model, of_model in pairs.groupby("model", sort=False):
            row = {"model": model, "kernels": arm, **_waits(of_model)}
            if arm == "padded" and model in paper.index:
                row |= _of_the_paper("epochs_", *paper.loc[model])
            rows.append(row)
        means = pairs.groupby("model", sort=False)[["counted_before", "counted_after"]].mean()
        if len(means) > 1:
            before, after = means.to_numpy().T
            overall = _difference("epochs_", before, after)
            rows.append({"model": ALL_MODELS, "kernels": arm, **overall})
    return pd.DataFrame(rows, columns=TABLE4.names)


def _waits(pairs: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for when in ("before", "after"):
        wait, epochs = pairs[f"wait_{when}"], pairs[f"epochs_{when}"]
        found[f"runs_{when}"] = ", ".join(
            f">{last}" if math.isinf(value) else f"{value:.0f}"
            for value, last in zip(wait, epochs, strict=True)
        )
        found[f"median_{when}"] = pairs[f"counted_{when}"].median()
    last = pairs[["epochs_before", "epochs_after"]].to_numpy().max()
    test = stats.logrank_paired(pairs["wait_before"], pairs["wait_after"], last)
    found |= {"logrank_p": test.p_value, "logrank_smallest_p": test.smallest}
    counted = pairs["counted_before"].to_numpy(), pairs["counted_after"].to_numpy()
    return {**found, "logrank_exact": test.exact, **_difference("epochs_", *counted)}


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


def few_pairs(smallest: pd.Series) -> list[str]:
    """A sentence for readers where the smallest possible p-value is above 0.05 somewhere."""
    if not (smallest > 0.05).any():
        return []
    return [
        "Where the smallest possible p is above 0.05, there are too few pairs for any difference, "
        "however large, to be told from chance at that level: it takes six pairs, as 2/2⁶ is 0.031."
    ]


def poor_fits(r_squared: pd.Series) -> list[str]:
    """A sentence for readers where a Gaussian explains too little to have a width."""
    if not (r_squared < LEAST_R_SQUARED).any():
        return []
    return [
        f"No Gaussian: below R² = {LEAST_R_SQUARED} its widths describe nothing and are not "
        "printed; the Parquet file has them."
    ]


def no_accuracy(table: pd.DataFrame) -> list[str]:
    """A sentence for readers where no network of Table 1 has a published accuracy."""
    if table["acc1"].notna().any():
        return []
    return [
        "No accuracy stands beside our sizes, and none is correlated with them: accuracies are "
        "published for torchvision's ImageNet weights, which these networks do not have."
    ]
