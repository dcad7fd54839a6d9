"""Contrasts of arms by seed: what is compared with what, how surely, and in which words."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from deadpixel import extent
from deadpixel.files import parquet
from deadpixel.results import causes, render, stats

NAMED = {
    "checkerboard": [["odd", "stem"], ["rest", "padded"]],
    "edge": [["odd", "odd_65px"]],
    "lost": [["odd", "averaged"]],
}
EPOCHS = {
    "odd": [8, 5, 4, 5, 4, 5],
    "stem": [3, 4, 3, 5, 4, 5],
    "rest": [6, 5, 3, 3, 4, 3],
    "padded": [3, 4, 3, 5, 3, 3],
    "odd_65px": [6, 6, 3, 6, 4, 4],
}


def _runs(epochs: dict[str, list[int]] = EPOCHS, model: str = "mine") -> pd.DataFrame:
    """Seeds 10, 11, ... in another order in each arm."""
    rows = [
        {"model": model, "kernels": kernels, "seed": 10 + n, "first_epoch": float(epoch)}
        for number, (kernels, values) in enumerate(epochs.items())
        for n, epoch in [*enumerate(values)][:: 1 if number % 2 else -1]
    ]
    return pd.DataFrame(rows)


def _row(table: pd.DataFrame, arms: str) -> pd.Series:
    (row,) = (row for _, row in table.iterrows() if row["arms"] == arms)
    return row


def test_a_pair_is_compared_by_seed() -> None:
    row = _row(causes.contrasts(_runs(), NAMED), "odd to odd_65px")
    differences = np.subtract(EPOCHS["odd_65px"], EPOCHS["odd"])
    assert (row["contrast"], row["measure"], row["n_pairs"]) == ("edge", "first_epoch", 6)
    assert (row["before"], row["after"]) == (np.mean(EPOCHS["odd"]), np.mean(EPOCHS["odd_65px"]))
    assert row["difference"] == pytest.approx(differences.mean())
    interval = scipy.stats.ttest_1samp(differences, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
    every = [np.dot(signs, differences) for signs in itertools.product([1, -1], repeat=6)]
    assert row["signflip_p"] == pytest.approx(
        np.mean(np.abs(every) >= abs(differences.sum()) - 1e-9)
    )
    assert row["signflip_smallest_p"] == 2 / 2**6


def test_a_contrast_of_two_pairs_is_the_mean_of_both_of_each_seed() -> None:
    table = causes.contrasts(_runs(), NAMED)
    whole, first, second = table[table["contrast"] == "checkerboard"].to_dict("records")
    assert [row["arms"] for row in (whole, first, second)] == [
        *("odd to stem, rest to padded", "odd to stem", "rest to padded")
    ]
    pairs = [np.subtract(EPOCHS[after], EPOCHS[before]) for before, after in NAMED["checkerboard"]]
    interval = scipy.stats.ttest_1samp(np.mean(pairs, axis=0), 0).confidence_interval()
    assert (whole["low"], whole["high"]) == pytest.approx(tuple(interval))
    assert whole["difference"] == pytest.approx((first["difference"] + second["difference"]) / 2)
    assert whole["n_pairs"] == 6


def test_what_would_have_been_seen_is_seen_four_times_out_of_five() -> None:
    """By simulation: runs that vary as these do, and a true difference of that size."""
    row = _row(causes.contrasts(_runs(), {"edge": NAMED["edge"]}), "odd to odd_65px")
    spread = np.subtract(EPOCHS["odd_65px"], EPOCHS["odd"]).std(ddof=1)
    drawn = np.random.default_rng(0).normal(row["detectable"], spread, (3000, 6))
    found = [stats.sign_flip(differences).p_value <= row["level"] for differences in drawn]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_contrasts_of_a_network_share_five_percent() -> None:
    """Those alone of which it has the arms."""
    few = _runs({"odd": [3, 4], "stem": [2, 2]}, model="other")
    table = causes.contrasts(pd.concat([_runs(), few]), NAMED)
    levels = {model: {*of_model["level"]} for model, of_model in table.groupby("model")}
    assert levels == {"mine": {0.05 / 2}, "other": {0.05}}


def test_seeds_that_lack_an_arm_are_no_pairs() -> None:
    runs = _runs()
    lost = (runs["kernels"] == "stem") & (runs["seed"] == 10)
    table = causes.contrasts(runs[~lost], NAMED)
    counts = table.set_index("arms")["n_pairs"].to_dict()
    assert counts["odd to stem"] == counts["odd to stem, rest to padded"] == 5
    assert counts["rest to padded"] == 6


def test_each_network_has_what_its_arms_allow() -> None:
    few = _runs({"odd": [3, 4], "stem": [2, 2]}, model="other")
    table = causes.contrasts(pd.concat([_runs(), few]), NAMED)
    (row,) = table[table["model"] == "other"].to_dict("records")
    assert (row["arms"], row["difference"]) == ("odd to stem", -1.5)
    assert math.isnan(row["low"]) and math.isnan(row["detectable"])
    assert causes.lacking(NAMED, table) == ["lost: no network has both arms of odd to averaged."]
    table = causes.contrasts(_runs({"odd": [3, 4], "stem": [2, 2]}), NAMED)
    assert causes.lacking(NAMED, table)[0] == (
        "checkerboard: no network has both arms of rest to padded."
    )


def test_measures_come_in_their_order_and_only_where_there_are_any() -> None:
    """Runs of both tasks in one table."""
    tested = _runs().rename(columns={"first_epoch": "test_acc"})
    both = pd.concat([tested, _runs().assign(first_step=30.0)])
    table = causes.contrasts(both, NAMED)
    assert [*table["measure"].unique()] == ["first_epoch", "first_step", "test_acc"]
    assert set(table["n_pairs"]) == {6}
    assert set(table[table["measure"] == "first_step"]["difference"]) == {0}


def test_runs_that_never_get_there_count_with_their_last() -> None:
    firsts = pd.DataFrame({"first_epoch": [3, None], "epochs": 6, "first_step": [None, 9]})
    firsts = firsts.assign(steps=96).astype({"first_epoch": "Int32", "first_step": "Int32"})
    found = causes.counted(firsts)
    assert found["first_epoch"].tolist() == [3, 6] and found["first_step"].tolist() == [96, 9]


def _said(epochs: dict[str, list[int]], number: int) -> list[str]:
    """Of so many contrasts of the same two arms."""
    names = ["checkerboard", *map(str, range(1, number))]
    table = causes.contrasts(_runs(epochs), {name: [["odd", "stem"]] for name in names})
    return causes.in_words(table)


def test_runs_of_both_tasks_count_epochs_in_whole_numbers(tmp_path) -> None:
    seen = _runs({"odd": [8]}).assign(epochs=10)
    tested = _runs({"odd": [70]}).rename(columns={"first_epoch": "test_acc"}).assign(best_epoch=3)
    runs = causes.joined([seen, tested])
    render.save(runs, causes.RUNS, {}, [tmp_path / "runs.parquet", tmp_path / "runs.md"])
    assert runs["epochs"].tolist() == [10, pd.NA] and runs["best_epoch"].tolist() == [pd.NA, 3]
    assert "10.0" not in (tmp_path / "runs.md").read_text()


def test_sentences_say_how_much_and_how_surely() -> None:
    clear = {"odd": [8, 7, 8, 7, 9, 8, 8], "stem": [3, 2, 4, 3, 3, 4, 3]}
    yes, *_ = _said(clear, 3)
    assert yes.startswith(
        "mine, checkerboard (odd to stem), first epoch: 4.71 epochs sooner (95 % interval"
    )
    assert yes.endswith("7 seeds, p = 0.016, asked for 0.017). It makes a difference.")
    (alone,) = _said(clear, 1)
    assert "p = 0.016, asked for 0.050). It makes a difference." in alone
    shared, *_ = _said(clear, 4)
    assert shared.endswith("So few seeds cannot show any: the smallest possible p is 0.016.")
    longer = {arm: [*epochs, 5] for arm, epochs in EPOCHS.items()}
    *_, no = causes.in_words(causes.contrasts(_runs(longer), NAMED))
    assert "mine, edge (odd to odd_65px), first epoch: 0.29 epochs sooner" in no
    assert "No difference is shown; one of" in no and no.endswith("four cases of five.")
    *_, fewer = causes.in_words(causes.contrasts(_runs(), NAMED))
    assert fewer.endswith("So few seeds cannot show any: the smallest possible p is 0.031.")
    unclear = {"odd": [5] * 8, "stem": [3, 4, 4, 3, 4, 4, 5, 5]}  # p = 2 / 2 ** 6
    unsure, *_ = _said(unclear, 3)
    assert "8 seeds, p = 0.031, asked for 0.017). No difference is shown" in unsure
    few = {"odd": [80.0, 81.0], "stem": [82.0, 82.0]}
    tested = _runs(few).rename(columns={"first_epoch": "test_acc"})  # pyright: ignore[reportArgumentType]
    assert causes.in_words(causes.contrasts(tested, NAMED)) == [
        "mine, checkerboard (odd to stem), test acc (%): 1.50 points higher; too few seeds (2) for "
        "more."
    ]
    (same,) = causes.in_words(causes.contrasts(_runs({"odd": [3, 4], "stem": [3, 4]}), NAMED))
    assert "first epoch: no difference; too few" in same


def test_only_contrasts_as_a_whole_are_said() -> None:
    runs = _runs().assign(first_step=30.0, area=50.0)
    sentences = causes.in_words(causes.contrasts(runs, NAMED))
    assert [text.split(" (")[0] for text in sentences] == ["mine, checkerboard", "mine, edge"]


def _field(contrast: float, dark: float, seed: int) -> np.ndarray:
    """A checkerboard of 1 +- contrast with noise, the right eighth `dark` times as strong."""
    rows, columns = np.indices((64, 64))
    noise = np.random.default_rng(seed).normal(0, 0.2, (64, 64))
    field = 1 + contrast * (1 - 2 * ((rows + columns) % 2)) + noise
    return (field * np.where(columns < 56, 1, dark)).clip(0)


def test_an_arm_has_the_contrast_and_the_edges_of_its_networks_without_their_noise() -> None:
    even, dark = (
        causes.at_start(
            [_field(0.2, right[seed % 2], seed) for seed in range(8)], extent.Theory(stride=32)
        )
        for right in ((1, 1), (0.4, 0.6))
    )
    assert even["contrast"] == pytest.approx(0.2, abs=0.01)
    assert 0 < even["contrast_se"] < 0.02
    assert dark["edge_right"] == pytest.approx(0.5, abs=0.02)
    assert dark["edge_left"] == pytest.approx(1, abs=0.03)
    assert 0 < dark["edge_left_se"] < 0.02 < dark["edge_right_se"] < 0.06
    flat = causes.at_start([_field(0, 1, seed) for seed in range(8)], extent.Theory())
    assert abs(flat["contrast"]) < 0.03


def test_arms_are_what_they_change_have_and_lead_to(tmp_path) -> None:
    rows = [("odd", "layer4", 0, 8), ("odd", "output", 0, 8), ("stem", "output", 2880, 6)]
    trf = pd.DataFrame(rows, columns=["kernels", "target", "added", "left_odd"])
    runs = _runs({"odd": [8, 5], "stem": [3, 4]})
    tested = _runs({"odd": [70, 80, 90]}).rename(columns={"first_epoch": "test_acc"})
    starts = {("mine", "stem"): {"contrast": 0.1, "edge_left": 0.7}}
    table = causes.arms(pd.concat([runs, tested]), starts, trf.assign(model="mine"))
    render.save(table, causes.ARMS, {}, [tmp_path / "arms.parquet"])
    odd, stem = parquet.read(tmp_path / "arms.parquet", causes.ARMS.schema).to_dict("records")
    assert (odd["kernels"], odd["runs"], odd["finetuned"]) == ("odd", 2, 3)
    assert (odd["first_epoch"], odd["test_acc"], odd["added"], odd["left_odd"]) == (6.5, 80, 0, 8)
    assert math.isnan(odd["contrast"]) and math.isnan(stem["test_acc"])
    assert (stem["runs"], stem["added"], stem["contrast"]) == (2, 2880, 0.1)
    assert (stem["edge_left"], stem["first_epoch"]) == (0.7, 3.5)


def test_the_figure_has_every_run_and_every_contrast() -> None:
    few = _runs({"odd": [3, 4, 4], "stem": [2, 2, 3]}, model="other")
    tested = _runs({"odd": [70]}).drop(columns="first_epoch")
    runs = pd.concat([_runs().assign(area=50.0), few, tested]).assign(test_acc=math.nan)
    table = causes.contrasts(runs, NAMED)
    figure = causes.figure(runs, table)
    first, epochs, areas, other, others, nothing = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == [*EPOCHS]
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert sorted(dots[0].get_xdata()) == sorted(EPOCHS["odd"])
    assert len({tuple(point) for point in dots[0].get_xydata()}) == 6  # equal ones lie apart
    means = [line.get_xdata()[0] for line in first.lines if line.get_marker() == "|"]
    assert means == pytest.approx([np.mean(values) for values in EPOCHS.values()])
    assert [label.get_text() for label in epochs.get_yticklabels()] == [
        *("checkerboard", "(odd to stem)", "(rest to padded)", "edge")
    ]
    places = [line.get_xydata()[0] for line in epochs.lines if line.get_marker() == "o"]
    of_epochs = table[(table["model"] == "mine") & (table["measure"] == "first_epoch")]
    assert np.allclose(places, [*zip(of_epochs["difference"], range(4), strict=True)])
    intervals = [[*line.get_xdata()] for line in epochs.lines[1:] if line.get_marker() != "o"]
    assert np.allclose(intervals, of_epochs[["low", "high"]])
    assert areas.get_visible() and others.get_visible() and not nothing.get_visible()
    assert other.get_title() == "other"
