"""Figures of whatever can come out of the workflow, the same file for the same numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from PIL import Image

from deadpixel import plots, tables

INF, NAN = np.inf, np.nan


def _bell(height: int, width: int) -> np.ndarray:
    """A noisy bell in the middle of a map, (height, width)."""
    y, x = np.indices((height, width))
    bell = np.exp(-(((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) / 0.1))
    return bell * np.random.default_rng(0).uniform(0.5, 1.5, (height, width))


FITTED = {"sigma_x": 50.0, "sigma_y": 40.0, "center_x": 96.0, "center_y": 95.0, "r_squared": 0.945}
FAILED = dict.fromkeys(FITTED, NAN)


def _theory(size: float, stride: float = 32.0, offset: float = 0.0) -> dict[str, float]:
    values = {"size": size, "stride": stride, "offset": offset}
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


def test_box_of_an_even_field() -> None:
    """Of rows and columns of their own; padded kernels look half a pixel beside the pixels."""
    theory = {**_theory(40, 16, 7.5), "size_w": 60.0}
    figure = _erf_maps([_bell(64, 96)], [FITTED], [theory])
    (((box,),)) = _patches(figure, Rectangle)
    assert box.get_xy() == (7.5 + 3 * 16 - 30, 7.5 + 2 * 16 - 20)
    assert (box.get_width(), box.get_height()) == (60, 40)


@pytest.mark.parametrize(
    ("fit", "theory", "title", "shapes"),
    [
        (FAILED, _theory(99), "TRF 99 px, no Gaussian fits", (0, 1)),
        (FITTED, _theory(INF, NAN, NAN), "TRF ∞, σ 50.0", (1, 0)),
        (FITTED, _theory(NAN, NAN, NAN), "TRF unknown, σ 50.0", (1, 0)),
        (FITTED, _theory(1451), "TRF 1451 px, σ 50.0", (1, 0)),
        (FAILED, _theory(INF, NAN, NAN), "TRF ∞, no Gaussian fits", (0, 0)),
    ],
)
def test_map_without_theory_or_fit(
    fit: dict, theory: dict, title: str, shapes: tuple[int, int]
) -> None:
    """What is not known, and a box far outside of the map, is not drawn."""
    figure = _erf_maps([_bell(64, 64)], [fit], [theory])
    assert title in figure.axes[0].get_title()
    assert tuple(len(_patches(figure, kind)[0]) for kind in (Ellipse, Rectangle)) == shapes


@pytest.mark.parametrize("shape", [(224, 224), (64, 64), (100, 48), (20, 28)])
def test_map_of_any_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The whole map is seen, with ticks to its last pixel; the tile is no larger than the map."""
    figure = _erf_maps([_bell(*shape)], [FITTED], [_theory(35, 4)])
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


def _sizes(rows: int) -> Figure:
    """Table 1 of a network of the paper, one that sees everything, and one that is not known."""
    models = ["resnet18", "global", "mine"][:rows]
    fits = pd.DataFrame({"model": models, "kernels": "odd", "n_images": 8, "r_squared": 0.9})
    fits = fits.assign(sigma_x=[76.0, 50.0, NAN][:rows], sigma_y=[75.0, 40.0, NAN][:rows])
    trf = pd.DataFrame({"model": models, "kernels": "odd", "size_h": [435, INF, NAN][:rows]})
    accuracies = {"resnet18": (69.758, 89.078), "global": (75.0, 92.0), "mine": None}
    table = tables.table1(fits, trf, accuracies)
    undefined = {"n": rows, "kendall": NAN, "kendall_p": NAN}
    ours = [{"source": "ours", "size": size, **undefined} for size in plots._SIZES]
    paper = {"source": "the paper, all nine", "size": "trf", "n": 9}
    correlations = pd.DataFrame([*ours, {**paper, "kendall": 0.2434, "kendall_p": 0.46}])
    return plots.size_against_accuracy(table, tables.paper_table(1), correlations)


@pytest.mark.parametrize("rows", [1, 3])
def test_sizes_of_few_networks(tmp_path: Path, rows: int) -> None:
    """All nine of the paper are seen beside ours, and how each size goes with accuracy."""
    figure = _sizes(rows)
    plots.save(figure, [tmp_path / "few.png"])
    panels = [axes for axes in figure.axes if axes.collections]
    assert [panel.get_xlabel() for panel in panels] == [*plots._SIZES.values()]
    for panel, size in zip(panels, plots._SIZES, strict=True):
        theirs, ours = panel.collections
        expected = tables.paper_table(1)[[size, "acc1"]].to_numpy()
        np.testing.assert_array_equal(theirs.get_offsets(), expected)
        assert len(ours.get_offsets()) == rows
        assert np.isfinite([*panel.get_xlim(), *panel.get_ylim()]).all()
        assert f"ours (n = {rows}): τ-b undefined" in panel.get_title(loc="left")
    assert "all nine (n = 9): τ-b +0.24, p = 0.46" in panels[0].get_title(loc="left")
    first = panels[1].collections[1].get_offsets()[0]
    assert first.tolist() == [76.0, 69.758]


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
