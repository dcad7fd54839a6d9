"""Figures of kernel padding: the arithmetic of windows, and every number where it belongs."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from torch.nn import functional

from deadpixel.results import padding_plots, plots, published

NAN = np.nan


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_references_are_those_of_a_convolution(kernel: int, stride: int) -> None:
    """The gradient of a sum of windows of ones, away from its borders."""
    line = torch.zeros(1, 1, 120, requires_grad=True)
    functional.conv1d(line, torch.ones(1, 1, kernel), stride=stride).sum().backward()
    inner = line.grad[0, 0, 30:90].int().tolist()
    found = padding_plots.references(kernel, stride, 60).tolist()
    period = stride
    assert sorted(found[:period]) == sorted(inner[:period])
    assert found == found[:period] * (60 // period)
    assert inner == inner[:period] * (60 // period)


def test_even_kernels_reference_every_pixel_alike() -> None:
    for kernel in (2, 4, 8):
        assert set(padding_plots.references(kernel, 2, 16)) == {kernel // 2}
    for kernel in (1, 3, 7):
        assert set(padding_plots.references(kernel, 2, 16)) == {kernel // 2, kernel // 2 + 1}


def _titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_fig2_counts() -> None:
    titles = _titles(padding_plots.window_references())
    assert "3 x 3, stride 2\n1 to 4 windows" in titles
    assert "4 x 4, stride 2\neach in 4" in titles
    assert "1 x 1, stride 2\n0 to 1 windows" in titles
    assert "8 x 8, stride 2\neach in 16" in titles


def test_fig3_shows_each_kernel_on_one_scale() -> None:
    old = np.arange(9.0).reshape(3, 3)
    new = np.pad(old, ((0, 1), (0, 1)))
    figure = padding_plots.padded_kernel(
        {"before": old, "zero-padded": new, "fine-tuned": new - 1}, (3, 3), "mine, conv1"
    )
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert _titles(figure) == ["before, 3 x 3", "zero-padded, 4 x 4", "fine-tuned, 4 x 4"]
    assert np.array_equal(images[2].get_array(), new - 1)
    assert {image.get_clim() for image in images} == {(-8.0, 8.0)}


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
def test_fig4_has_a_bar_for_each_network_and_kernel_and_its_noise(tmp_path, kernels) -> None:
    frame = _imbalance("resnet18", "resnet50", kernels=kernels)
    figure = padding_plots.imbalance_before_and_after(frame, "output")
    panels = np.array(figure.axes).reshape(3, 3)
    rows = [np.array([1.0, 1 + len(kernels)]) + number for number in range(len(kernels))]
    for panel in panels[0]:
        assert _heights(panel) == [
            (name, [*(10 + row)]) for name, row in zip(kernels, rows, strict=True)
        ]
    for scale, below in ((1, panels[1]), (4, panels[2, :2])):
        for panel in below:
            found = _heights(panel)
            for number, name in enumerate(kernels):
                whole, noise = found[2 * number : 2 * number + 2]
                assert whole == (name, [*(scale * rows[number])])
                assert noise == ("noise floor", pytest.approx(scale * rows[number] / 10))
    bars = [c for c in panels[0, 0].containers if isinstance(c, BarContainer)]
    segments = bars[0].errorbar.lines[2][0].get_segments()
    assert segments[0][:, 1].tolist() == pytest.approx([10.9, 11.1])
    plots.save(figure, [tmp_path / "fig4.png"])


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
    figure = padding_plots.accuracies(runs, paper)
    first, second = figure.axes
    assert [(line.get_label(), *line.get_ydata()) for line in first.lines] == [
        ("always the commonest class", 20, 20),
        ("one seed", 95, 94),
        ("one seed", 97, 93),
        ("mean", 96, 93.5),
        ("the paper", 95.28, 94.07),
    ]
    assert "the paper" not in [line.get_label() for line in second.lines]
    rest = padding_plots.accuracies(runs.iloc[::-1], paper)  # whose first panel lacks the paper's
    for drawn in (figure, rest):
        (legend,) = drawn.legends
        assert sorted(text.get_text() for text in legend.get_texts()) == [
            *("always the commonest class", "mean", "one seed", "the paper")
        ]
    assert [axes.get_title() for axes in figure.axes] == ["resnet101", "mine"]
    assert [*second.lines[-1].get_ydata()] == [50, 60]  # the mean of one run
    different = published.beside(3, {"resnet101": "resnet101"}, {"epochs"})
    first = padding_plots.accuracies(runs, different).axes[0]
    assert "the paper" not in [line.get_label() for line in first.lines]


def test_training_curves_have_a_line_for_each_run() -> None:
    rows = [
        ("mine", kernels, seed, epoch, epoch / 10, epoch / 20)
        for kernels in ("odd", "padded")
        for seed in (0, 1)
        for epoch in (1, 2, 3)
    ]
    columns = ["model", "kernels", "seed", "epoch", "train_loss", "valid_acc"]
    figure = padding_plots.training_curves(pd.DataFrame(rows, columns=columns))
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]
    assert figure.axes[1].lines[0].get_ydata().tolist() == [0.05, 0.1, 0.15]


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
    figure = padding_plots.microobject_curves(epochs, 0.9, paper)
    first, second = figure.axes
    assert len(first.lines) == 2 * (2 + 1) + 1 + 2
    assert len(second.lines) == 2 * (2 + 1) + 1
    lines = {line.get_label(): line for line in first.lines}
    assert lines["odd, mean"].get_ydata() == pytest.approx([0.56, 0.57])
    assert lines["odd, mean"].get_linewidth() > 2
    assert lines["padded, first epoch in the paper"].get_xdata()[0] == 10.2
    assert [*first.lines[6].get_ydata()] == [0.9, 0.9]
    assert lines["odd, first epoch in the paper"].get_xdata()[0] == 28.2
    assert lines["padded, mean"].get_color() == padding_plots.COLOURS["padded"]
    different = published.beside(4, {"resnet101": "resnet101"}, {"data set"})
    figure = padding_plots.microobject_curves(epochs, 0.9, different)
    assert not any("paper" in text.get_text() for text in figure.legends[0].get_texts())
    assert [len(axes.lines) for axes in figure.axes] == [7, 7]
