"""A network's maps as a figure: what is drawn of them, whatever can come out of the workflow."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from torch import nn

from deadpixel import erf, imbalance, receptive_field
from deadpixel.results import erf_maps, style

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


def _tiles(field: np.ndarray) -> np.ndarray:
    return imbalance.mean_tile(field, imbalance.tile_period(field.shape))


def _erf_maps(maps: list[np.ndarray], fits: list[dict], theories: list[dict]) -> Figure:
    targets = [f"layer{number}" for number in range(len(maps))]
    index = pd.MultiIndex.from_product([["odd"], targets])
    return erf_maps.figure(
        {"odd": dict(zip(targets, maps, strict=True))},
        {"odd": dict(zip(targets, map(_tiles, maps), strict=True))},
        pd.DataFrame(fits, index=index),
        pd.DataFrame(theories, index=index),
        "resnet18, calibrated",
    )


def _patches(figure: Figure, kind: type) -> list[list]:
    """The drawn shapes of a kind, by map."""
    axes = [a for a in figure.axes if "\n" in a.get_title()]
    return [[patch for patch in a.patches if isinstance(patch, kind)] for a in axes]


def test_map_shows_theory_and_fit() -> None:
    """The ellipse is one sigma of the Gaussian, the dashed box layer4's field of resnet50."""
    figure = _erf_maps([_bell(224, 224)], [FITTED], [_theory(427)])
    ((ellipse,),), ((box,),) = _patches(figure, Ellipse), _patches(figure, Rectangle)
    assert (*ellipse.center, ellipse.width, ellipse.height) == (96, 95, 100, 80)
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (96 - 213.5, 96 - 213.5, 427, 427)
    top = figure.axes[0]
    assert top.get_title() == "layer0\ntheory: 427 px\nσ 50.0 × 40.0 px, R² 0.945"
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
        (FAILED, _theory(99), "theory: 99 px\nno Gaussian fits", (0, 1)),
        (FITTED, _theory(INF, NAN), "theory: whole image\nσ 50.0", (1, 0)),
        (FITTED, _theory(NAN, NAN), "theory: unknown\nσ 50.0", (1, 0)),
        (FITTED, _theory(127), "theory: 127 px\nσ 50.0", (1, 1)),
        (FITTED, _theory(128), "theory: 128 px\nσ 50.0", (1, 0)),
        (FAILED, _theory(INF, NAN), "theory: whole image\nno Gaussian fits", (0, 0)),
        (
            FITTED | {"r_squared": 0.5},
            _theory(9),
            "theory: 9 px\nσ 50.0 × 40.0 px, R² 0.500",
            (1, 1),
        ),
        (FITTED | {"r_squared": 0.32}, _theory(9), "theory: 9 px\nno Gaussian (R² 0.320)", (0, 1)),
    ],
)
def test_map_without_theory_or_fit(
    fit: dict, theory: dict, title: str, shapes: tuple[int, int]
) -> None:
    """What is not known, a Gaussian that explains little, and a box far outside are not drawn."""
    figure = _erf_maps([_bell(64, 64)], [fit], [theory])
    assert figure.axes[0].get_title() in (
        f"layer0\n{title}",
        f"layer0\n{title} × 40.0 px, R² 0.945",
    )
    assert tuple(len(_patches(figure, kind)[0]) for kind in (Ellipse, Rectangle)) == shapes


@pytest.mark.parametrize("shape", [(224, 224), (64, 64), (100, 48), (20, 28)])
def test_map_of_any_size(shape: tuple[int, int]) -> None:
    """The whole map is seen, with ticks to its last pixel; the tile is no larger than the map."""
    whole, middle, tile, *_ = _erf_maps([_bell(*shape)], [FITTED], [_theory(35)]).axes
    height, width = shape
    assert (whole.get_xlim(), whole.get_ylim()) == ((-0.5, width - 0.5), (height - 0.5, -0.5))
    assert whole.get_xticks().tolist() == [0, width // 2, width - 1]
    assert whole.get_yticks().tolist() == [0, height // 2, height - 1]
    side = min(32, *shape)
    assert tile.images[0].get_array().shape == middle.images[0].get_array().shape == (side, side)
    assert (tile.get_title(), middle.get_title()) == (
        f"mean {side} px tile",
        f"its middle {side} px",
    )


def test_a_map_is_relative_to_its_brightest_pixels_which_one_peak_does_not_set() -> None:
    field = _bell(64, 64)
    field[10, 10] = 1e6
    whole, *_ = _erf_maps([field], [FITTED], [_theory(35)]).axes
    drawn = whole.images[0]
    assert drawn.get_clim() == (0, 1)
    share = np.mean(drawn.get_array() > 1)
    assert 0.001 < share < 0.003
    np.testing.assert_allclose(drawn.get_array() * np.percentile(field, 99.8), field)


def test_zeros_around_a_narrow_field_do_not_end_its_colours() -> None:
    field = np.zeros((224, 224))
    field[100:103, 100:103] = np.arange(1, 10).reshape(3, 3)
    whole, *_ = _erf_maps([field], [FITTED], [_theory(3)]).axes
    assert whole.images[0].get_array().max() == pytest.approx(9 / np.percentile(range(1, 10), 99.8))


def test_all_maps_are_on_a_scale_about_zero_if_one_is_negative_anywhere() -> None:
    signed = _bell(64, 64) - 0.5
    figure = _erf_maps([_bell(64, 64), signed], [FITTED] * 2, [_theory(35)] * 2)
    drawn = [axes.images[0] for axes in figure.axes if "middle" in axes.get_title()]
    drawn += [axes.images[0] for axes in figure.axes if "theory" in axes.get_title()]
    assert len(drawn) == 4 and {image.get_clim() for image in drawn} == {(-1, 1)}
    assert {image.get_cmap().name for image in drawn} == {style.DIVERGING.name}
    maps, *_ = (axes for axes in figure.axes if axes.get_ylabel() == "sensitivity")
    assert maps.get_ylim() == (-1, 1)


@pytest.mark.parametrize(("row", "column"), [(20, 41), (0, 63), (50, 2)])
def test_the_middle_is_that_of_the_field_framed_and_pixel_by_pixel(row: int, column: int) -> None:
    """As far as the image goes."""
    field = np.full((64, 64), 1e-9)
    field[row, column] = 1
    whole, middle, *_ = _erf_maps([field], [FAILED], [_theory(99)]).axes
    top, left = (min(max(at - 16, 0), 32) for at in (row, column))
    shown = middle.images[0].get_array()
    assert np.unravel_index(shown.argmax(), shown.shape) == (row - top, column - left)
    (frame,) = (line for line in whole.lines if line.get_linestyle() == ":")
    for ends, start in zip(frame.get_data(), (left, top), strict=True):
        assert (min(ends), max(ends)) == (start - 0.5, start + 31.5)


def test_bars_of_scale_are_as_long_as_they_say() -> None:
    whole, middle, *_ = _erf_maps([_bell(224, 224)], [FITTED], [_theory(35)]).axes
    for panel, length in ((whole, 32), (middle, 8)):
        assert [text.get_text() for text in panel.texts] == [f"{length} px"]
        bar = next(line for line in panel.lines if line.get_linestyle() == "-")
        assert np.ptp(bar.get_xdata()) == length and np.ptp(bar.get_ydata()) == 0


def test_every_row_has_its_bars_of_colour_and_every_line_its_meaning() -> None:
    figure = _erf_maps([_bell(64, 64)], [FITTED], [_theory(35)])
    maps, tiles = figure.axes[-2:]
    assert (maps.get_ylabel(), tiles.get_ylabel()) == ("sensitivity", "sensitivity /\nmean around")
    assert maps.get_ylim() == figure.axes[0].images[0].get_clim()
    assert tiles.get_ylim() == figure.axes[2].images[0].get_clim()
    (legend,) = figure.legends
    assert [
        (line.get_linestyle(), text.get_text())
        for line, text in zip(legend.get_lines(), legend.get_texts(), strict=True)
    ] == [
        ("-", "fitted Gaussian: its ellipse of one σ, which holds 39 % of it"),
        ("--", "theoretical field"),
        (":", "what is shown larger"),
    ]
    assert "99.8th percentile" in legend.get_title().get_text()
    assert "99 % of their pixels" in legend.get_title().get_text()


def test_as_much_of_a_gaussian_is_in_the_ellipse_as_the_legend_says() -> None:
    points = np.random.default_rng(0).normal(size=(100_000, 2))
    assert np.mean((points**2).sum(1) < 1) == pytest.approx(0.39, abs=0.005)


def _tiles_drawn(figure: Figure) -> list:
    return [axes.images[0] for axes in figure.axes if "tile" in axes.get_title()]


def test_tiles_share_a_scale() -> None:
    """Symmetric about one; 99 % of all their pixels are within it."""
    checks = 1 + 0.5 * (np.indices((64, 64)).sum(0) % 2)
    figure = _erf_maps([_bell(64, 64), checks], [FITTED] * 2, [_theory(35)] * 2)
    images = _tiles_drawn(figure)
    (low, high), other = (image.get_clim() for image in images)
    assert (low, high) == other
    assert low + high == pytest.approx(2)
    deviations = np.concatenate([np.abs(image.get_array().filled() - 1) for image in images])
    assert high - 1 == pytest.approx(np.percentile(deviations, 99))


def test_a_few_pixels_of_a_tile_do_not_take_over_its_scale() -> None:
    tile = np.full((32, 32), 0.9)
    tile[5, 5] = 40
    maps, tiles = ({"odd": {"a": values}} for values in (np.ones((224, 224)), tile))
    assert erf_maps._reach_of_tiles(maps, tiles) == pytest.approx(0.1)


def test_each_kind_of_kernels_has_its_rows() -> None:
    """Its own map, tile, fit and theory, on one scale of tiles."""
    index = pd.MultiIndex.from_product([["odd", "padded"], ["layer4"]])
    tiles = {
        kernels: np.full((32, 32), value) for kernels, value in (("odd", 1.1), ("padded", 0.6))
    }
    figure = erf_maps.figure(
        {"odd": {"layer4": _bell(64, 64)}, "padded": {"layer4": 2 * _bell(64, 64)}},
        {kernels: {"layer4": tile} for kernels, tile in tiles.items()},
        pd.DataFrame([FITTED, FAILED], index=index),
        pd.DataFrame([_theory(435), _theory(466)], index).assign(changed=[0, 7], left_odd=[8, 1]),
        "resnet18, finetuned",
    )
    titles = [axes.get_title() for axes in figure.axes if "theory" in axes.get_title()]
    assert titles[0].startswith("layer4, odd kernels\ntheory: 435 px\nσ 50.0")
    assert titles[1].startswith("layer4, padded (7 of 8) kernels\ntheory: 466 px\nno Gaussian")
    images = _tiles_drawn(figure)
    assert [image.get_array().max() for image in images] == [1.1, 0.6]
    for image in images:
        assert image.get_clim() == pytest.approx((0.6, 1.4))


def test_no_title_runs_into_the_next_or_out_of_the_page() -> None:
    targets = ["layer3", "layer4", "output"]
    index = pd.MultiIndex.from_product([["odd", "padded"], targets])
    maps = {kernels: dict.fromkeys(targets, _bell(64, 64)) for kernels in ("odd", "padded")}
    tiles = {kernels: dict.fromkeys(targets, np.ones((32, 32))) for kernels in maps}
    fits = pd.DataFrame([FITTED | {"sigma_x": 150.0, "sigma_y": 150.0}] * 6, index)
    trf = pd.DataFrame([_theory(1451)] * 6, index).assign(changed=7, left_odd=1)
    title = "wide_resnet101_2, fine-tuned on caltech101 (seed 0), before that trained on ImageNet"
    figure = erf_maps.figure(maps, tiles, fits, trf, title)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert len(boxes) == 18
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
    for text in figure.texts + [text for legend in figure.legends for text in legend.get_texts()]:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_a_narrow_map_does_not_take_over_the_scale_of_tiles() -> None:
    """Unless there are no others."""
    ys, xs = np.indices((224, 224)) - 112
    wide, narrow = (np.exp(-(xs**2 + ys**2) / 2 / sigma**2) for sigma in (60, 8))
    even, peaked = np.full((32, 32), 0.9), np.full((32, 32), 30.0)
    assert erf_maps._reach_of_tiles(
        {"odd": {"a": wide, "b": narrow}}, {"odd": {"a": even, "b": peaked}}
    ) == pytest.approx(0.1)
    assert erf_maps._reach_of_tiles({"odd": {"b": narrow}}, {"odd": {"b": peaked}}) == 29


@pytest.mark.parametrize("axis", [0, 1])
def test_the_deviation_of_a_map_is_per_axis(axis: int) -> None:
    field = np.zeros((20, 30))
    field[4, 6] = 1
    field[(10, 6) if axis == 0 else (4, 12)] = -1
    assert erf_maps._deviation(field) == pytest.approx(3 / 2**0.5)
    assert erf_maps._deviation(np.zeros((4, 4))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_dead_map_spoils_no_other(tmp_path: Path, order: int) -> None:
    """A target without any gradient has no tile; those of the others keep their scale."""
    maps, fits = [np.zeros((64, 64)), _bell(64, 64)][::order], [FAILED, FITTED][::order]
    figure = _erf_maps(maps, fits, [_theory(35)] * 2)
    style.save(figure, [tmp_path / "dead.png"])
    alone = _erf_maps([_bell(64, 64)], [FITTED], [_theory(35)])
    limits = {image.get_clim() for image in _tiles_drawn(figure)}
    assert limits == {image.get_clim() for image in _tiles_drawn(alone)}
