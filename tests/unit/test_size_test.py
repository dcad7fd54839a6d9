"""The size test: the paper's numbers beside ours, correlations, and their figure."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import kendalltau, spearmanr

from deadpixel.files import parquet, schemas
from deadpixel.results import published, render, size_test

INF, NAN = np.inf, np.nan
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
THEIRS = published.beside(1, {model: model for model in PAPER}, {})
NOTHING = THEIRS.iloc[:0]


def _fits(*models: str, target: str = "layer4") -> pd.DataFrame:
    """Fits whose sigmas are 10, 20, ... by model; their rows are numbered from 5 on."""
    count = len(models)
    numbers = {
        name: 10.0 * np.arange(1, count + 1)
        for name in schemas.FITS.names
        if name.startswith(("sigma", "center", "amplitude", "r_squared_"))
    }
    names = {"dataset": "cub", "model": models, "weights": "imagenet", "kernels": "odd"}
    others = {"target": target, "n_images": 8, "r_squared": 0.9, "failure": None}
    index = pd.RangeIndex(5, 5 + count)
    return pd.DataFrame({**names, **numbers, **others}, index)[schemas.FITS.names]


def _trf(*models: str, target: str = "layer4", size: float = 100.0) -> pd.DataFrame:
    """Theoretical fields of `size`, one pixel more from model to model."""
    sizes = dict.fromkeys(
        [n for n in schemas.TRF.names if n.endswith(("_h", "_w"))], size + np.arange(len(models))
    )
    return pd.DataFrame({"model": models, "kernels": "odd", "target": target, **sizes})


def test_table1_is_ours_beside_the_papers() -> None:
    """In the order of accuracy; each model has its own numbers and the paper's of the same."""
    models = [*PAPER][::-1]
    accuracies = {model: PAPER[model][:2] for model in models}
    trf = pd.concat([_trf(*models, size=400), _trf(*models).assign(kernels="padded")])
    table = size_test.table1(_fits(*models), trf.sample(frac=1, random_state=0), accuracies, THEIRS)
    ours = ["acc1", "acc5", "trf", "sigma_x", "sigma_y", "r_squared"]
    theirs = [f"paper_{name}" for name in ours]
    pairs = [name for pair in zip(ours, theirs, strict=True) for name in pair]
    assert [*table] == ["model", "kernels", "n_images", *pairs]
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
    table = size_test.table1(
        fits, _trf("mine", "resnet18"), {"resnet18": (69.758, 89.078), "mine": None}, THEIRS
    )
    assert table["model"].tolist() == ["resnet18", "mine", "half known"]
    assert table["trf"].tolist() == pytest.approx([101, 100, np.nan], nan_ok=True)
    unknown = ["acc1", "acc5", *(name for name in table if name.startswith("paper_"))]
    assert table.loc[1:, unknown].isna().all(axis=None)
    assert table.loc[0].notna().all()
    assert {str(table[name].dtype) for name in unknown} == {"float64"}


def test_another_crop_is_another_row_that_is_correlated_apart() -> None:
    """The paper's numbers stand beside its own crop."""
    models = ["resnet18", "resnet34", "resnet50"]
    larger = _fits(*models).assign(kernels="odd_225px", sigma_x=[3.0, 2.0, 1.0])
    fits = pd.concat([_fits(*models), larger])
    trf = pd.concat([_trf(*models), _trf(*models, size=200).assign(kernels="odd_225px")])
    accuracies = {model: PAPER[model][:2] for model in models}
    table = size_test.table1(fits, trf, accuracies, THEIRS)
    of_crop = table.set_index("kernels")
    assert of_crop.loc["odd", "paper_trf"].notna().all()
    assert of_crop.loc["odd_225px", "paper_trf"].isna().all()
    assert of_crop.loc["odd_225px", "trf"].tolist() == [200, 201, 202]
    found = size_test.correlations(table).set_index(["source", "size"])["kendall"]
    assert found["ours", "sigma_x"] == 1 and found["ours, odd_225px", "sigma_x"] == -1
    assert found["ours, odd_225px", "sigma_y"] == 1
    figure = size_test.size_against_accuracy(
        table, published.table(1), size_test.correlations(table), "birds"
    )
    first, *_ = figure.axes
    assert _drawn(first)["ours, odd_225px"][0] == [200, PAPER["resnet18"][0]]
    colours = {dots.get_label(): tuple(dots.get_edgecolors()[0]) for dots in first.collections}
    assert colours["ours (birds)"] != colours["ours, odd_225px"]


def test_failed_fit_stays_a_row() -> None:
    """Without its sizes, with all else."""
    fits = _fits("resnet18", "resnet34")
    fits.loc[fits.index[0], ["sigma_x", "sigma_y", "r_squared"]] = NAN
    accuracies = {"resnet18": (69.0, 89.0)}
    table = size_test.table1(fits, _trf("resnet18", "resnet34"), accuracies, THEIRS)
    first = table.loc[0]
    assert first["model"] == "resnet18"
    assert first[["sigma_x", "sigma_y", "r_squared"]].isna().all()
    assert first[["trf", "acc1", "n_images", "paper_sigma_x"]].tolist() == [100, 69, 8, 76.534]
    assert table.loc[1, "sigma_x"] == 20


@pytest.mark.slow
def test_table1_as_it_is_read_and_written(tmp_path) -> None:
    models = ["resnet18", "mine", "global"]
    trf = _trf(*models).assign(size_h=[435.0, NAN, INF])
    fits = _fits(*models).assign(r_squared=[0.9, 0.3, 0.9])
    table = size_test.table1(fits, trf, {"resnet18": (69.758, 89.078)}, THEIRS)
    head, _, first, *_, poor, last = render.markdown(table, size_test.TABLE1).splitlines()
    measures = ["acc@1 (%)", "acc@5 (%)", "TRF (px)", "σx (px)", "σy (px)", "R²"]
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, first)] == [
        [
            "model",
            "kernels",
            "images",
            *(name for ours in measures for name in (ours, f"paper: {ours}")),
        ],
        [
            *("resnet18", "odd", "8", "69.758", "69.758", "89.078", "89.078", "435", "435"),
            *("10.000", "76.534", "10.000", "73.662", "0.900", "0.908"),
        ],
    ]
    assert "no Gaussian (R² 0.300)" in poor and "∞" in last
    for frame, schema in (
        (table, size_test.TABLE1.schema),
        (size_test.correlations(table), size_test.CORRELATIONS.schema),
    ):
        parquet.write(frame, tmp_path / "a.parquet", schema, {})
        assert len(parquet.read(tmp_path / "a.parquet", schema)) == len(frame)


@pytest.fixture(scope="module")
def correlations() -> pd.DataFrame:
    """Of four networks: our sigmas rise with accuracy, and so do the theoretical sizes but one."""
    models = ["resnet18", "resnet50", "wide_resnet50_2", "mine", "unpublished"]
    trf = _trf(*models).assign(size_h=[1.0, 3.0, 2.0, 4.0, 0.0])
    accuracies = {m: (PAPER[m][:2] if m in PAPER else (90.0, 99.0)) for m in models[:-1]}
    table = size_test.table1(_fits(*models), trf, accuracies, THEIRS)
    return size_test.correlations(table).set_index(["source", "size"])


def test_correlations_of_the_papers_nine(correlations: pd.DataFrame) -> None:
    """The values that its Table 1 gives, with exact p-values."""
    paper = correlations.loc["the paper, all nine"]
    assert paper["n"].tolist() == [9] * 3
    assert paper["exact"].all()
    accuracy = [numbers[0] for numbers in PAPER.values()]
    for place, size in enumerate(size_test.SIZES, start=2):
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
    assert correlations.columns.tolist() == size_test.CORRELATIONS.names[2:]


def test_no_correlation_of_networks_without_an_accuracy() -> None:
    """Nor of the paper's, which do not stand beside ours."""
    models = ["resnet18", "resnet50"]
    table = size_test.table1(_fits(*models), _trf(*models), {}, NOTHING)
    assert table["model"].tolist() == models
    assert size_test.correlations(table)["source"].unique().tolist() == ["the paper, all nine"]
    (note,) = size_test.no_accuracy(table)
    assert "No accuracy stands beside our sizes" in note
    page = render.markdown(table, size_test.TABLE1, [note])
    assert (
        "acc@1" not in page and "paper" not in page.splitlines()[0] and page.endswith(f"{note}\n")
    )
    known = size_test.table1(_fits(*models), _trf(*models), {"resnet50": (1.0, 2.0)}, NOTHING)
    assert size_test.no_accuracy(known) == []


def test_widths_of_poor_fits_are_not_correlated() -> None:
    models = ["resnet18", "resnet34", "resnet50", "resnet101"]
    fits = _fits(*models).assign(r_squared=[0.9, 0.49, 0.5, 0.9])
    accuracies = {model: PAPER[model][:2] for model in models}
    table = size_test.table1(fits, _trf(*models), accuracies, NOTHING)
    ours = size_test.correlations(table).query("source == 'ours'").set_index("size")
    assert ours["n"].to_dict() == {"trf": 4, "sigma_x": 3, "sigma_y": 3}


def test_spearman_is_not_kendall() -> None:
    """Each with its own p-value: of these orders they differ."""
    models = [*PAPER][:5]
    trf = _trf(*models).assign(size_h=[2.0, 1, 5, 3, 4])
    accuracies = {model: PAPER[model][:2] for model in models}
    found = size_test.correlations(size_test.table1(_fits(*models), trf, accuracies, NOTHING)).loc[
        0
    ]
    size, accuracy = [2, 1, 5, 3, 4], np.arange(5)
    orders = [*itertools.permutations(range(5))]
    for name, statistic in (("kendall", kendalltau), ("spearman", spearmanr)):
        own = statistic(size, accuracy).statistic
        every = [statistic(size, accuracy[[*order]]).statistic for order in orders]
        assert found[name] == pytest.approx(own)
        assert found[f"{name}_p"] == pytest.approx(np.mean(np.abs(every) >= abs(own) - 1e-9))
    assert found["spearman_p"] != found["kendall_p"]


def _sizes(rows: int, accuracies: dict | None = None) -> Figure:
    """Table 1 of a network of the paper, one that sees everything, and one without a Gaussian."""
    models = ["resnet18", "global", "poor", "mine"][:rows]
    fits = pd.DataFrame({"model": models, "kernels": "odd", "n_images": 8})
    fits = fits.assign(sigma_x=[76.0, 50.0, 7.0, NAN][:rows], sigma_y=[75.0, 40.0, 7.0, NAN][:rows])
    fits = fits.assign(r_squared=[0.9, 0.9, 0.3, NAN][:rows])
    trf = pd.DataFrame({"model": models, "kernels": "odd", "size_h": [435, INF, 9, NAN][:rows]})
    known = {"resnet18": (69.758, 89.078), "global": (75.0, 92.0), "poor": (60.0, 80.0)}
    paper = published.beside(1, {"resnet18": "resnet18"}, {})
    table = size_test.table1(fits, trf, known if accuracies is None else accuracies, paper)
    correlations = size_test.correlations(table)
    return size_test.size_against_accuracy(
        table, published.table(1), correlations, "birds, own weights"
    )


def _drawn(panel: Axes) -> dict[str, list]:
    return {dots.get_label(): dots.get_offsets().tolist() for dots in panel.collections}


def test_sizes_of_the_papers_networks_and_ours() -> None:
    """All nine of the paper beside ours, and how each size goes with accuracy."""
    figure = _sizes(4)
    panels = [axes for axes in figure.axes if axes.collections]
    assert [panel.get_xlabel() for panel in panels] == [*size_test.SIZES.values()]
    for panel, size in zip(panels, size_test.SIZES, strict=True):
        expected = published.table(1)[[size, "acc1"]].to_numpy().tolist()
        assert _drawn(panel)["the paper (CUB-200-2011)"] == expected
        assert np.isfinite([*panel.get_xlim(), *panel.get_ylim()]).all()
    trf, sigma_x, sigma_y = (_drawn(panel)["ours (birds, own weights)"] for panel in panels)
    assert trf[:2] == [[9, 60], [435, 69.758]]  # the infinite one has no place
    assert sigma_x[:2] == [[76, 69.758], [50, 75]]  # the poor fit's 7 px are not drawn
    assert sigma_y[:2] == [[75, 69.758], [40, 75]]
    assert "ours (n = 3):\nτ-b +1.00, p = 0.33" in panels[0].get_title(loc="left")
    assert "ours (n = 2):\nτ-b −1.00, p = 1.00" in panels[1].get_title(loc="left")
    for panel in panels:
        assert "same networks" not in panel.get_title(loc="left")
        assert "the paper, all nine (n = 9)" in panel.get_title(loc="left")
    assert "the paper, all nine (n = 9):\nτ-b +0.24, p = 0.46" in panels[0].get_title(loc="left")
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:4] == [
        *("ours (birds, own weights)", "the paper (CUB-200-2011)", "1 resnet18", "2 resnet34")
    ]
    assert texts[10:] == ["9 resnext101_32x8d", "10 poor", "11 global"]
    numbers = {text.get_text(): text.xy for text in panels[1].texts}
    assert numbers["3"] == (64.82, 76.13) and numbers["11"] == (50, 75)
    assert len(numbers) == len(panels[1].texts) == 10
    (joined,) = (line.get_xydata().tolist() for line in panels[1].lines)
    assert joined == [[76, 69.758], [76.534, 69.758]]  # ours and the paper's resnet18
    assert figure.get_suptitle() == ""
    assert panels[0].get_ylabel() == "ImageNet acc@1 (%), published"


def test_one_network_has_no_correlation() -> None:
    assert "ours (n = 1):\nτ-b undefined" in _sizes(1).axes[0].get_title(loc="left")


def test_networks_without_a_published_accuracy_are_not_drawn_and_that_is_said() -> None:
    figure = _sizes(4, accuracies={})
    for panel in figure.axes:
        assert [*_drawn(panel)] == ["the paper (CUB-200-2011)"]
        assert "ours" not in panel.get_title(loc="left")
    (legend,) = figure.legends
    assert legend.get_texts()[-1].get_text() == "9 resnext101_32x8d"
    assert figure.get_suptitle() == (
        "Ours (birds, own weights) are not drawn:\nno accuracy is published of such weights"
    )
