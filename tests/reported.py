"""A small run to make a report of: tables and maps whose every number is chosen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deadpixel.files import maps, parquet, schemas
from deadpixel.files.effective import Erf
from deadpixel.results import (
    causes,
    fields,
    microobject,
    pairs,
    render,
    shape_test,
    size_test,
    survey,
)
from deadpixel.results.probes import attacks, linear, places, saliency
from deadpixel.results.report.run import Run

SIDE = 64
SETTINGS = {
    "size test": {"data set": "synthetic", "weights": "calibrated"},
    "fine-tuning": {"data set": "caltech101", "weights": "imagenet", "epochs": 7},
    "micro-object": {"data set": "synthetic", "epochs": 50},
    "probes": {"data set": "synthetic", "weights": "finetuned"},
}


def frame(table: render.Table, *rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of a table, missing where a row says nothing."""
    return pd.DataFrame(rows, columns=table.names)


def row(**values: Any) -> dict[str, Any]:
    """Columns by name."""
    return values


def field_row(weights: str, kernels: str, contrast: float, **more: Any) -> dict[str, Any]:
    """Of the logits of resnet18, its errors a tenth of a contrast of 0.1."""
    row = {"dataset": "synthetic", "model": "resnet18", "weights": weights, "kernels": kernels}
    row |= {"target": "output", "contrast_unbiased": contrast, "contrast_unbiased_se": 0.01}
    row |= {"asymmetry_x": 0.2, "asymmetry_x_se": 0.02, "edge_left": 0.7, "edge_left_se": 0.02}
    return row | {"edge_right": 0.4, "edge_right_se": 0.01} | more


FIELDS = frame(
    fields.FIELDS,
    field_row("calibrated", "odd", 0.15),
    field_row("finetuned", "odd", 0.14),
    field_row("finetuned", "padded", 0.04, asymmetry_x=0.01, edge_right=0.69),
    field_row("finetuned", "padded", 0.9, target="layer4"),
)
TABLE1 = frame(
    size_test.TABLE1,
    row(model="resnet18", kernels="odd", n_images=9, trf=435, paper_trf=435, r_squared=0.9),
    row(model="resnet50", kernels="odd", n_images=9, trf=428, paper_trf=427, r_squared=0.9),
)
CORRELATIONS = frame(
    size_test.CORRELATIONS,
    row(source="ours", size="trf", n=9, kendall=0.24, kendall_p=0.46, exact=True),
    row(source="ours", size="sigma_x", n=9, kendall=-0.9, kendall_p=0.0001, exact=True),
    row(source=size_test.NINE, size="trf", n=9, kendall=0.5, kendall_p=0.06, exact=True),
)
_TESTED = row(signflip_p=0.5, signflip_smallest_p=0.25, signflip_exact=True)
TABLE3 = frame(
    shape_test.TABLE3,
    row(
        model="resnet18",
        kernels="padded",
        n_pairs=3,
        before=80.0,
        after=81.5,
        runs_before="80, 80, 80",
        runs_after="81, 82, 81.5",
        difference=1.5,
        paper_before=79.0,
        paper_after=80.25,
        paper_difference=1.25,
        low=1.0,
        high=2.0,
        **_TESTED,
    ),
).astype({"only_before": "Int32", "only_after": "Int32"})
TABLE4 = frame(
    microobject.TABLE4,
    row(
        model="resnet18",
        kernels="padded",
        n_pairs=2,
        runs_before="9, >50",
        runs_after="3, 4",
        epochs_before=29.5,
        epochs_after=3.5,
        epochs_difference=-26.0,
        **{"seen": 3, "unseen_before": 1, "unseen_after": 0},
        logrank_p=0.5,
        logrank_smallest_p=0.5,
        logrank_exact=True,
    ),
    row(
        model="resnet50",
        kernels="padded",
        n_pairs=2,
        runs_before=">50, >50",
        runs_after=">50, >50",
        epochs_before=50,
        epochs_after=50,
        epochs_difference=0,
        **{"seen": 0, "unseen_before": 2, "unseen_after": 2},
    ),
).astype(dict.fromkeys(["seen", "unseen_before", "unseen_after"], "Int32"))
CAUSES = frame(
    causes.CONTRASTS,
    *(
        row(
            model="resnet18",
            contrast=name,
            arms="odd to stem",
            measure="first_epoch",
            n_pairs=6,
            before=9,
            after=5,
            difference=-4.0,
            low=-5.0,
            high=-3.0,
            signflip_p=p,
            signflip_smallest_p=0.03125,
            signflip_exact=True,
            level=0.05,
            detectable=1,
        )
        for name, p in (("checkerboard", 0.03125), ("edge", 0.4))
    ),
)
PROBED = {"model": "resnet18", "kernels": "odd"}
LINEAR = frame(
    linear.LINEAR,
    *(
        row(
            **PROBED,
            **{"by": by, "n_images": 9, "r_squared": -2.5, "correlation": 0.25},
            **{"correlation_low": -0.1, "correlation_high": 0.5, "spearman": 0.2},
            spearman_p=0.4,
        )
        for by in linear.BY
    ),
)
PLACES = frame(
    places.PLACES,
    *(
        row(
            **PROBED,
            **{"kind": "disturbed", "size": size, "side": 1, "n_images": 9, "n_places": 90},
            **{"ratio": size, "ratio_low": 1.125, "ratio_high": 9.0, "expected": 2.5},
        )
        for size in (4.0, 1.5)
    ),
)
ATTACKS = frame(
    attacks.ATTACKS,
    *(
        row(
            **PROBED,
            **{"places": name, "n_images": 20, "succeeded": share, "queries": 9.0},
            mcnemar_p=p,
        )
        for name, share, p in (
            ("anywhere", 60.0, 0.1),
            ("strong", 50.0, 0.02),
            ("weak", 10.0, None),
        )
    ),
)
SALIENCY = frame(
    saliency.SALIENCY,
    *(
        row(
            **PROBED,
            **{"saliency": "gradient", "correction": name, "n_images": 9},
            contrast=contrast,
        )
        for name, contrast in (("none", 0.2), ("tile", 0.05), ("low_pass", 0.1))
    ),
)
SURVEY = frame(
    survey.SURVEY,
    row(network="uneven", kernels="odd", contrast=0.4, weakest_share=0.125),
    row(network="uneven", kernels="padded", contrast=0.02, weakest_share=0.0),
    row(network="even", kernels="odd", contrast=0.01, weakest_share=0.0),
    row(network="unknown", kernels="odd", reason="an operation"),
)
TABLES = {
    "receptive_fields": (fields.FIELDS, FIELDS),
    "table1": (size_test.TABLE1, TABLE1),
    "correlations": (size_test.CORRELATIONS, CORRELATIONS),
    "table3": (shape_test.TABLE3, TABLE3),
    "table4": (microobject.TABLE4, TABLE4),
    "causes": (causes.CONTRASTS, CAUSES),
    "probes_linear": (linear.LINEAR, LINEAR),
    "probes_places": (places.PLACES, PLACES),
    "probes_attacks": (attacks.ATTACKS, ATTACKS),
    "probes_saliency": (saliency.SALIENCY, SALIENCY),
    "survey": (survey.SURVEY, SURVEY),
}
assert pairs.INTERVAL_PAIRS == 3


def write(folder: Path, more: Sequence[Path] = (), **changed: pd.DataFrame | None) -> Run:
    """The run in a folder, with some of its tables changed, or without those that are None.

    more: of its files.
    """
    files = [*write_maps(folder), *more]
    for name, (table, rows) in TABLES.items():
        rows = changed.get(name, rows)
        if rows is not None:
            files.append(folder / f"tables/{name}.parquet")
            render.save(rows, table, {"settings": SETTINGS}, files[-1:], [f"note of {name}"])
    return Run(folder, folder / "report.html", files)


def write_maps(folder: Path) -> list[Path]:
    """Three of resnet18: odd kernels see one pixel of four more, padded ones all as much."""
    draw = np.random.default_rng(0)
    files = []
    for weights, kernels in (("calibrated", "odd"), ("finetuned", "odd"), ("finetuned", "padded")):
        images = draw.uniform(0.5, 1.5, (4, SIDE, SIDE))
        if kernels == "odd":
            images[:, ::2, ::2] *= 2
        key = f"dataset=synthetic/model=resnet18/weights={weights}/kernels={kernels}/target=output"
        files.append(folder / "erf" / key / "erf.parquet")
        maps.write([Erf(images.sum(0), (images**2).sum(0), 4)], files[-1], {})
    return files


def rows_of(path: Path) -> pd.DataFrame:
    """Of a map."""
    return parquet.read(path, schemas.ERF)
