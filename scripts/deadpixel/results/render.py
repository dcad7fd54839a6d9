"""Tables to be read: Markdown, and HTML pages that stand alone."""

import html as entities
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from ..files import atomic
from .tables import ALL_MODELS, LEAST_R_SQUARED

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
    "commonest_acc": "always the commonest class (%)",
    "n_pairs": "pairs",
    "runs_before": "runs before",
    "runs_after": "runs after",
    "before": "before (%)",
    "after": "after (%)",
    "difference": "difference",
    "low": "95 % interval",
    "signflip_p": "p (sign flips)",
    "signflip_smallest_p": "smallest possible p",
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
    "logrank_smallest_p": "smallest possible p",
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
    "l1_unbiased": "L1 unbiased",
    "l1_unbiased_se": "L1 ± se",
    "l1": "L1",
    "l1_floor": "L1 noise floor",
    "l2_unbiased": "L2 unbiased",
    "l2_unbiased_se": "L2 ± se",
    "l2": "L2",
    "l2_floor": "L2 noise floor",
    "contrast_unbiased": "contrast unbiased",
    "contrast_unbiased_se": "contrast ± se",
    "source": "numbers of",
    "size": "size",
    "n": "networks",
    "kendall": "Kendall τ-b",
    "kendall_p": "p (τ-b)",
    "spearman": "Spearman ρ",
    "spearman_p": "p (ρ)",
    "exact": "exact p",
}
_DECIMALS = {
    **dict.fromkeys(("valid_acc", "test_acc", "commonest_acc", "before", "after", "difference"), 2),
    **dict.fromkeys(("best_test_acc", "last_test_acc"), 2),
    **dict.fromkeys(("epochs_before", "epochs_after", "epochs_difference"), 1),
    **dict.fromkeys(("median_before", "median_after"), 1),
    **dict.fromkeys(("offset_y", "center_x", "center_y"), 1),
    **dict.fromkeys(("trf", "trf_h"), 0),
}
_ONLY_IF_KNOWN = ("acc1", "acc5")  # and the paper's: where no row has any, there is no column
_OF_A_GAUSSIAN = ("sigma_x", "sigma_y", "center_x", "center_y")
_NOTHING = "–"


def save(
    table: pd.DataFrame,
    schema: pa.Schema,
    facts: Mapping[str, Any],
    parquet: str,
    markdown_path: str,
    html_path: str,
    notes: Sequence[str] = (),
) -> None:
    """Write a table whole as Parquet, and its main columns to be read, with notes below."""
    from ..files import parquet as files_parquet

    files_parquet.write(table, parquet, schema, facts)
    for path, text in ((markdown_path, markdown(table, notes)), (html_path, html(table, notes))):
        with atomic.writing(path) as partial:
            partial.write_text(text, encoding="utf-8")


def markdown(table: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    """The table's main columns as Markdown, rounded for reading."""
    body = _readable(table).to_markdown(index=False, disable_numparse=True)
    return "\n\n".join([body, *notes]) + "\n"


def html(table: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    """The table's main columns as an HTML page that stands alone."""
    body = _readable(table).to_html(index=False, border=0)
    return _PAGE.format(
        body="\n".join([body, *(f"<p>{entities.escape(note)}</p>" for note in notes)])
    )


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    shown = [
        name
        for name in table
        if _bare(name) in _HEADERS and (table[name].notna().any() or not _is_optional(name))
    ]
    rows = [{name: _cell(row, name) for name in shown} for row in table.to_dict("records")]
    return pd.DataFrame(rows, columns=shown).set_axis(map(_header, shown), axis=1)


def _bare(name: str) -> str:
    return name.removeprefix("paper_")


def _is_optional(name: str) -> bool:
    return _bare(name) != name or name in _ONLY_IF_KNOWN


def _header(name: str) -> str:
    return ("" if _bare(name) == name else "paper: ") + _HEADERS[_bare(name)]


def _cell(row: Mapping[str, Any], name: str) -> str:
    """A value in words where a number would mislead."""
    if name in _OF_A_GAUSSIAN and row["r_squared"] < LEAST_R_SQUARED:
        return f"no Gaussian (R² {row['r_squared']:.3f})" if name == "sigma_x" else _NOTHING
    if name == "low":
        return _interval(row)
    return _number(row[name], _bare(name))


def _interval(row: Mapping[str, Any]) -> str:
    if pd.notna(row["low"]):
        return f"{row['low']:.2f} to {row['high']:.2f}"
    unit = "network" if row["model"] == ALL_MODELS else "pair"
    return f"none from {row['n_pairs']} {unit}{'s' if row['n_pairs'] > 1 else ''}"


def _number(value: object, name: str) -> str:
    if pd.isna(value):
        return _NOTHING
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
p {{ max-width: 60em; }}
</style></head><body>
{body}
</body></html>
"""
