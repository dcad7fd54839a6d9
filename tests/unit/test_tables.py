"""The paper's tables: its numbers beside ours, nothing lost, and to be read as printed."""

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from deadpixel.errors import InputError
from deadpixel.files import parquet, schemas
from deadpixel.results import published, render, tables

PAPER = {  # acc@1, acc@5, TRF, sigma x, sigma y, R2 as printed
    "resnet18": (69.758, 89.078, 435, 76.534, 73.662, 0.908),
    "resnet34": (73.314, 91.420, 899, 96.148, 97.242, 0.785),
    "resnet50": (76.130, 92.862, 427, 64.820, 62.208, 0.945),
    "resnet101": (77.374, 93.546, 971, 60.061, 60.679, 0.937),
    "resnext50_32x4d": (77.618, 93.698, 427, 70.921, 67.679, 0.908),
    "resnet152": (78.312, 94.046, 1451, 60.589, 58.738, 0.930),
    "wide_resnet50_2": (78.468, 94.086, 427, 58.415, 60.676, 0.954),
    "wide_resnet101_2": (78.848, 94.284, 971, 56.900, 59.888, 0.944),
    "resnext101_32x8d": (79.312, 94.526, 971, 77.664, 77.047, 0.889),
}
SIZES = ("trf", "sigma_x", "sigma_y")
THEIRS = published.beside(1, {model: model for model in PAPER}, {})
NOTHING = THEIRS.iloc[:0]


def _fits(*models: str, target: str = "layer4") -> pd.DataFrame:
    """Fits whose sigmas are 10, 20, ... by model; their rows are numbered from 5 on."""
    count = len(models)
    numbers = {
        name: 10.0 * np.arange(1, count + 1)
        for name in schemas.FITS.names
        if name.startswith(("sigma", "center", "amplitude"))
    }
    names = {"dataset": "cub", "model": models, "weights": "imagenet", "kernels": "odd"}
    others = {"target": target, "n_images": 8, "r_squared": 0.9, "failure": None}
    index = pd.RangeIndex(5, 5 + count)
    return pd.DataFrame({**names, **numbers, **others}, index)[schemas.FITS.names]


def _trf(*models: str, target: str = "layer4", size: float = 100.0) -> pd.DataFrame:
    """Theoretical fields of `size`, one pixel more from model to model."""
    sizes = dict.fromkeys(schemas.TRF.names[3:], size + np.arange(len(models)))
    return pd.DataFrame({"model": models, "kernels": "odd", "target": target, **sizes})


def _failed(fits: pd.DataFrame, row: int) -> pd.DataFrame:
    """The fits, one of which has no Gaussian."""
    numbers = [name for name in fits if str(schemas.FITS.field(name).type) == "double"]
    fits = fits.copy()
    fits.loc[fits.index[row], numbers] = np.nan
    fits.loc[fits.index[row], "failure"] = "the map is constant"
    return fits


# ---------------------------------------------------------------------------------- table 1


def test_table1_is_ours_beside_the_papers() -> None:
    """In the order of accuracy; each model has its own numbers and the paper's of the same."""
    models = [*PAPER][::-1]
    accuracies = {model: PAPER[model][:2] for model in models}
    trf = pd.concat([_trf(*models, size=400), _trf(*models).assign(kernels="padded")])
    table = tables.table1(_fits(*models), trf.sample(frac=1, random_state=0), accuracies, THEIRS)
    ours = ["acc1", "acc5", "trf", "sigma_x", "sigma_y", "r_squared"]
    theirs = [f"paper_{name}" for name in ours]
    pairs = [name for pair in zip(ours, theirs, strict=True) for name in pair]
    assert [*table] == ["model", "n_images", *pairs]
    assert table["model"].tolist() == [*PAPER]
    assert table.index.tolist() == [*range(9)]
    for place, (model, numbers) in enumerate(PAPER.items()):
        row, k = table.loc[place], 8 - place
        assert tuple(row[theirs]) == numbers
        assert tuple(row[ours]) == (*accuracies[model], 400 + k, 10 * (k + 1), 10 * (k + 1), 0.9)
        assert row["n_images"] == 8


def test_table1_of_an_unknown_network() -> None:
    """The user's own has no accuracy and no paper; it comes last, an unpublished one likewise."""
    fits = _fits("mine", "resnet18", "half known")
    table = tables.table1(
        fits, _trf("mine", "resnet18"), {"resnet18": (69.758, 89.078), "mine": None}, THEIRS
    )
    assert table["model"].tolist() == ["resnet18", "mine", "half known"]
    assert table["trf"].tolist() == pytest.approx([101, 100, np.nan], nan_ok=True)
    unknown = ["acc1", "acc5", *(name for name in table if name.startswith("paper_"))]
    assert table.loc[1:, unknown].isna().all(axis=None)
    assert table.loc[0].notna().all()
    assert {str(table[name].dtype) for name in unknown} == {"float64"}


def test_failed_fit_stays_a_row() -> None:
    """Without its sizes, with all else."""
    fits = _failed(_fits("resnet18", "resnet34"), 0)
    table = tables.table1(fits, _trf("resnet18", "resnet34"), {"resnet18": (69.0, 89.0)}, THEIRS)
    first = table.loc[0]
    assert first["model"] == "resnet18"
    assert first[["sigma_x", "sigma_y", "r_squared"]].isna().all()
    assert first[["trf", "acc1", "n_images", "paper_sigma_x"]].tolist() == [100, 69, 8, 76.534]
    assert table.loc[1, "sigma_x"] == 20
    fields = tables.receptive_fields(fits, _trf("resnet18", "resnet34"), _imbalance(fits))
    assert fields["sigma_x"].tolist() == pytest.approx([np.nan, 20], nan_ok=True)


# ----------------------------------------------------------------------------- correlations


@pytest.fixture(scope="module")
def correlations() -> pd.DataFrame:
    """Of four networks: our sigmas rise with accuracy, and so do the theoretical sizes but one."""
    models = ["resnet18", "resnet50", "wide_resnet50_2", "mine", "unpublished"]
    trf = _trf(*models).assign(size_h=[1.0, 3.0, 2.0, 4.0, 0.0])
    accuracies = {m: (PAPER[m][:2] if m in PAPER else (90.0, 99.0)) for m in models[:-1]}
    table = tables.table1(_fits(*models), trf, accuracies, THEIRS)
    return tables.size_correlations(table).set_index(["source", "size"])


def test_correlations_of_the_papers_nine(correlations: pd.DataFrame) -> None:
    """The values that its Table 1 gives, with exact p-values."""
    paper = correlations.loc["the paper, all nine"]
    assert paper["n"].tolist() == [9] * 3
    assert paper["exact"].all()
    accuracy = [numbers[0] for numbers in PAPER.values()]
    for place, size in enumerate(SIZES, start=2):
        reference = kendalltau([numbers[place] for numbers in PAPER.values()], accuracy)
        assert paper.loc[size, "kendall"] == pytest.approx(reference.statistic)
        if size != "trf":  # scipy is exact only without ties
            assert paper.loc[size, "kendall_p"] == pytest.approx(reference.pvalue)
    assert paper.loc["trf", "kendall"] == pytest.approx(0.2434, abs=5e-5)
    assert paper.loc["sigma_x", "kendall"] == pytest.approx(-0.3889, abs=5e-5)
    assert paper.loc["sigma_x", "kendall_p"] == pytest.approx(0.1802, abs=5e-5)


def test_correlations_of_ours(correlations: pd.DataFrame) -> None:
    """Over the networks whose accuracy is published, ours and of the paper's the same ones."""
    ours, same = (correlations.loc[source] for source in ("ours", "the paper, same networks"))
    assert ours["n"].tolist() == [4] * 3
    assert ours["kendall"].tolist() == pytest.approx([2 / 3, 1, 1])
    assert ours["spearman"].tolist() == pytest.approx([0.8, 1, 1])
    assert ours["kendall_p"].tolist() == pytest.approx([8 / 24, 2 / 24, 2 / 24])
    assert same["n"].tolist() == [3] * 3
    assert same.loc[["sigma_x", "sigma_y"], "kendall"].tolist() == pytest.approx([-1, -1])
    assert correlations.columns.tolist() == tables.CORRELATIONS.names[2:]


def test_no_correlation_of_networks_without_an_accuracy() -> None:
    """Nor of the paper's, which do not stand beside ours."""
    models = ["resnet18", "resnet50"]
    table = tables.table1(_fits(*models), _trf(*models), {}, NOTHING)
    assert table["model"].tolist() == models
    assert tables.size_correlations(table)["source"].unique().tolist() == ["the paper, all nine"]
    (note,) = tables.no_accuracy(table)
    assert "No accuracy stands beside our sizes" in note
    page = render.markdown(table, [note])
    assert (
        "acc@1" not in page and "paper" not in page.splitlines()[0] and page.endswith(f"{note}\n")
    )
    known = tables.table1(_fits(*models), _trf(*models), {"resnet50": (1.0, 2.0)}, NOTHING)
    assert tables.no_accuracy(known) == []


def test_widths_of_poor_fits_are_not_correlated() -> None:
    models = ["resnet18", "resnet34", "resnet50", "resnet101"]
    fits = _fits(*models).assign(r_squared=[0.9, 0.49, 0.5, 0.9])
    accuracies = {model: PAPER[model][:2] for model in models}
    table = tables.table1(fits, _trf(*models), accuracies, NOTHING)
    ours = tables.size_correlations(table).query("source == 'ours'").set_index("size")
    assert ours["n"].to_dict() == {"trf": 4, "sigma_x": 3, "sigma_y": 3}


def test_spearman_is_not_kendall() -> None:
    """Each with its own p-value: of these orders they differ."""
    models = [*PAPER][:5]
    trf = _trf(*models).assign(size_h=[2.0, 1, 5, 3, 4])
    accuracies = {model: PAPER[model][:2] for model in models}
    found = tables.size_correlations(tables.table1(_fits(*models), trf, accuracies, NOTHING)).loc[0]
    size, accuracy = [2, 1, 5, 3, 4], np.arange(5)
    orders = [*itertools.permutations(range(5))]
    for name, statistic in (("kendall", kendalltau), ("spearman", spearmanr)):
        own = statistic(size, accuracy).statistic
        every = [statistic(size, accuracy[[*order]]).statistic for order in orders]
        assert found[name] == pytest.approx(own)
        assert found[f"{name}_p"] == pytest.approx(np.mean(np.abs(every) >= abs(own) - 1e-9))
    assert found["spearman_p"] != found["kendall_p"]


# ------------------------------------------------------------------------- receptive fields


def _imbalance(fits: pd.DataFrame) -> pd.DataFrame:
    """Indices that count the rows of the fits."""
    numbers = dict.fromkeys(schemas.IMBALANCE.names[6:], np.arange(1.0, len(fits) + 1))
    return fits[schemas.IMBALANCE.names[:6]].reset_index(drop=True).assign(**numbers)


def test_receptive_fields_have_a_row_of_every_map() -> None:
    """In the order of the fits, each with the theory and the imbalance of the same map."""
    fits = pd.concat([_fits("a", "b", target=t) for t in ("layer3", "layer4", "output")])
    trf = pd.concat(
        [_trf("a", "b", target="layer3", size=10), _trf("a", "b", target="output", size=np.inf)]
    )
    trf = trf.assign(size_w=7.0, offset_h=1.5, offset_w=2.5)
    imbalance = _imbalance(fits).assign(l1=[1, 2, 3, 4, 5, 6], l1_raw=-1.0, l2_raw=-1.0)
    imbalance = imbalance.assign(l2=[7, 8, 9, 10, 11, 12], n_images=99)
    fits = fits.assign(center_x=3.0, center_y=4.0, sigma_y=-fits["sigma_x"])
    found = tables.receptive_fields(fits, trf, imbalance.sample(frac=1, random_state=0))
    assert [*found] == tables.FIELDS.names
    keys = ["model", "target"]
    assert found[keys].to_numpy().tolist() == fits[keys].to_numpy().tolist()
    nan = np.nan
    assert found["trf_h"].tolist() == pytest.approx([10, 11, nan, nan, np.inf, np.inf], nan_ok=True)
    assert found.loc[0, ["trf_w", "offset_y", "offset_x"]].tolist() == [7, 1.5, 2.5]
    for name in ("l1", "l1_floor", "l2_unbiased", "contrast_unbiased_se"):
        assert found[name].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["sigma_x"].tolist() == fits["sigma_x"].tolist()
    assert found["n_images"].tolist() == [8] * 6
    assert found["l2"].tolist() == [7, 8, 9, 10, 11, 12]
    assert found.loc[0, ["center_x", "center_y"]].tolist() == [3, 4]
    assert found["sigma_y"].tolist() == (-found["sigma_x"]).tolist()


def test_each_kind_of_kernels_has_its_own_theory_and_imbalance() -> None:
    """And each data set and kind of weights its own imbalance."""
    fits = pd.concat(
        [
            _fits("a").assign(kernels=k, dataset=d, weights=w)
            for k, d, w in (
                ("odd", "cub", "imagenet"),
                ("padded", "cub", "imagenet"),
                ("odd", "photos", "imagenet"),
                ("odd", "cub", "file"),
            )
        ]
    )
    trf = pd.concat([_trf("a", size=400).assign(kernels="padded"), _trf("a", size=300)])
    found = tables.receptive_fields(fits, trf, _imbalance(fits)[::-1])
    assert found["trf_h"].tolist() == [300, 400, 300, 300]
    assert found["l1"].tolist() == [1, 2, 3, 4]


# ------------------------------------------------------------------------------- to be read


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Of a network of the paper, an own one without a Gaussian, and one that sees everything."""
    models = ["resnet18", "mine", "global"]
    trf = _trf(*models).assign(size_h=[435.0, np.nan, np.inf])
    accuracies = {"resnet18": (69.758, 89.078), "global": (70.0, 90.0)}
    fits = _fits(*models).assign(sigma_x=[76.53449, 20, 30], n_images=[8, 9, 10])
    return tables.table1(_failed(fits, 1), trf, accuracies, THEIRS)


MEASURES = ["acc@1 (%)", "acc@5 (%)", "TRF (px)", "σx (px)", "σy (px)", "R²"]
PRINTED = [
    ["model", "images", *(name for ours in MEASURES for name in (ours, f"paper: {ours}"))],
    [
        *("resnet18", "8", "69.758", "69.758", "89.078", "89.078", "435", "435"),
        *("76.534", "76.534", "10.000", "73.662", "0.900", "0.908"),
    ],
    [
        *("global", "10", "70.000", "–", "90.000", "–", "∞", "–"),
        *("30.000", "–", "30.000", "–", "0.900", "–"),
    ],
    ["mine", "9", *["–"] * 12],
]


def test_markdown(table: pd.DataFrame) -> None:
    """Rounded for reading; infinite is ∞ and unknown a dash."""
    head, _, *body = render.markdown(table).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *body)]
    assert rows == PRINTED


def test_html(table: pd.DataFrame) -> None:
    """The same cells, on a page of its own."""
    page = render.html(table)
    assert page.startswith("<!doctype html>")
    assert 'charset="utf-8"' in page
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in page.split("<tr")[1:]]
    assert rows == PRINTED


def test_a_gaussian_that_does_not_fit_has_no_widths_in_print(tmp_path: Path) -> None:
    """It is said in words, with its R2; the Parquet file keeps the raw numbers."""
    fits = _fits("a", "b").assign(r_squared=[0.32, 0.5], sigma_x=133.0)
    table = tables.receptive_fields(fits, _trf("a", "b"), _imbalance(fits))
    head, _, poor, good, *_ = render.markdown(table).splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")]
    first, second = (
        dict(zip(names, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
        for row in (poor, good)
    )
    widths = ["σx (px)", "σy (px)", "centre x (px)", "centre y (px)", "R²"]
    assert [first[name] for name in widths] == ["no Gaussian (R² 0.320)", "–", "–", "–", "0.320"]
    assert [second[name] for name in widths] == ["133.000", "20.000", "20.0", "20.0", "0.500"]
    parquet.write(table, tmp_path / "a.parquet", tables.FIELDS, {})
    assert parquet.read(tmp_path / "a.parquet", tables.FIELDS)["sigma_x"].tolist() == [133, 133]
    assert len(tables.poor_fits(table["r_squared"])) == 1
    assert tables.poor_fits(table["r_squared"][1:]) == []


def test_notes_stand_below_the_table(table: pd.DataFrame) -> None:
    assert render.markdown(table, ["one", "two"]).endswith("|\n\none\n\ntwo\n")
    assert "</table>\n<p>one</p>\n<p>2 &lt; 3</p>\n</body>" in render.html(table, ["one", "2 < 3"])


def test_long_tables_are_whole(table: pd.DataFrame) -> None:
    """No row and no name is cut for the screen."""
    long = pd.concat([table.assign(model="m" * 90)] * 70)
    assert render.html(long).count("m" * 90) == 210
    assert render.markdown(long).count("m" * 90) == 210


def test_save_writes_all_three(tmp_path: Path, table: pd.DataFrame) -> None:
    """The Parquet file keeps every digit, and what the numbers are of."""
    files = [tmp_path / "tables" / f"table1.{suffix}" for suffix in ("parquet", "md", "html")]
    render.save(table, tables.TABLE1, {"target": "layer4"}, *map(str, files))
    read = parquet.read(files[0], tables.TABLE1)
    pd.testing.assert_frame_equal(read, table.astype({"n_images": "int32"}), check_dtype=True)
    assert read.loc[0, "sigma_x"] == 76.53449
    assert parquet.read_provenance(files[0]) == {"target": "layer4"}
    assert files[1].read_text(encoding="utf-8") == render.markdown(table)
    assert files[2].read_text(encoding="utf-8") == render.html(table)
    assert len([*files[0].parent.iterdir()]) == 3


def test_every_table_can_be_written(tmp_path: Path, correlations: pd.DataFrame) -> None:
    """Of its own columns and types."""
    fits = _failed(_fits("a", "b"), 0)
    fields = tables.receptive_fields(fits, _trf("a"), _imbalance(fits))
    for frame, schema in (
        (fields, tables.FIELDS),
        (correlations.reset_index(), tables.CORRELATIONS),
    ):
        parquet.write(frame, tmp_path / "a.parquet", schema, {})
        assert len(parquet.read(tmp_path / "a.parquet", schema)) == len(frame)
        assert render.markdown(frame).count("\n") == len(frame) + 2


# --------------------------------------------------------------------------- tables 2 and 3


def _runs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Epochs and predictions: resnet101 with two seeds, a network of ours with one, both arms."""
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
    runs = tables.finetune_runs(*_runs())
    assert [*runs] == tables.RUNS.names
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
        tables.finetune_runs(epochs, predictions)


def test_table2_has_both_arms_and_the_papers_beside_odd_kernels(tmp_path: Path) -> None:
    runs = tables.finetune_runs(*_runs()).query("seed == 0")
    keys = runs[["model", "kernels"]]
    fits = keys.assign(sigma_x=[1.0, 2, 3, 4], sigma_y=9.0, r_squared=0.5)
    trf = keys.assign(size_h=[971.0, 1002, 3, 4])
    paper = published.beside(2, {"resnet101": "resnet101"}, {})
    table = tables.table2(runs, fits, trf, paper)
    assert [*table] == tables.TABLE2.names
    assert table["model"].tolist() == ["mine", "mine", "resnet101", "resnet101"]  # by accuracy
    rows = table.set_index(["model", "kernels"])
    odd, padded = rows.loc[("resnet101", "odd")], rows.loc[("resnet101", "padded")]
    assert (odd["test_acc"], odd["paper_test_acc"], odd["paper_sigma_x"]) == (75, 92.71, 57.916)
    assert (odd["trf"], odd["paper_trf"], padded["trf"]) == (971, 971, 1002)
    assert np.isnan(padded["paper_test_acc"]) and padded["sigma_x"] == 2
    assert np.isnan(rows.loc[("mine", "odd"), "paper_test_acc"])


def test_table2_keeps_the_rows_of_each_network_together() -> None:
    """In the order of their best arm, each arm with its own numbers."""
    keys = [("a", "odd"), ("b", "odd"), ("a", "padded"), ("b", "padded")]
    runs = pd.DataFrame(keys, columns=["model", "kernels"])
    fits = runs.assign(sigma_x=[1.0, 2, 3, 4], sigma_y=[5.0, 6, 7, 8], r_squared=0.9)
    trf = runs.assign(size_h=[10.0, 20, 30, 40], size_w=0.0)
    runs = runs.assign(test_acc=[50.0, 60, 90, 70], valid_acc=[1.0, 2, 3, 4])
    table = tables.table2(runs, fits[::-1], trf.sample(frac=1, random_state=0), NOTHING2)
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


NOTHING2 = published.beside(2, {}, {})


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
    table = tables.table3(tables.finetune_runs(epochs, predictions), predictions, paper)
    paths = [str(tmp_path / f"t.{suffix}") for suffix in ("parquet", "md", "html")]
    render.save(table, tables.TABLE3, {}, *paths)
    rows = parquet.read(paths[0], tables.TABLE3).set_index("model")
    assert [*rows.index] == ["resnet101", "mine", tables.ALL_MODELS]
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
    both = rows.loc[tables.ALL_MODELS]
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
        ours = tables.table3(*_accuracies(*differences), published.beside(3, {}, {})).loc[0]
        assert ours["difference"] == pytest.approx(np.mean(differences))
        if len(differences) == 2:
            assert np.isnan(ours["low"]) and np.isnan(ours["high"])
        else:
            reach = 4.302653 * np.std(differences, ddof=1) / np.sqrt(3)
            assert ours["low"] == pytest.approx(70 / 3 - reach, rel=1e-5)
            assert ours["high"] == pytest.approx(70 / 3 + reach, rel=1e-5)
            assert f"{ours['low']:.2f} to {ours['high']:.2f} |" in render.markdown(
                ours.to_frame().T
            )


def test_p_of_a_mean_difference_is_that_of_all_flips_of_signs() -> None:
    table = tables.table3(*_accuracies(1, 2, 3, -1), published.beside(3, {}, {}))
    assert len(table) == 1  # one network is its own mean
    flips = [
        sum(s * d for s, d in zip(signs, (1, 2, 3, -1), strict=True))
        for signs in itertools.product((1, -1), repeat=4)
    ]
    expected = np.mean([abs(total) >= 5 for total in flips])
    assert table.loc[0, "signflip_p"] == expected == 6 / 16
    assert table.loc[0, "signflip_smallest_p"] == 1 / 8


def test_mcnemar_is_of_the_first_seed_and_of_each_arm() -> None:
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
    rows = tables.table3(runs, predictions, published.beside(3, {}, {})).set_index("kernels")
    assert rows[["only_before", "only_after"]].loc["padded"].tolist() == [0, 0]
    assert rows[["only_before", "only_after"]].loc["sliced"].tolist() == [3, 0]
    assert rows.loc["sliced", "mcnemar_p"] == 0.25


@pytest.mark.parametrize("pairs", [5, 6])
def test_too_few_pairs_are_named(pairs: int) -> None:
    """2 / 2**5 is 0.0625, 2 / 2**6 is 0.031: five seeds, as in the paper, cannot reach 0.05."""
    table = tables.table3(*_accuracies(*range(1, pairs + 1)), published.beside(3, {}, {}))
    assert table.loc[0, "signflip_p"] == table.loc[0, "signflip_smallest_p"] == 2.0 ** (1 - pairs)
    notes = tables.few_pairs(table["signflip_smallest_p"])
    assert len(notes) == (pairs == 5)
    assert all("too few pairs" in note for note in notes)


def test_paper_tables_2_and_3_are_the_papers() -> None:
    second, third = published.table(2), published.table(3)
    assert set(second["model"]) == set(PAPER) and len(third) == 3
    assert second.set_index("model").loc["resnet50"].tolist() == [
        94.82,
        94.38,
        427,
        56.528,
        59.245,
        0.962,
    ]
    assert (third["before"] - third["after"]).round(2).tolist() == [1.21, 1.05, 0.83]


# ---------------------------------------------------------------------------------- table 4


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
    firsts = tables.first_epochs(_microobject(), 0.9)
    assert [*firsts] == tables.FIRST_EPOCHS.names
    assert [None if pd.isna(n) else n for n in firsts["first_epoch"]] == [
        *(3, None, 3, 1, 2, 2, None, None)
    ]
    assert firsts["best_test_acc"].iloc[0] == 95 and firsts["last_test_acc"].iloc[0] == 80
    assert set(firsts["epochs"]) == {4}


def test_pairs_are_of_one_seed_whatever_the_order_of_runs() -> None:
    rows = [("odd", 0, 1.0), ("odd", 1, 2.0), ("odd", 2, 3.0)]
    rows += [("padded", 2, 30.0), ("padded", 0, 10.0), ("padded", 1, 20.0), ("sliced", 1, 7.0)]
    runs = pd.DataFrame(rows, columns=["kernels", "seed", "test_acc"]).assign(model="mine")
    found = {
        arm: pairs[["seed", "test_acc_before", "test_acc_after"]].to_numpy().tolist()
        for arm, pairs in tables._pairs(runs)
    }
    assert found == {"padded": [[0, 1, 10], [1, 2, 20], [2, 3, 30]], "sliced": [[1, 2, 7]]}


def test_table4_marks_what_never_happened(tmp_path: Path) -> None:
    paper = published.beside(4, {"resnet101": "resnet101"}, {})
    table = tables.table4(tables.first_epochs(_microobject(), 0.9), paper)
    paths = [str(tmp_path / f"t.{suffix}") for suffix in ("parquet", "md", "html")]
    render.save(table, tables.TABLE4, {}, *paths)
    rows = parquet.read(paths[0], tables.TABLE4).set_index("model")
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
    assert rows.loc[tables.ALL_MODELS, "n_pairs"] == 2
    assert rows.loc[tables.ALL_MODELS, "epochs_difference"] == pytest.approx(-5 / 6)


def test_who_gets_there_in_the_last_epoch_does_get_there() -> None:
    courses = [_course("mine", "odd", seed, 0.5, 0.5, 0.95) for seed in range(3)]
    courses += [_course("mine", "padded", seed, 0.5, 0.5, 0.5) for seed in range(3)]
    firsts = tables.first_epochs(pd.DataFrame(itertools.chain(*courses)), 0.9)
    table = tables.table4(firsts, NOTHING)
    assert table.loc[0, "runs_before"] == "3, 3, 3" and table.loc[0, "runs_after"] == ">3, >3, >3"
    assert table.loc[0, "logrank_p"] == 0.25


def test_the_papers_epochs_stand_beside_padded_kernels_only() -> None:
    firsts = tables.first_epochs(_microobject(), 0.9)
    sliced = firsts[firsts["kernels"] == "padded"].assign(kernels="sliced")
    paper = published.beside(4, {"mine": "resnext101_32x8d"}, {})
    table = tables.table4(pd.concat([firsts, sliced]), paper).set_index(["model", "kernels"])
    assert table["paper_epochs_before"].notna().sum() == 1
    assert table.loc[("mine", "padded"), "paper_epochs_after"] == 8.8


def test_paper_table_4_is_the_papers() -> None:
    assert published.table(4).to_numpy().tolist() == [
        ["resnet101", 28.2, 10.2],
        ["wide_resnet101_2", 28.0, 14.2],
        ["resnext101_32x8d", 21.8, 8.8],
    ]


def test_a_tiny_p_value_is_not_zero() -> None:
    table = pd.DataFrame({"mcnemar_p": [0.0001, 0.0006, 0.5], "difference": [0.0001, 0.0, 1.0]})
    text = render.markdown(table)
    assert "< 0.001" in text and "0.001 " in text and "0.500" in text and text.count("<") == 1
