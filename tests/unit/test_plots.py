"""Figures of whatever can come out of the workflow, the same file for the same numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from PIL import Image
from torch import nn

from deadpixel import erf, receptive_field
from deadpixel.results import plots, published, tables

INF, NAN = np.inf, np.nan


def _bell(height: int, width: int) -> np.ndarray:
    """A noisy bell in the middle of a map, (height, width)."""
    y, x = np.indices((height, width))
    bell = np.exp(-(((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) / 0.1))
    return bell * np.random.default_rng(0).uniform(0.5, 1.5, (height, width))


FITTED = {"sigma_x": 50.0, "sigma_y": 40.0, "center_x": 96.0, "center_y": 95.0, "r_squared": 0.945}
FAILED = dict.fromkeys(FITTED, NAN)


def _theory(size: float, center: float = 96.0) -> dict[str, float]:
    values = {"size": size, "center": center}
    return {f"{name}_{axis}": value for name, value in values.items() for axis in "hw"}


def _erf_maps(maps: list[np.ndarray], fits: list[dict], theories: list[dict]) -> Figure:
    targets = [f"layer{number}" for number in range(len(maps))]
    index = pd.MultiIndex.from_product([["odd"], targets])
    return plots.erf_maps(
        {"odd": dict(zip(targets, maps, strict=True))},
        pd.DataFrame(fits, index=index),
        pd.DataFrame(theories, index=index),
        "resnet18, calibrated",
    )


def _patches(figure: Figure, kind: type) -> list[list]:
    """The drawn shapes of a kind, by map."""
    axes = [a for a in figure.axes if "\n" in a.get_title()]
    return [[patch for patch in a.patches if isinstance(patch, kind)] for a in axes]


# -------------------------------------------------------------------------------- Figure 1


def test_map_shows_theory_and_fit() -> None:
    """The ellipse is one sigma of the Gaussian, the dashed box layer4's field of resnet50."""
    figure = _erf_maps([_bell(224, 224)], [FITTED], [_theory(427)])
    ((ellipse,),), ((box,),) = _patches(figure, Ellipse), _patches(figure, Rectangle)
    assert (*ellipse.center, ellipse.width, ellipse.height) == (96, 95, 100, 80)
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (96 - 213.5, 96 - 213.5, 427, 427)
    top = figure.axes[0]
    assert top.get_title() == "layer0\nTRF 427 px, σ 50.0 x 40.0 px, R² 0.945"
    assert (top.get_xlim(), top.get_ylim()) == ((-0.5, 223.5), (223.5, -0.5))  # rows go down
    assert figure.get_suptitle() == "resnet18, calibrated"


def test_box_of_a_field_with_sides_of_its_own() -> None:
    theory = {"size_h": 40.0, "size_w": 60.0, "center_h": 39.5, "center_w": 55.5}
    figure = _erf_maps([_bell(64, 96)], [FITTED], [theory])
    ((box,),) = _patches(figure, Rectangle)
    assert box.get_xy() == (55.5 - 30, 39.5 - 20)
    assert (box.get_width(), box.get_height()) == (60, 40)


@pytest.mark.parametrize("size", [(64, 64), (65, 72), (80, 88), (95, 64)])
def test_the_box_frames_what_the_map_depends_on(size: tuple[int, int]) -> None:
    """Also where the image is no multiple of the stride, 16 px: the map has a feature more."""
    layers = [nn.Conv2d(3, 1, 3, 2, 1), *(nn.Conv2d(1, 1, 3, 2, 1) for _ in range(3))]
    network = nn.Sequential(*layers)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 3, *size)
    field = erf.accumulate(network, image, ["3"])["3"].mean
    theory = receptive_field.table(network, {"layer0": "3"}, size)[0]
    figure = _erf_maps([field], [FITTED], [theory])
    ((box,),) = _patches(figure, Rectangle)
    rows, columns = (np.flatnonzero(field.any(axis)) for axis in (1, 0))
    for seen, start, side, length in zip(
        (rows, columns), box.get_xy()[::-1], (box.get_height(), box.get_width()), size, strict=True
    ):  # pixel n is drawn from n - 0.5 to n + 0.5; beyond the image there is nothing to see
        assert seen[0] == max(start + 0.5, 0)
        assert seen[-1] == min(start + side - 0.5, length - 1)


@pytest.mark.parametrize(
    ("fit", "theory", "title", "shapes"),
    [
        (FAILED, _theory(99), "TRF 99 px, no Gaussian fits", (0, 1)),
        (FITTED, _theory(INF, NAN), "TRF ∞, σ 50.0", (1, 0)),
        (FITTED, _theory(NAN, NAN), "TRF unknown, σ 50.0", (1, 0)),
        (FITTED, _theory(127), "TRF 127 px, σ 50.0", (1, 1)),
        (FITTED, _theory(128), "TRF 128 px, σ 50.0", (1, 0)),
        (FAILED, _theory(INF, NAN), "TRF ∞, no Gaussian fits", (0, 0)),
        (FITTED | {"r_squared": 0.5}, _theory(9), "TRF 9 px, σ 50.0 x 40.0 px, R² 0.500", (1, 1)),
        (FITTED | {"r_squared": 0.32}, _theory(9), "TRF 9 px, no Gaussian (R² 0.320)", (0, 1)),
    ],
)
def test_map_without_theory_or_fit(
    fit: dict, theory: dict, title: str, shapes: tuple[int, int]
) -> None:
    """What is not known, a Gaussian that explains little, and a box far outside are not drawn."""
    figure = _erf_maps([_bell(64, 64)], [fit], [theory])
    assert figure.axes[0].get_title() in (
        f"layer0\n{title}",
        f"layer0\n{title} x 40.0 px, R² 0.945",
    )
    assert tuple(len(_patches(figure, kind)[0]) for kind in (Ellipse, Rectangle)) == shapes


@pytest.mark.parametrize("shape", [(224, 224), (64, 64), (100, 48), (20, 28)])
def test_map_of_any_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The whole map is seen, with ticks to its last pixel; the tile is no larger than the map."""
    figure = _erf_maps([_bell(*shape)], [FITTED], [_theory(35)])
    top, bottom = figure.axes[:2]
    height, width = shape
    assert (top.get_xlim(), top.get_ylim()) == ((-0.5, width - 0.5), (height - 0.5, -0.5))
    assert top.get_xticks().tolist() == [0, width // 2, width - 1]
    assert top.get_yticks().tolist() == [0, height // 2, height - 1]
    tile = bottom.images[0].get_array().shape
    assert tile == (min(32, *shape),) * 2
    assert f"{tile[0]} x {tile[0]} px" in bottom.get_title()


def test_tiles_share_a_scale() -> None:
    """Symmetric about one and as wide as the widest."""
    checks = 1 + 0.5 * (np.indices((64, 64)).sum(0) % 2)
    figure = _erf_maps([_bell(64, 64), checks], [FITTED] * 2, [_theory(35)] * 2)
    images = [axes.images[0] for axes in figure.axes if "tile" in axes.get_title()]
    (low, high), other = (image.get_clim() for image in images)
    assert (low, high) == other
    assert low + high == pytest.approx(2)
    widest = max(np.abs(image.get_array() - 1).max() for image in images)
    assert high - 1 == pytest.approx(widest)


def test_each_kind_of_kernels_has_its_rows() -> None:
    """Its own map, fit and theory, on one scale of tiles."""
    index = pd.MultiIndex.from_product([["odd", "padded"], ["layer4"]])
    figure = plots.erf_maps(
        {"odd": {"layer4": _bell(64, 64)}, "padded": {"layer4": 2 * _bell(64, 64)}},
        pd.DataFrame([FITTED, FAILED], index=index),
        pd.DataFrame([_theory(435), _theory(466)], index=index),
        "resnet18, finetuned",
    )
    titles = [axes.get_title() for axes in figure.axes if "TRF" in axes.get_title()]
    assert titles[0].startswith("layer4, odd kernels\nTRF 435 px, σ 50.0")
    assert titles[1].startswith("layer4, padded kernels\nTRF 466 px, no Gaussian")
    limits = {a.images[0].get_clim() for a in figure.axes if "tile" in a.get_title()}
    assert len(limits) == 1


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
@pytest.mark.parametrize("order", [1, -1])
def test_dead_map_spoils_no_other(tmp_path: Path, order: int) -> None:
    """A target without any gradient has no tile; those of the others keep their scale."""
    maps, fits = [np.zeros((64, 64)), _bell(64, 64)][::order], [FAILED, FITTED][::order]
    figure = _erf_maps(maps, fits, [_theory(35)] * 2)
    plots.save(figure, [tmp_path / "dead.png"])
    alone = _erf_maps([_bell(64, 64)], [FITTED], [_theory(35)])
    limits = {axes.images[0].get_clim() for axes in figure.axes if "tile" in axes.get_title()}
    assert limits == {alone.axes[1].images[0].get_clim()}


# --------------------------------------------------------------------------------- table 1


PAPER = {"resnet18": "resnet18"}


def _sizes(rows: int, accuracies: dict | None = None) -> Figure:
    """Table 1 of a network of the paper, one that sees everything, and one without a Gaussian."""
    models = ["resnet18", "global", "poor", "mine"][:rows]
    fits = pd.DataFrame({"model": models, "kernels": "odd", "n_images": 8})
    fits = fits.assign(sigma_x=[76.0, 50.0, 7.0, NAN][:rows], sigma_y=[75.0, 40.0, 7.0, NAN][:rows])
    fits = fits.assign(r_squared=[0.9, 0.9, 0.3, NAN][:rows])
    trf = pd.DataFrame({"model": models, "kernels": "odd", "size_h": [435, INF, 9, NAN][:rows]})
    known = {"resnet18": (69.758, 89.078), "global": (75.0, 92.0), "poor": (60.0, 80.0)}
    paper = published.beside(1, PAPER, {})
    table = tables.table1(fits, trf, known if accuracies is None else accuracies, paper)
    correlations = tables.size_correlations(table)
    return plots.size_against_accuracy(
        table, published.table(1), correlations, "birds, own weights"
    )


def _drawn(panel: Axes) -> dict[str, list]:
    return {dots.get_label(): dots.get_offsets().tolist() for dots in panel.collections}


def test_sizes_of_the_papers_networks_and_ours() -> None:
    """All nine of the paper beside ours, and how each size goes with accuracy."""
    figure = _sizes(4)
    panels = [axes for axes in figure.axes if axes.collections]
    assert [panel.get_xlabel() for panel in panels] == [*plots._SIZES.values()]
    for panel, size in zip(panels, plots._SIZES, strict=True):
        expected = published.table(1)[[size, "acc1"]].to_numpy().tolist()
        assert _drawn(panel)["the paper (CUB-200-2011)"] == expected
        assert np.isfinite([*panel.get_xlim(), *panel.get_ylim()]).all()
    trf, sigma_x, sigma_y = (_drawn(panel)["ours (birds, own weights)"] for panel in panels)
    assert trf[:2] == [[9, 60], [435, 69.758]]  # the infinite one has no place
    assert sigma_x[:2] == [[76, 69.758], [50, 75]]  # the poor fit's 7 px are not drawn
    assert sigma_y[:2] == [[75, 69.758], [40, 75]]
    assert "ours (n = 3): τ-b +1.00, p = 0.33" in panels[0].get_title(loc="left")
    assert "ours (n = 2): τ-b -1.00, p = 1.00" in panels[1].get_title(loc="left")
    for panel in panels:
        assert "same networks" not in panel.get_title(loc="left")
        assert "the paper, all nine (n = 9)" in panel.get_title(loc="left")
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:4] == [
        *("the paper (CUB-200-2011)", "ours (birds, own weights)", "1 resnet18", "2 resnet34")
    ]
    numbers = {text.get_text(): text.xy for text in panels[0].texts}
    assert numbers["3"] == (427, 76.13) and len(numbers) == 9
    assert figure.get_suptitle() == ""
    assert panels[0].get_ylabel() == "ImageNet acc@1 (%), published"


def test_one_network_has_no_correlation() -> None:
    assert "ours (n = 1): τ-b undefined" in _sizes(1).axes[0].get_title(loc="left")


def test_networks_without_a_published_accuracy_are_not_drawn_and_that_is_said() -> None:
    figure = _sizes(4, accuracies={})
    for panel in figure.axes:
        assert [*_drawn(panel)] == ["the paper (CUB-200-2011)"]
        assert "ours" not in panel.get_title(loc="left")
    assert figure.get_suptitle() == (
        "Ours (birds, own weights) are not drawn: no accuracy is published of such weights"
    )


# ------------------------------------------------------------------------------------ files


@pytest.mark.parametrize(
    "draw",
    [
        lambda: _erf_maps([_bell(64, 64)], [FITTED], [_theory(35)]),
        lambda: _sizes(3),
    ],
    ids=["maps", "sizes"],
)
def test_same_figure_same_file(tmp_path: Path, draw: Callable[[], Figure]) -> None:
    """So a figure in a repository changes when its numbers do, not whenever it is drawn."""
    for name in ("a", "b"):
        plots.save(draw(), [tmp_path / f"{name}.svg", str(tmp_path / f"{name}.png")])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    first, second = (Image.open(tmp_path / f"{name}.png") for name in "ab")
    with first, second:
        assert first.format == "PNG"
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
        assert np.asarray(first).std() > 10  # not blank
    assert len([*tmp_path.iterdir()]) == 4


def test_save_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_figure: Figure, file: Path, **_: object) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space"):
        plots.save(Figure(), [tmp_path / "a.png"])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]
