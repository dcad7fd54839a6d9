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


def _steps(*right: int, images: int = 256) -> pd.DataFrame:
    """Of one run, the last step first, as files may have them."""
    rows = [{"step": n, "images": images, "right": r} for n, r in enumerate(right, start=1)]
    return pd.DataFrame(rows[::-1])


def _firsts(epochs: pd.DataFrame, planned: int = 4) -> pd.DataFrame:
    """Of runs whose steps say nothing."""
    runs = epochs[["model", "kernels", "seed"]].drop_duplicates()
    steps = runs.merge(_steps(128, 128), how="cross")
    return microobject.first_epochs(epochs, steps, 0.9, planned)


def test_first_epochs_count_from_one_and_exceed_the_threshold() -> None:
    firsts = _firsts(_microobject())
    assert [*firsts] == microobject.FIRST_EPOCHS.names
    assert [None if pd.isna(n) else n for n in firsts["first_epoch"]] == [
        *(3, None, 3, 1, 2, 2, None, None)
    ]
    assert firsts["best_test_acc"].iloc[0] == 95 and firsts["last_test_acc"].iloc[0] == 80
    assert set(firsts["epochs"]) == {4}
    assert firsts["first_step"].isna().all()


def test_the_area_is_that_under_the_curve() -> None:
    """Of a run that was done after four of ten epochs, the last one counts for the others."""
    firsts = _firsts(_microobject(), planned=10)
    assert firsts["area"].iloc[0] == pytest.approx(100 * (0.5 + 0.6 + 0.95 + 7 * 0.8) / 10)
    assert _firsts(_microobject())["area"].iloc[1] == pytest.approx(50)


def test_the_first_step_is_of_enough_images_and_exceeds_the_threshold() -> None:
    """Of the last 512: two steps of 256, or of 300; never of fewer."""
    assert microobject.first_step(_steps(256, 128, 256, 204, 256, 256), 0.9) == 6
    assert microobject.first_step(_steps(256, 256), 0.9) == 2
    assert microobject.first_step(_steps(256), 0.9) is None
    assert microobject.first_step(_steps(230, 230, 230), 230 / 256) is None
    assert microobject.first_step(_steps(300, 270, 271, 270, images=300), 0.9) == 2
    assert microobject.first_step(_steps(270, 271, images=511), 0.5) == 2
    assert microobject.first_step(_steps(0, 500, images=512), 0.9) == 2


def test_each_run_has_its_own_steps() -> None:
    epochs = pd.DataFrame([*_course("a", "odd", 0, 0.5), *_course("a", "padded", 0, 0.5)])
    steps = [
        _steps(*right).assign(model="a", kernels=kernels, seed=0)
        for kernels, right in (("padded", (256, 256)), ("odd", (0, 256, 256)))
    ]
    firsts = microobject.first_epochs(epochs, pd.concat(steps), 0.9, 1)
    assert firsts.set_index("kernels")["first_step"].to_dict() == {"odd": 3, "padded": 2}


def test_kernels_at_another_crop_are_beside_odd_ones_of_that_crop() -> None:
    waits = {"odd": 5, "padded": 4, "odd_65px": 3, "padded_65px": 1}
    runs = pd.DataFrame(
        [{"model": "a", "seed": 0, "kernels": name, "epoch": wait} for name, wait in waits.items()]
    )
    found = {name: pair["epoch_before"].item() for name, pair in pairs.by_seed(runs)}
    assert found == {"padded": 5, "odd_65px": 5, "padded_65px": 3}


def test_table4_marks_what_never_happened(tmp_path: Path) -> None:
    paper = published.beside(4, {"resnet101": "resnet101"}, {})
    table = microobject.table4(_firsts(_microobject()), paper)
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
    counts = ["seen", "unseen_before", "unseen_after"]
    assert ours[counts].tolist() == [5, 1, 0] and mine[counts].tolist() == [0, 1, 1]
    assert rows.loc[pairs.ALL_MODELS, counts].tolist() == [5, 2, 1]


def test_seeds_may_be_as_large_as_the_configuration_lets_them(tmp_path: Path) -> None:
    firsts = _firsts(_microobject()).assign(seed=2**63 - 1)
    paths = [str(tmp_path / f"t.{suffix}") for suffix in ("parquet", "md", "html")]
    render.save(firsts, microobject.FIRST_EPOCHS, {}, paths)
    found = parquet.read(paths[0], microobject.FIRST_EPOCHS.schema)
    assert set(found["seed"]) == {2**63 - 1}


def test_who_gets_there_in_the_last_epoch_does_get_there() -> None:
    courses = [_course("mine", "odd", seed, 0.5, 0.5, 0.95) for seed in range(3)]
    courses += [_course("mine", "padded", seed, 0.5, 0.5, 0.5) for seed in range(3)]
    firsts = _firsts(pd.DataFrame(itertools.chain(*courses)))
    table = microobject.table4(firsts, NOTHING)
    assert table.loc[0, "runs_before"] == "3, 3, 3" and table.loc[0, "runs_after"] == ">3, >3, >3"
    assert table.loc[0, "logrank_p"] == 0.25


def test_the_papers_epochs_stand_beside_padded_kernels_only() -> None:
    firsts = _firsts(_microobject())
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


def test_the_mean_of_fig5_ends_with_the_first_run_that_does() -> None:
    courses = _course("a", "odd", 0, 0.5, 0.6) + _course("a", "odd", 1, 0.7, 0.8, 0.9)
    (panel,) = microobject.accuracy_over_epochs(pd.DataFrame(courses), 0.9, NOTHING).axes
    (mean,) = [line for line in panel.lines if line.get_label() == "odd, mean"]
    assert np.allclose(mean.get_xydata(), [(1, 0.6), (2, 0.7)])


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
    assert [*lines["threshold, 90 %"].get_ydata()] == [0.9, 0.9]
    assert lines["odd, first epoch in the paper"].get_xdata()[0] == 28.2
    assert lines["padded, mean"].get_color() == style.COLOURS["padded"]
    different = published.beside(4, {"resnet101": "resnet101"}, {"data set"})
    figure = microobject.accuracy_over_epochs(epochs, 0.9, different)
    assert not any("paper" in text.get_text() for text in figure.legends[0].get_texts())
    assert [len(axes.lines) for axes in figure.axes] == [7, 7]
