"""The shape test: runs, Tables 2 and 3 with pairs of one seed, and figures of them."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer

from deadpixel.errors import InputError
from deadpixel.files import parquet
from deadpixel.results import pairs, published, render, shape_test

NAN = np.nan


def _runs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Epochs and predictions: resnet101 with two seeds, ours with one, each with both kernels."""
    right = {  # of four test images
        ("resnet101", "odd", 0): [1, 1, 1, 0],
        ("resnet101", "padded", 0): [1, 0, 0, 1],
        ("resnet101", "odd", 1): [1, 1, 1, 1],
        ("resnet101", "padded", 1): [1, 1, 0, 1],
        ("mine", "odd", 0): [0, 0, 0, 1],
        ("mine", "padded", 0): [1, 0, 0, 1],
    }
    epochs, predictions = [], []
    for (model, kernels, seed), answers in right.items():
        key = {"model": model, "kernels": kernels, "seed": seed}
        epochs += [{**key, "epoch": n + 1, "valid_acc": v} for n, v in enumerate([0.1, 0.7, 0.7])]
        predictions += [
            {
                **{**key, "path": f"{number}.jpg", "label": 5 + (number == 3)},
                "predicted": (5 if answer else 6) if number < 3 else (6 if answer else 5),
            }
            for number, answer in enumerate(answers)
        ]
    return pd.DataFrame(epochs), pd.DataFrame(predictions)


def test_runs_have_their_best_epoch_and_test_accuracy() -> None:
    runs = shape_test.finetune_runs(*_runs())
    assert [*runs] == shape_test.RUNS.names
    assert runs.iloc[0].to_dict() == {
        "model": "resnet101",
        "kernels": "odd",
        "seed": 0,
        "best_epoch": 2,
        "n_test": 4,
        "n_classes": 2,
        "valid_acc": pytest.approx(70),
        "test_acc": 75,
        "commonest_acc": 75,
    }
    assert runs["test_acc"].tolist() == [75, 50, 100, 75, 25, 50]


def test_an_accuracy_over_one_class_is_refused() -> None:
    """Whatever the network answers, it says nothing."""
    epochs, predictions = _runs()
    chosen = (predictions["model"] == "mine") & (predictions["kernels"] == "padded")
    predictions.loc[chosen, "label"] = 5
    with pytest.raises(
        InputError, match="mine, kernels padded, seed 0: all test images are of one"
    ):
        shape_test.finetune_runs(epochs, predictions)


def test_table2_has_both_kinds_of_kernels_and_the_papers_beside_odd_kernels(tmp_path: Path) -> None:
    runs = shape_test.finetune_runs(*_runs()).query("seed == 0")
    keys = runs[["model", "kernels"]]
    fits = keys.assign(sigma_x=[1.0, 2, 3, 4], sigma_y=9.0, r_squared=0.5)
    trf = keys.assign(size_h=[971.0, 1002, 3, 4])
    paper = published.beside(2, {"resnet101": "resnet101"}, {})
    table = shape_test.table2(runs, fits, trf, paper)
    assert [*table] == shape_test.TABLE2.names
    assert table["model"].tolist() == ["mine", "mine", "resnet101", "resnet101"]  # by accuracy
    rows = table.set_index(["model", "kernels"])
    odd, padded = rows.loc[("resnet101", "odd")], rows.loc[("resnet101", "padded")]
    assert (odd["test_acc"], odd["paper_test_acc"], odd["paper_sigma_x"]) == (75, 92.71, 57.916)
    assert (odd["trf"], odd["paper_trf"], padded["trf"]) == (971, 971, 1002)
    assert np.isnan(padded["paper_test_acc"]) and padded["sigma_x"] == 2
    assert np.isnan(rows.loc[("mine", "odd"), "paper_test_acc"])


def test_table2_keeps_the_rows_of_each_network_together() -> None:
    """In the order of their best kernels, each with its own numbers."""
    keys = [("a", "odd"), ("b", "odd"), ("a", "padded"), ("b", "padded")]
    runs = pd.DataFrame(keys, columns=["model", "kernels"])
    fits = runs.assign(sigma_x=[1.0, 2, 3, 4], sigma_y=[5.0, 6, 7, 8], r_squared=0.9)
    trf = runs.assign(size_h=[10.0, 20, 30, 40], size_w=0.0)
    runs = runs.assign(test_acc=[50.0, 60, 90, 70], valid_acc=[1.0, 2, 3, 4])
    table = shape_test.table2(runs, fits[::-1], trf.sample(frac=1, random_state=0), NOTHING)
    assert table[["model", "kernels"]].to_numpy().tolist() == [
        *(["b", "odd"], ["b", "padded"], ["a", "odd"], ["a", "padded"])
    ]
    for name, expected in {
        "test_acc": [60, 70, 50, 90],
        "valid_acc": [2, 4, 1, 3],
        "trf": [20, 40, 10, 30],
        "sigma_x": [2, 4, 1, 3],
        "sigma_y": [6, 8, 5, 7],
    }.items():
        assert table[name].tolist() == expected


NOTHING = published.beside(2, {}, {})


def _accuracies(*differences: float, model: str = "resnet101") -> tuple[pd.DataFrame, ...]:
    """Runs of as many seeds, 50 % before, and predictions of one image each."""
    runs = pd.DataFrame(
        [
            {"model": model, "kernels": kernels, "seed": seed, "test_acc": 50 + gain}
            for seed, difference in enumerate(differences)
            for kernels, gain in (("odd", 0), ("padded", difference))
        ]
    )
    return runs, runs.assign(path="a.jpg", label=0, predicted=0)


def test_table3_compares_pairs(tmp_path: Path) -> None:
    epochs, predictions = _runs()
    paper = published.beside(3, {"resnet101": "resnet101"}, {})
    table = shape_test.table3(shape_test.finetune_runs(epochs, predictions), predictions, paper)
    paths = [str(tmp_path / f"t.{suffix}") for suffix in ("parquet", "md", "html")]
    render.save(table, shape_test.TABLE3, {}, paths)
    rows = parquet.read(paths[0], shape_test.TABLE3.schema).set_index("model")
    assert [*rows.index] == ["resnet101", "mine", pairs.ALL_MODELS]
    ours = rows.loc["resnet101"]
    numbers = ours[["n_pairs", "before", "after", "difference"]]
    assert numbers.tolist() == [2, 87.5, 62.5, -25]
    assert ours[["low", "high"]].isna().all()
    assert (ours["runs_before"], ours["runs_after"]) == ("75.00, 100.00", "50.00, 75.00")
    assert (ours["only_before"], ours["only_after"], ours["mcnemar_p"]) == (2, 1, 1.0)
    assert (ours["signflip_p"], ours["signflip_smallest_p"], ours["signflip_exact"]) == (
        0.5,
        0.5,
        1,
    )
    assert (ours["paper_before"], ours["paper_after"]) == (95.28, 94.07)
    assert ours["paper_difference"] == pytest.approx(-1.21)
    assert (rows.loc["mine", "n_pairs"], rows.loc["mine", "signflip_smallest_p"]) == (1, 1)
    assert np.isnan(rows.loc["mine", "paper_before"])
    both = rows.loc[pairs.ALL_MODELS]
    assert (both["n_pairs"], both["before"], both["after"], both["difference"]) == (
        2,
        56.25,
        56.25,
        0,
    )
    text = Path(paths[1]).read_text()
    for words in ("none from 2 pairs ", "none from 1 pair ", "none from 2 networks "):
        assert text.count(words) == 1


def test_an_interval_takes_three_pairs() -> None:
    """And is Student's; with 2 pairs it would be 12.7 standard errors wide."""
    for differences in ([10, 20], [10, 20, 40]):
        ours = shape_test.table3(*_accuracies(*differences), published.beside(3, {}, {})).loc[0]
        assert ours["difference"] == pytest.approx(np.mean(differences))
        if len(differences) == 2:
            assert np.isnan(ours["low"]) and np.isnan(ours["high"])
        else:
            reach = 4.302653 * np.std(differences, ddof=1) / np.sqrt(3)
            assert ours["low"] == pytest.approx(70 / 3 - reach, rel=1e-5)
            assert ours["high"] == pytest.approx(70 / 3 + reach, rel=1e-5)
            assert f"{ours['low']:.2f} to {ours['high']:.2f} |" in render.markdown(
                ours.to_frame().T, shape_test.TABLE3
            )


def test_p_of_a_mean_difference_is_that_of_all_flips_of_signs() -> None:
    table = shape_test.table3(*_accuracies(1, 2, 3, -1), published.beside(3, {}, {}))
    assert len(table) == 1  # one network is its own mean
    flips = [
        sum(s * d for s, d in zip(signs, (1, 2, 3, -1), strict=True))
        for signs in itertools.product((1, -1), repeat=4)
    ]
    expected = np.mean([abs(total) >= 5 for total in flips])
    assert table.loc[0, "signflip_p"] == expected == 6 / 16
    assert table.loc[0, "signflip_smallest_p"] == 1 / 8


def test_mcnemar_is_of_the_first_seed_and_of_each_kind_of_kernels() -> None:
    runs, predictions = _accuracies(0, 0)
    sliced = runs[runs["kernels"] == "padded"].assign(kernels="sliced")
    runs = pd.concat([runs, sliced], ignore_index=True)
    more = [predictions.assign(path=f"{n}.jpg") for n in range(5)]
    predictions = pd.concat(
        [*more, *(m[m["kernels"] == "padded"].assign(kernels="sliced") for m in more)]
    )
    wrong = (predictions["kernels"] == "sliced") & (predictions["seed"] == 0)
    predictions.loc[wrong & (predictions["path"] < "3"), "predicted"] = 1
    predictions.loc[predictions["seed"] == 1, "predicted"] = 1
    rows = shape_test.table3(runs, predictions, published.beside(3, {}, {})).set_index("kernels")
    assert rows[["only_before", "only_after"]].loc["padded"].tolist() == [0, 0]
    assert rows[["only_before", "only_after"]].loc["sliced"].tolist() == [3, 0]
    assert rows.loc["sliced", "mcnemar_p"] == 0.25


def test_mcnemar_at_another_crop_is_beside_odd_kernels_of_that_crop() -> None:
    runs, predictions = _accuracies(0, 0)
    larger = {kind: f"{kind}_225px" for kind in ("odd", "padded")}
    runs = pd.concat([runs, runs.replace({"kernels": larger})], ignore_index=True)
    predictions = pd.concat([predictions, predictions.replace({"kernels": larger})])
    changed = predictions["kernels"].isin([*larger.values()])
    predictions.loc[changed, "predicted"] = 1 - predictions.loc[changed, "label"]
    rows = shape_test.table3(runs, predictions, published.beside(3, {}, {})).set_index("kernels")
    assert rows.loc["padded_225px", ["only_before", "only_after"]].tolist() == [0, 0]
    assert rows.loc["odd_225px", ["only_before", "only_after"]].tolist() != [0, 0]


@pytest.mark.parametrize("number", [5, 6])
def test_too_few_pairs_are_named(number: int) -> None:
    """2 / 2**5 is 0.0625, 2 / 2**6 is 0.031: five seeds, as in the paper, cannot reach 0.05."""
    table = shape_test.table3(*_accuracies(*range(1, number + 1)), published.beside(3, {}, {}))
    assert table.loc[0, "signflip_p"] == table.loc[0, "signflip_smallest_p"] == 2.0 ** (1 - number)
    notes = pairs.few(table)
    assert len(notes) == (number == 5)
    assert all("too few pairs" in note for note in notes)


def test_paper_tables_2_and_3_are_the_papers() -> None:
    second, third = published.table(2), published.table(3)
    assert len(second) == 9 and len(third) == 3
    assert second.set_index("model").loc["resnet50"].tolist() == [
        94.82,
        94.38,
        427,
        56.528,
        59.245,
        0.962,
    ]
    assert (third["before"] - third["after"]).round(2).tolist() == [1.21, 1.05, 0.83]


def test_pairs_are_of_one_seed_whatever_the_order_of_runs() -> None:
    rows = [("odd", 0, 1.0), ("odd", 1, 2.0), ("odd", 2, 3.0)]
    rows += [("padded", 2, 30.0), ("padded", 0, 10.0), ("padded", 1, 20.0), ("sliced", 1, 7.0)]
    runs = pd.DataFrame(rows, columns=["kernels", "seed", "test_acc"]).assign(model="mine")
    found = {
        kernels: pair[["seed", "test_acc_before", "test_acc_after"]].to_numpy().tolist()
        for kernels, pair in pairs.by_seed(runs)
    }
    assert found == {"padded": [[0, 1, 10], [1, 2, 20], [2, 3, 30]], "sliced": [[1, 2, 7]]}


def _imbalance(*models: str, kernels: tuple[str, ...] = ("odd", "padded")) -> pd.DataFrame:
    """Indices 1, 2, 3, ... by row; the companions are 10 more, the noise floors a tenth."""
    rows = pd.MultiIndex.from_product([models, kernels], names=["model", "kernels"])
    frame = rows.to_frame(index=False)
    values = np.arange(1.0, len(frame) + 1)
    measured = {"l1_raw": 4 * values, "l2_raw": 4 * values}
    for kind in ("l1", "l2", "contrast"):
        measured |= {kind: values, f"{kind}_floor": values / 10, f"{kind}_unbiased": 10 + values}
    return frame.assign(**measured, l1_unbiased_se=0.1, l2_unbiased_se=NAN, contrast_unbiased_se=1)


def _heights(panel: Axes) -> list[tuple[str, list[float]]]:
    bars = [c for c in panel.containers if isinstance(c, BarContainer)]
    return [(c.get_label(), [bar.get_height() for bar in c]) for c in bars]


@pytest.mark.parametrize("kernels", [("odd",), ("odd", "padded"), ("odd", "padded", "sliced")])
def test_fig4_has_a_bar_for_each_network_and_kernel_and_its_noise(kernels) -> None:
    frame = _imbalance("resnet18", "resnet50", kernels=kernels)
    figure = shape_test.imbalance_before_and_after(frame, "output")
    panels = np.array(figure.axes).reshape(3, 3)
    rows = [np.array([1.0, 1 + len(kernels)]) + number for number in range(len(kernels))]
    for panel in panels[0]:
        assert _heights(panel) == [
            (f"{name} kernels", [*(10 + row)]) for name, row in zip(kernels, rows, strict=True)
        ]
    for scale, below in ((1, panels[1]), (4, panels[2, :2])):
        for panel in below:
            found = _heights(panel)
            for number, name in enumerate(kernels):
                whole, noise = found[2 * number : 2 * number + 2]
                assert whole == (f"{name} kernels", [*(scale * rows[number])])
                assert noise == ("of noise alone", pytest.approx(scale * rows[number] / 10))
    bars = [c for c in panels[0, 0].containers if isinstance(c, BarContainer)]
    segments = bars[0].errorbar.lines[2][0].get_segments()
    assert segments[0][:, 1].tolist() == pytest.approx([10.9, 11.1])
    assert [panel.get_title() for panel in panels[0]] == ["L1", "L2", "contrast"]
    assert all(panel.get_ylabel() for panel in panels[:, 0])
    figure.draw_without_rendering()
    named = [
        [
            panel.get_visible() and panel.xaxis.get_major_ticks()[0].label1.get_visible()
            for panel in row
        ]
        for row in panels
    ]
    assert named == [[False] * 3, [False, False, True], [True, True, False]]


def test_accuracies_join_the_pairs_and_show_the_papers() -> None:
    runs = pd.DataFrame(
        [
            ("resnet101", "odd", 0, 95.0),
            ("resnet101", "padded", 0, 94.0),
            ("resnet101", "odd", 1, 97.0),
            ("resnet101", "padded", 1, 93.0),
            ("mine", "odd", 0, 50.0),
            ("mine", "padded", 0, 60.0),
        ],
        columns=["model", "kernels", "seed", "test_acc"],
    ).assign(commonest_acc=20.0)
    paper = published.beside(3, {"resnet101": "resnet101"}, {})
    figure = shape_test.accuracies(runs, paper)
    first, second = figure.axes
    assert [(line.get_label(), *line.get_ydata()) for line in first.lines] == [
        ("always the commonest class", 20, 20),
        ("one seed, before and after", 95, 94),
        ("one seed, before and after", 97, 93),
        ("mean", 96, 93.5),
        ("the paper", 95.28, 94.07),
    ]
    assert "the paper" not in [line.get_label() for line in second.lines]
    rest = shape_test.accuracies(runs.iloc[::-1], paper)  # whose first panel lacks the paper's
    for drawn in (figure, rest):
        (legend,) = drawn.legends
        assert sorted(text.get_text() for text in legend.get_texts()) == [
            *("always the commonest class", "mean", "one seed, before and after", "the paper")
        ]
    assert [axes.get_title() for axes in figure.axes] == ["resnet101", "mine"]
    assert [*second.lines[-1].get_ydata()] == [50, 60]  # the mean of one run
    different = published.beside(3, {"resnet101": "resnet101"}, {"epochs"})
    first = shape_test.accuracies(runs, different).axes[0]
    assert "the paper" not in [line.get_label() for line in first.lines]


def test_training_curves_have_a_line_for_each_run() -> None:
    rows = [
        ("mine", kernels, seed, epoch, epoch / 10, epoch / 20)
        for kernels in ("odd", "padded")
        for seed in (0, 1)
        for epoch in (1, 2, 3)
    ]
    columns = ["model", "kernels", "seed", "epoch", "train_loss", "valid_acc"]
    mine = pd.DataFrame(rows, columns=columns)
    other = mine[mine["kernels"] == "odd"].assign(model="other")
    figure = shape_test.training_curves(pd.concat([mine, other]))
    assert [len(axes.lines) for axes in figure.axes] == [4, 2, 4, 2]  # losses, then accuracies
    loss, _, accuracy, _ = figure.axes
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert loss.lines[0].get_ydata().tolist() == [0.1, 0.2, 0.3]
    assert accuracy.lines[0].get_ydata().tolist() == [0.05, 0.1, 0.15]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["odd, a run", "padded, a run"]
