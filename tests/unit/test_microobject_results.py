"""The micro-object task's first epochs, Table 4 and Fig. 5."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deadpixel.files import parquet
from deadpixel.results import microobject, pairs, published, render, style

NOTHING = published.beside(4, {}, {})


def _course(model: str, kernels: str, seed: int, *accuracies: float) -> list[dict]:
    key = {"model": model, "kernels": kernels, "seed": seed}
    return [{**key, "epoch": n, "test_acc": a} for n, a in enumerate(accuracies, start=1)]


def _microobject() -> pd.DataFrame:
    """resnet101 with three seeds, one of them never above 90 % before; ours with one seed."""
    return pd.DataFrame(
        [
            *_course("resnet101", "odd", 0, 0.5, 0.6, 0.95, 0.8),
            *_course("resnet101", "odd", 1, 0.5, 0.5, 0.5, 0.5),
            *_course("resnet101", "odd", 2, 0.5, 0.9, 0.91, 0.9),
            *_course("resnet101", "padded", 0, 0.95, 0.5, 0.95, 0.5),
            *_course("resnet101", "padded", 1, 0.5, 0.95, 0.5, 0.5),
            *_course("resnet101", "padded", 2, 0.5, 0.95, 0.5, 0.5),
            *_course("mine", "odd", 0, 0.5, 0.5, 0.5, 0.5),
            *_course("mine", "padded", 0, 0.5, 0.5, 0.5, 0.5),
        ]
    )


def test_first_epochs_count_from_one_and_exceed_the_threshold() -> None:
    firsts = microobject.first_epochs(_microobject(), 0.9)
    assert [*firsts] == microobject.FIRST_EPOCHS.names
    assert [None if pd.isna(n) else n for n in firsts["first_epoch"]] == [
        *(3, None, 3, 1, 2, 2, None, None)
    ]
    assert firsts["best_test_acc"].iloc[0] == 95 and firsts["last_test_acc"].iloc[0] == 80
    assert set(firsts["epochs"]) == {4}


def test_table4_marks_what_never_happened(tmp_path: Path) -> None:
    paper = published.beside(4, {"resnet101": "resnet101"}, {})
    table = microobject.table4(microobject.first_epochs(_microobject(), 0.9), paper)
    paths = [str(tmp_path / f"t.{suffix}") for suffix in ("parquet", "md", "html")]
    render.save(table, microobject.TABLE4, {}, paths)
    rows = parquet.read(paths[0], microobject.TABLE4.schema).set_index("model")
    ours = rows.loc["resnet101"]
    assert (ours["runs_before"], ours["runs_after"]) == ("3, >4, 3", "1, 2, 2")
    assert (ours["epochs_before"], ours["median_before"]) == (pytest.approx(10 / 3), 3)
    assert (ours["epochs_after"], ours["median_after"]) == (pytest.approx(5 / 3), 2)
    assert ours["epochs_difference"] == pytest.approx(-5 / 3)
    reach = 4.302653 * np.std([2, 2, 1], ddof=1) / np.sqrt(3)
    assert (ours["low"], ours["high"]) == pytest.approx((-5 / 3 - reach, -5 / 3 + reach), rel=1e-5)
    assert (ours["paper_epochs_before"], ours["paper_epochs_after"]) == (28.2, 10.2)
    assert ours["paper_epochs_difference"] == pytest.approx(-18)
    assert ours["logrank_p"] == ours["logrank_smallest_p"] == 0.25
    mine = rows.loc["mine"]
    assert (mine["runs_before"], mine["runs_after"], mine["epochs_difference"]) == (">4", ">4", 0)
    assert np.isnan(mine["logrank_p"]) and np.isnan(mine["low"])
    assert rows.loc[pairs.ALL_MODELS, "n_pairs"] == 2
    assert rows.loc[pairs.ALL_MODELS, "epochs_difference"] == pytest.approx(-5 / 6)


def test_who_gets_there_in_the_last_epoch_does_get_there() -> None:
    courses = [_course("mine", "odd", seed, 0.5, 0.5, 0.95) for seed in range(3)]
    courses += [_course("mine", "padded", seed, 0.5, 0.5, 0.5) for seed in range(3)]
    firsts = microobject.first_epochs(pd.DataFrame(itertools.chain(*courses)), 0.9)
    table = microobject.table4(firsts, NOTHING)
    assert table.loc[0, "runs_before"] == "3, 3, 3" and table.loc[0, "runs_after"] == ">3, >3, >3"
    assert table.loc[0, "logrank_p"] == 0.25


def test_the_papers_epochs_stand_beside_padded_kernels_only() -> None:
    firsts = microobject.first_epochs(_microobject(), 0.9)
    sliced = firsts[firsts["kernels"] == "padded"].assign(kernels="sliced")
    paper = published.beside(4, {"mine": "resnext101_32x8d"}, {})
    table = microobject.table4(pd.concat([firsts, sliced]), paper).set_index(["model", "kernels"])
    assert table["paper_epochs_before"].notna().sum() == 1
    assert table.loc[("mine", "padded"), "paper_epochs_after"] == 8.8


def test_paper_table_4_is_the_papers() -> None:
    assert published.table(4).to_numpy().tolist() == [
        ["resnet101", 28.2, 10.2],
        ["wide_resnet101_2", 28.0, 14.2],
        ["resnext101_32x8d", 21.8, 8.8],
    ]


def test_fig5_has_thin_runs_thick_means_and_the_papers_epochs() -> None:
    rows = [
        (model, kernels, seed, epoch, 0.5 + 0.1 * seed + 0.01 * epoch)
        for model in ("resnet101", "mine")
        for kernels in ("odd", "padded")
        for seed in (0, 1)
        for epoch in (1, 2)
    ]
    epochs = pd.DataFrame(rows, columns=["model", "kernels", "seed", "epoch", "test_acc"])
    paper = published.beside(4, {"resnet101": "resnet101"}, {})
    figure = microobject.accuracy_over_epochs(epochs, 0.9, paper)
    first, second = figure.axes
    assert len(first.lines) == 2 * (2 + 1) + 1 + 2
    assert len(second.lines) == 2 * (2 + 1) + 1
    lines = {line.get_label(): line for line in first.lines}
    assert lines["odd, mean"].get_ydata() == pytest.approx([0.56, 0.57])
    assert lines["odd, mean"].get_linewidth() > 2
    assert lines["padded, first epoch in the paper"].get_xdata()[0] == 10.2
    assert [*first.lines[6].get_ydata()] == [0.9, 0.9]
    assert lines["odd, first epoch in the paper"].get_xdata()[0] == 28.2
    assert lines["padded, mean"].get_color() == style.COLOURS["padded"]
    different = published.beside(4, {"resnet101": "resnet101"}, {"data set"})
    figure = microobject.accuracy_over_epochs(epochs, 0.9, different)
    assert not any("paper" in text.get_text() for text in figure.legends[0].get_texts())
    assert [len(axes.lines) for axes in figure.axes] == [7, 7]
