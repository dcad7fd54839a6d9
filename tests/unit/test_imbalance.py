"""Imbalance in closed form, and its standard error against many draws."""

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


def test_standard_error_is_the_spread_over_repeated_experiments():
    """Images that share much of their noise: pixels are not independent, blocks are."""
    rng = np.random.default_rng(0)
    truth = 1 + 0.3 * (np.indices((16, 16)).sum(0) % 2)

    def experiment() -> np.ndarray:
        contrast = rng.normal(1, 0.5, (200, 1, 1))  # the same for all pixels of an image
        images = 1 + contrast * (truth - 1) + rng.normal(0, 0.05, (200, 16, 16))
        return images.reshape(20, 10, 16, 16).mean(1)

    experiments = [experiment() for _ in range(200)]
    spread = np.std([imbalance.indices(blocks.mean(0)).l1 for blocks in experiments])
    errors = [imbalance.standard_errors(list(blocks), [10] * 20).l1 for blocks in experiments]
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)


def test_blocks_count_by_their_images():
    blocks = list(np.random.default_rng(0).random((3, 6, 6)))
    weighted = imbalance.standard_errors(blocks, [1, 1, 2])
    assert weighted.l1 != pytest.approx(imbalance.standard_errors(blocks, [1, 1, 1]).l1, rel=1e-3)


def test_one_block_has_no_standard_error():
    assert np.isnan(imbalance.standard_errors([np.ones((3, 3))], [5]).l1)


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
