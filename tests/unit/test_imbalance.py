"""Imbalance in closed form, and what is said of its noise against many draws."""

import itertools

import numpy as np
import pytest

from deadpixel import imbalance


def test_indices_of_a_checkerboard_ramp_and_plain_map():
    row, column = np.indices((8, 10))
    checkerboard = imbalance.indices(2.0 + (-1.0) ** (row + column))
    assert checkerboard == imbalance.Imbalance(l1=1, l2=2, l1_raw=2, l2_raw=4)
    ramp = imbalance.indices(3.0 * row + 1.0 * column)
    assert (ramp.l1_raw, ramp.l2_raw) == (2, 0)
    assert imbalance.indices(np.full((5, 5), 7.0)).l1 == 0


def test_axes_are_averaged_whatever_their_lengths():
    stripes = (np.indices((4, 100))[0] % 2).astype(float)
    assert imbalance.indices(stripes).l1_raw == 0.5


def test_scale_free_indices_do_not_change_with_scale_and_raw_ones_do():
    field = np.random.default_rng(0).random((20, 20))
    small, large = imbalance.indices(field), imbalance.indices(1e6 * field)
    assert (large.l1, large.l2) == pytest.approx((small.l1, small.l2))
    assert (large.l1_raw, large.l2_raw) == pytest.approx((1e6 * small.l1_raw, 1e6 * small.l2_raw))


def test_a_map_of_zeros_has_no_scale_free_index():
    assert np.isnan(imbalance.indices(np.zeros((4, 4))).l1)


UNEVEN = np.array([[0.0, 1.0, 5.0, 4.0], [2.0, 2.0, 2.0, 8.0], [3.0, 9.0, 2.0, 0.0]])


def test_indices_of_differences_of_every_size_by_hand() -> None:
    """Eqs. 4 and 5: means of absolute values, not roots of mean squares."""
    found = imbalance.indices(UNEVEN)
    first_y, first_x = 2 + 1 + 3 + 4 + 1 + 7 + 0 + 8, 1 + 4 + 1 + 0 + 0 + 6 + 6 + 7 + 2
    second_y, second_x = 1 + 6 + 3 + 12, 3 + 5 + 0 + 6 + 13 + 5
    assert found.l1_raw == pytest.approx((first_y / 8 + first_x / 9) / 2)
    assert found.l2_raw == pytest.approx((second_y / 4 + second_x / 6) / 2)
    mean = 38 / 12
    assert (found.l1, found.l2) == pytest.approx((found.l1_raw / mean, found.l2_raw / mean))


# ---------------------------------------------------------------------- blocks of images

KINDS = ("l1", "l2", "contrast")
CHECKERBOARD = (-1.0) ** np.indices((32, 32)).sum(0)


def _blocks(truth: np.ndarray, sizes: list[int], seed: int, noise: float = 1.0) -> list[np.ndarray]:
    """Means over images whose size and pattern vary, with pixels' noise beside it."""
    rng = np.random.default_rng(seed)
    return [
        np.mean(
            rng.lognormal(0, 0.3, (size, 1, 1)) * truth
            + rng.normal(0, 0.3, (size, 1, 1)) * (truth - truth.mean())
            + rng.normal(0, noise, (size, *truth.shape)),
            axis=0,
        )
        for size in sizes
    ]


def _squared(found: dict[str, float], kind: str) -> float:
    return found[f"{kind}_unbiased"] * abs(found[f"{kind}_unbiased"])


def _parts(field: np.ndarray, kind: str) -> list[np.ndarray]:
    return [np.diff(field, 1 if kind == "l1" else 2, axis) for axis in (0, 1)]


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_every_pair_of_blocks_written_out(kind: str) -> None:
    sizes = [3, 1, 2, 5]
    blocks = [UNEVEN + block for block in np.random.default_rng(0).normal(3, 2, (4, 3, 4))]
    square = scale = 0.0
    for (m, first), (n, second) in itertools.permutations(zip(sizes, blocks, strict=True), 2):
        pairs = zip(_parts(first, kind), _parts(second, kind), strict=True)
        square += m * n * np.mean([(x * y).mean() for x, y in pairs])
        scale += m * n * (first * second).mean()
    assert _squared(imbalance.measure(blocks, sizes), kind) == pytest.approx(square / scale)


def test_contrast_is_that_of_the_mean_tile() -> None:
    """Of a map without noise, and of one whose sides are shorter than a tile."""
    bell = np.exp(-((np.indices((96, 70)) - 40.0) ** 2).sum(0) / 800)
    for field, period in ((bell * (1 + 0.3 * np.random.default_rng(0).random((96, 70))), 32),):
        expected = np.sqrt(np.mean((imbalance.mean_tile(field, period) - 1) ** 2))
        found = imbalance.measure([field, 2 * field, field], [1, 2, 3])
        assert found["contrast"] == pytest.approx(expected)
        assert found["contrast_unbiased"] == pytest.approx(expected)
        assert found["contrast_floor"] < 0.3 * expected
    small = imbalance.measure([2 + CHECKERBOARD[:10, :14]] * 3, [1] * 3)
    assert small["contrast"] == pytest.approx(0.5, rel=0.2)


def _rms(index: float, amplitude: float = 0.25) -> float:
    """Relative to the root mean square of a checkerboard 1 +- amplitude."""
    return index / np.sqrt(1 + amplitude**2)


def test_the_companion_is_free_of_the_fields_width() -> None:
    """As the indices of a checkerboard under a bell are."""
    for width in (6.0, 20.0):
        bell = np.exp(-((np.indices((192, 192)) - 95.5) ** 2).sum(0) / (2 * width**2))
        found = imbalance.measure([bell * (1 + 0.25 * np.tile(CHECKERBOARD, (6, 6)))] * 2, [1, 1])
        assert found["l1_unbiased"] == pytest.approx(_rms(0.5), rel=0.03)
        assert found["l2_unbiased"] == pytest.approx(_rms(1.0), rel=0.03)


def test_a_checkerboard_without_noise_in_closed_form() -> None:
    found = imbalance.measure([2 + 0.5 * CHECKERBOARD] * 4, [3, 4, 3, 4])
    expected = {"l1": (0.5, _rms(0.5)), "l2": (1.0, _rms(1.0)), "contrast": (0.25, 0.25)}
    for kind, (index, companion) in expected.items():
        tolerance = 0.05 if kind == "contrast" else 1e-9  # the moving average meets the border
        assert found[kind] == pytest.approx(index, rel=tolerance)
        assert found[f"{kind}_unbiased"] == pytest.approx(companion, rel=tolerance)
        assert found[f"{kind}_floor"] == pytest.approx(0, abs=1e-9)
        assert found[f"{kind}_se"] == pytest.approx(0, abs=1e-7)
        assert found[f"{kind}_unbiased_se"] == pytest.approx(0, abs=1e-7)
    assert (found["l1_raw"], found["l2_raw"]) == pytest.approx((1, 2))


def test_the_companion_is_the_same_with_few_images_and_many() -> None:
    """The paper's index falls by a third with a hundred times as many images."""
    expected = {"l1": _rms(0.6, 0.3), "l2": _rms(1.2, 0.3), "contrast": 0.3}
    found = {}
    for images in (6, 60, 600):
        sizes = [len(range(block, images, 10)) for block in range(min(images, 10))]
        truth = 1 + 0.3 * np.tile(CHECKERBOARD, (3, 3))
        found[images] = imbalance.measure(_blocks(truth, sizes, 0, noise=2), sizes)
    for images, row in found.items():
        for kind, value in expected.items():
            error = row[f"{kind}_unbiased_se"]
            assert abs(row[f"{kind}_unbiased"] - value) < 2 * error, (images, kind)
            assert error < (0.25 if images == 6 else 0.05) * value, (images, kind)
    assert found[6]["l1"] > 1.4 * found[600]["l1"] and found[6]["l2"] > 1.4 * found[600]["l2"]


@pytest.mark.slow
def test_noise_is_zero_within_its_error() -> None:
    """Over many seeds: the mean is zero, and one and two standard errors hold what they should.

    Below 1.41 of its own errors a root is within one error of its square, below 3.86 within two.
    """
    runs = [
        imbalance.measure(_blocks(np.ones((16, 16)), [3] * 10, seed), [3] * 10)
        for seed in range(150)
    ]
    for kind in KINDS:
        squares = np.array([_squared(run, kind) for run in runs])
        z = np.abs([run[f"{kind}_unbiased"] / run[f"{kind}_unbiased_se"] for run in runs])
        assert abs(squares.mean()) < 3 * squares.std() / np.sqrt(len(runs))
        assert 0.6 < np.mean(z < 1.41) < 0.87
        assert np.mean(z < 3.86) > 0.93
        index, floor = (np.array([run[f"{kind}{of}"] for run in runs]) for of in ("", "_floor"))
        assert floor.mean() == pytest.approx(index.mean(), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[6] * 10, [3, 9, 5, 9, 4, 9, 7, 3, 8, 3]], ids=["equal", "not"])
def test_errors_are_the_spread_over_repeated_experiments(sizes: list[int]) -> None:
    """And a bigger block counts more, without a bias."""
    truth = 1 + 0.15 * CHECKERBOARD[:16, :16]
    runs = [imbalance.measure(_blocks(truth, sizes, seed), sizes) for seed in range(150)]
    for kind, expected in (("l1", _rms(0.3, 0.15)), ("l2", _rms(0.6, 0.15))):
        squares = np.array([_squared(run, kind) for run in runs])
        assert squares.mean() == pytest.approx(
            expected**2, abs=3 * squares.std() / np.sqrt(len(runs))
        )
        for name in (kind, f"{kind}_unbiased"):
            spread = np.std([run[name] for run in runs])
            assert np.mean([run[f"{name}_se"] for run in runs]) == pytest.approx(spread, rel=0.15)


def test_the_error_of_pairs_alone_is_that_of_their_sum() -> None:
    """A sum of n (n - 1) / 2 independent numbers, each of which counts twice."""
    number, rng = 300, np.random.default_rng(0)
    found = []
    for _ in range(10):
        upper = np.triu(rng.standard_normal((number, number)), 1)
        found.append(imbalance._pair_error(upper + upper.T))
    assert np.mean(found) == pytest.approx(np.sqrt(2 * number * (number - 1)), rel=0.08)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_the_floor_is_the_index_of_half_the_difference_of_two_halves(kind: str) -> None:
    blocks = np.array(_blocks(1 + 0.3 * CHECKERBOARD, [5] * 4, seed=0))
    halves = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    expected = [
        getattr(imbalance.indices((blocks[[*a]].mean(0) - blocks[[*b]].mean(0)) / 2), f"{kind}_raw")
        for a, b in halves
    ]
    found = imbalance.measure(blocks, [5] * 4)[f"{kind}_floor"]
    assert found == pytest.approx(np.mean(expected) / blocks.mean())


def test_the_floor_of_unequal_halves_has_the_noise_of_the_whole() -> None:
    """Of normal noise with standard deviation 1 / sqrt(n), l1 is 2 / sqrt(pi n)."""
    sizes = [40, 1, 1]
    floors = [
        imbalance.measure(_normal(sizes, seed, mean=10), sizes)["l1_floor"] for seed in range(10)
    ]
    assert np.mean(floors) == pytest.approx(2 / np.sqrt(np.pi * sum(sizes)) / 10, rel=0.02)


def _normal(sizes: list[int], seed: int, mean: float) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(mean, 1 / np.sqrt(size), (64, 64)) for size in sizes]


@pytest.mark.parametrize("number", [10, 12])
def test_the_order_of_blocks_does_not_matter(number: int) -> None:
    """Not at all for what is over pairs or over all halves, hardly for halves that are drawn."""
    sizes = [*range(3, 3 + number)]
    blocks = _blocks(1 + 0.3 * CHECKERBOARD, sizes, seed=0)
    there = imbalance.measure(blocks, sizes)
    back = imbalance.measure(blocks[::-1], sizes[::-1])
    for name, value in there.items():
        drawn = name.endswith("_floor") and number > 10
        assert back[name] == pytest.approx(value, rel=0.02 if drawn else 1e-9)


def test_measures_of_scale_free_maps_do_not_change_with_scale() -> None:
    blocks = _blocks(1 + 0.3 * CHECKERBOARD, [2] * 5, seed=0)
    small = imbalance.measure(blocks, [2] * 5)
    large = imbalance.measure([1e6 * block for block in blocks], [2] * 5)
    for name, value in small.items():
        assert large[name] == pytest.approx(1e6 * value if name.endswith("raw") else value)


def test_the_whole_map_is_over_all_images() -> None:
    blocks = _blocks(1 + 0.3 * CHECKERBOARD, [1, 3], seed=0)
    found = imbalance.measure(blocks, [1, 3])
    whole = imbalance.indices((blocks[0] + 3 * blocks[1]) / 4)
    names = ("l1", "l2", "l1_raw", "l2_raw")
    assert [found[n] for n in names] == pytest.approx([getattr(whole, n) for n in names])


def test_columns_are_all_that_is_measured_in_the_order_of_the_file() -> None:
    """Two metrics of the paper with their raw values first; the rest of each metric together."""
    columns = imbalance.columns()
    assert {*columns} == {*imbalance.measure([np.ones((8, 8))] * 4, [1] * 4)}
    assert columns == [
        *("l1", "l2", "l1_raw", "l2_raw", "l1_se", "l2_se"),
        *("l1_floor", "l1_unbiased", "l1_unbiased_se"),
        *("l2_floor", "l2_unbiased", "l2_unbiased_se"),
        *("contrast", "contrast_se", "contrast_floor", "contrast_unbiased"),
        "contrast_unbiased_se",
    ]


def test_another_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured, with its errors, in columns of its own behind those of the others."""
    before = imbalance.columns()
    monkeypatch.setitem(imbalance.METRICS, "again", imbalance.METRICS["contrast"])
    blocks = _blocks(1 + 0.3 * CHECKERBOARD, [2] * 4, seed=0)
    found = imbalance.measure(blocks, [2] * 4)
    added = imbalance.columns()[len(before) :]
    assert added == [f"again{of}" for of in ("", "_se", "_floor", "_unbiased", "_unbiased_se")]
    assert all(found[name] == found[name.replace("again", "contrast")] for name in added)


def test_too_few_blocks_say_nothing_of_noise() -> None:
    blocks = _blocks(1 + 0.3 * CHECKERBOARD, [2] * 3, seed=0)
    for number, kept in ((1, ("",)), (3, ("", "_se", "_floor", "_unbiased"))):
        found = imbalance.measure(blocks[:number], [2] * number)
        for kind in KINDS:
            for of in ("", "_se", "_floor", "_unbiased", "_unbiased_se"):
                assert np.isnan(found[f"{kind}{of}"]) != (of in kept), (number, kind, of)


def test_blocks_of_zeros_have_no_scale_free_measure() -> None:
    found = imbalance.measure([np.zeros((8, 8))] * 4, [1] * 4)
    assert {name for name, value in found.items() if not np.isnan(value)} == {"l1_raw", "l2_raw"}


def test_maps_that_cancel_have_no_scale_free_index_and_no_tile() -> None:
    field = np.ones((64, 64))
    field[::2] = -1.1
    found = imbalance.indices(field)
    assert np.isnan([found.l1, found.l2]).all() and found.l1_raw == pytest.approx(1.05)
    assert np.isnan(imbalance.mean_tile(field + 2 * (field > 0), 32)).all()
    measured = imbalance.measure([field] * 4, [1] * 4)
    assert np.isnan([measured["l1"], measured["l2"], measured["contrast"]]).all()


def test_mean_tile_finds_the_pattern_under_a_bell():
    row, column = np.indices((224, 224))
    bell = np.exp(-((row - 96) ** 2 + (column - 120) ** 2) / (2 * 60.0**2))
    pattern = 1 + 0.2 * (-1.0) ** row + 0.1 * (-1.0) ** (column // 2)
    noise = np.random.default_rng(0).normal(1, 0.2, bell.shape)
    tile = imbalance.mean_tile(bell * pattern * noise, 32)
    np.testing.assert_allclose(tile, pattern[:32, :32], atol=0.15)
    assert np.abs(tile - pattern[:32, :32]).mean() < 0.03
    with pytest.raises(ValueError, match="no tile"):
        imbalance.mean_tile(np.ones((16, 64)), 32)


def test_a_tile_is_repeated_from_the_first_pixel_on_and_cut_at_the_last():
    tile = np.arange(9).reshape(3, 3)
    expected = np.tile(tile, (3, 3))[:8, :7]
    assert np.array_equal(imbalance.repeated(tile, (8, 7)), expected)


def test_the_contrast_of_a_checkerboard_is_how_far_it_is_from_one():
    rows, columns = np.indices((4, 4))
    assert imbalance.tile_contrast(1 + 0.25 * (-1.0) ** (rows + columns)) == 0.25
