"""How far maps reach whose answer is known in closed form."""

import math

import numpy as np
import pytest

from deadpixel import blocks, extent, gaussian, imbalance

NOWHERE = extent.Theory()
NONE = np.empty((0, 1, 1))


def _measured(field: np.ndarray, theory: extent.Theory = NOWHERE) -> dict[str, float]:
    return extent.measure(field, NONE, theory)


def _bell(shape: tuple[int, int], y: float, x: float, sigma: float) -> np.ndarray:
    return gaussian.evaluate(shape, 1, x, y, sigma, sigma)


def test_a_uniform_map_needs_the_area_that_it_holds() -> None:
    side = 200
    found = _measured(np.full((side, side), 3.0))
    for percent in (20, 30, 50, 99):
        assert found[f"area_{percent}"] == pytest.approx(percent / 100)
        assert found[f"log_area_{percent}"] == pytest.approx(percent / 100)
    for percent in (50, 90, 99):
        assert found[f"side_{percent}"] == pytest.approx(side * np.sqrt(percent / 100))
    assert found["radius_50"] == pytest.approx(side * np.sqrt(0.5 / np.pi), rel=0.005)
    assert (found["mass_x"], found["mass_y"], found["dead"]) == pytest.approx((99.5, 99.5, 0))


@pytest.mark.parametrize("sigma", [8.0, 20.0])
def test_a_gaussian_has_the_radius_and_side_of_the_closed_forms(sigma: float) -> None:
    """Radius sigma sqrt(-2 ln(1 - p)), side 2 sqrt(2) sigma erfinv(sqrt(p)); wherever it lies."""
    found = _measured(_bell((220, 260), 100.3, 140.6, sigma))
    for percent, quantile in ((50, 1.0512), (90, 1.9488), (99, 2.8063)):  # of erfinv(sqrt(p))
        expected = sigma * math.sqrt(-2 * math.log(1 - percent / 100))
        assert found[f"radius_{percent}"] == pytest.approx(expected, abs=0.1)
        assert found[f"side_{percent}"] == pytest.approx(2 * sigma * quantile, rel=0.003)
    assert (found["mass_y"], found["mass_x"]) == pytest.approx((100.3, 140.6), abs=1e-3)


def _windows(length: int, kernel: int, padding: int) -> np.ndarray:
    """How many windows of stride 2 meet each pixel of a line."""
    starts = range(-padding, length + padding - kernel + 1, 2)
    pixel = np.arange(length)
    return sum(((pixel >= start) & (pixel < start + kernel)).astype(float) for start in starts)


@pytest.mark.parametrize(
    ("length", "kernel", "right"),
    [(64, 3, 1), (65, 3, 1.5), (64, 4, 1.5)],
)
def test_edges_are_the_windows_that_meet_them(length: int, kernel: int, right: float) -> None:
    """Of one convolution with padding 1 along rows; along columns sensitivity falls by half."""
    row = _windows(length, kernel, 1)
    assert (row[:2].mean(), row[-2:].mean()) == (1.5, right)
    field = np.outer(np.linspace(2, 1, 80), row)
    found = extent.edges(field, 2)
    middle = row[length // 4 : length - length // 4].mean()
    assert found.left == pytest.approx(row[:2].mean() / middle)
    assert found.right == pytest.approx(right / middle)
    assert (found.top, found.bottom) == pytest.approx(
        (row.mean() / middle * (2 - 1 / 158) / 1.5, row.mean() / middle * (1 + 1 / 158) / 1.5)
    )


def test_edges_are_an_eighth_of_the_map_at_most() -> None:
    field = np.ones((40, 80))
    field[:5], field[-5:], field[:, :10], field[:, -10:] = 2, 3, 4, 5
    found = extent.edges(field, 32)
    assert found.top == pytest.approx((2 * 60 + 4 * 10 + 5 * 10) / 80)
    assert found.right == 5
    assert extent.asymmetry(found.left, found.right) == pytest.approx(
        (found.left - 5) / (found.left + 5)
    )
    measured = _measured(field, extent.Theory(stride=32))
    assert measured["edge_bottom"] == found.bottom
    assert measured["asymmetry_y"] == extent.asymmetry(found.top, found.bottom)
    assert measured["asymmetry_x"] == extent.asymmetry(found.left, found.right)


def test_maps_without_a_stride_or_a_middle_have_no_edges() -> None:
    assert all(map(math.isnan, extent.edges(np.ones((40, 40)), math.nan)))
    hollow = np.ones((40, 40))
    hollow[10:30, 10:30] = 0
    assert all(map(math.isnan, extent.edges(hollow, 4)))
    assert math.isnan(extent.asymmetry(0, 0))


def test_a_single_pixel_holds_all_within_itself() -> None:
    field = np.zeros((40, 50))
    field[12, 30] = 7.0
    found = _measured(field, extent.Theory(center=(15.0, 26.0)))
    assert (found["radius_50"], found["radius_99"]) == pytest.approx((0, 0.49), abs=1e-5)
    assert found["side_50"] == pytest.approx(np.sqrt(0.5))
    assert (found["mass_y"], found["mass_x"], found["mass_distance"]) == (12, 30, 5)
    assert found["dead"] == 1 - 1 / 2000
    # around the middle (19.5, 24.5) a square must reach the pixel's row and column
    reach = found["area_50"] * 2000
    assert (2 * 7) ** 2 < reach < (2 * 8) ** 2


def test_the_area_is_around_the_middle_and_inside_the_image() -> None:
    """A field in a corner needs almost all of the image, its square around itself only a little."""
    corner = _measured(_bell((100, 100), 10, 10, 4))
    middle = _measured(_bell((100, 100), 49.5, 49.5, 4))
    assert corner["side_90"] == pytest.approx(middle["side_90"], rel=0.02)
    assert corner["area_50"] > 0.6
    assert middle["area_50"] == pytest.approx((middle["side_50"] / 100) ** 2)
    assert extent.area(np.ones((20, 80)), 0.5) == pytest.approx(0.5)
    edges = np.zeros((20, 80))
    edges[:, [0, -1]] = 1.0
    assert extent.area(edges, 0.99) == pytest.approx(1, abs=0.02)


def _around(scores: np.ndarray, pixel: int, reach: int) -> np.ndarray:
    return scores[pixel - reach : pixel + reach + 1, pixel - reach : pixel + reach + 1]


def test_areas_are_those_of_the_published_script() -> None:
    """To the pixel by which its squares, odd and around pixel (H // 2, W // 2), are coarser."""
    rng = np.random.default_rng(0)
    field = 50 * _bell((120, 120), 60, 60, 25) * 2500 * rng.random((120, 120))
    found = _measured(field)
    for percent in (20, 30, 50, 99):
        for name, scores in (("area", field), ("log_area", np.log10(field + 1))):
            sides = range(3, 121, 2)
            half = next(
                side // 2
                for side in sides
                if _around(scores, 60, side // 2).sum() > percent / 100 * scores.sum()
            )
            ours = 120 * math.sqrt(found[f"{name}_{percent}"])
            assert 2 * half - 1.5 < ours < 2 * half + 2, (name, percent)


def test_the_contrast_is_that_of_the_tile_of_the_own_stride() -> None:
    row, column = np.indices((96, 96))
    field = 1 + 0.3 * np.cos(2 * np.pi * row / 8) * np.cos(2 * np.pi * column / 8)
    contrast = extent.contrast(field, 8.0)
    assert contrast == pytest.approx(0.15, rel=0.05)  # the root mean square of two cosines
    tile = imbalance.mean_tile(field, 8)
    assert contrast == pytest.approx(np.sqrt(((tile - 1) ** 2).mean()))
    other = _measured(field, extent.Theory(stride=6.0))["stride_contrast"]
    assert other == extent.contrast(field, 6.0) < 0.06
    for stride in (math.nan, 1.0, 7.5, 97.0):
        assert math.isnan(extent.contrast(field, stride))


def test_a_target_without_a_stride_has_the_networks() -> None:
    def row(target: str, height: float, width: float, center: float) -> dict:
        axes = {"stride_h": height, "stride_w": width, "center_h": center, "center_w": center + 1}
        return {"target": target, **axes}

    rows = [row("a", 8, 8, 3), row("b", 16, 16, 5), row("c", math.nan, math.nan, math.nan)]
    found = extent.theories([*rows, row("d", 8, 4, 7)])
    assert [found[target].stride for target in "abc"] == [8, 16, 16]
    assert math.isnan(found["d"].stride)
    assert found["b"].center == (5, 6) and math.isnan(found["c"].center[0])
    assert math.isnan(extent.theories(rows[2:])["c"].stride)


def test_errors_are_those_of_the_jackknife_and_show_the_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the centre of mass, over repeated experiments, and of every metric by hand."""
    rng = np.random.default_rng(0)
    repeated = ("mass_x", "mass_y", "mass_distance", "radius_50")
    theory = extent.Theory((20, 20), 8)

    def experiment() -> tuple[np.ndarray, np.ndarray]:
        means = [_bell((48, 48), *rng.normal(24, 1.5, 2), 5) for _ in range(10)]
        return np.mean(means, 0), blocks.maps_without_each(means, [1] * 10)

    with monkeypatch.context() as patch:
        patch.setattr(extent, "METRICS", {name: extent.METRICS[name] for name in repeated})
        rows = [extent.measure(*experiment(), theory) for _ in range(40)]
    for name in repeated:
        spread = np.std([row[name] for row in rows])
        assert np.mean([row[f"{name}_se"] for row in rows]) == pytest.approx(spread, rel=0.25)
    mean, without = experiment()
    found = extent.measure(mean, without, theory)
    singles = [_measured(field, theory) for field in without]
    for name in extent.METRICS:
        values = [single[name] for single in singles]
        expected = math.sqrt(9 / 10 * sum((value - np.mean(values)) ** 2 for value in values))
        assert found[f"{name}_se"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_no_measure_but_the_logarithms_depends_on_the_size_of_gradients(scale: float) -> None:
    field = _bell((64, 64), 30, 33, 9) * np.random.default_rng(0).uniform(0.5, 1.5, (64, 64))
    theory = extent.Theory((31, 31), 8)
    one, other = _measured(field, theory), _measured(scale * field, theory)
    for name in extent.METRICS:
        if not name.startswith("log_"):
            assert other[name] == pytest.approx(one[name], rel=1e-6), name


def test_negative_maps_and_maps_of_zeros_have_no_shares() -> None:
    field = _bell((64, 64), 30, 33, 9)
    field[0, 0] = -1e-9
    for empty, dead in ((field, 0), (np.zeros((64, 64)), 1)):
        found = _measured(empty, extent.Theory((31, 31), 8))
        numbers = {name for name, value in found.items() if not math.isnan(value)}
        assert numbers == {"stride", "dead"} and found["dead"] == dead


def test_columns_are_all_that_is_measured_in_the_order_of_the_file() -> None:
    found = _measured(np.ones((16, 16)), extent.Theory(stride=8.0))
    assert [*found] == extent.columns()
    assert extent.columns()[:3] == ["stride", "radius_50", "radius_50_se"]
    assert found["stride"] == 8 and math.isnan(found["mass_distance"])


def test_another_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    before = extent.columns()
    monkeypatch.setitem(extent.METRICS, "top", extent.Metric(lambda field, _: float(field.max())))
    found = _measured(np.full((16, 16), 2.0))
    assert extent.columns() == [*before, "top", "top_se"] and found["top"] == 2
