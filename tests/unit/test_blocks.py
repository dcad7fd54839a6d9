"""The jackknife over blocks, against what it is in closed form."""

import numpy as np
import pytest

from deadpixel import blocks

COUNTS = [3, 1, 2]


def test_each_map_lacks_one_block_and_counts_images() -> None:
    maps = np.random.default_rng(0).random((3, 4, 5))
    expected = [(maps[1] + 2 * maps[2]) / 3, (3 * maps[0] + 2 * maps[2]) / 5]
    found = blocks.maps_without_each(maps, COUNTS)
    np.testing.assert_allclose(found, [*expected, (3 * maps[0] + maps[1]) / 4])
    np.testing.assert_array_equal(
        blocks.counts_without_each(COUNTS), [[0, 1, 2], [3, 0, 2], [3, 1, 0]]
    )


def test_the_error_of_a_mean_is_the_usual_one() -> None:
    """Of equal blocks the jackknife of a mean is exact."""
    values = np.random.default_rng(1).normal(5, 2, 12)
    without = blocks.maps_without_each(values[:, None, None], [4] * 12).ravel()
    expected = values.std(ddof=1) / np.sqrt(12)
    assert blocks.standard_error(without) == pytest.approx(expected)


def test_one_block_says_nothing_and_a_missing_estimate_spoils_the_error() -> None:
    assert blocks.maps_without_each(np.ones((1, 4, 5)), [3]).shape == (0, 4, 5)
    assert np.isnan(blocks.standard_error([]))
    assert np.isnan(blocks.standard_error([1.0]))
    assert np.isnan(blocks.standard_error([1.0, np.nan, 2.0]))
    assert blocks.standard_error([1.0, 1.0]) == 0
