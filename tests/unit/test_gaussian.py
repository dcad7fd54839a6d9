"""Known Gaussians come back; maps without one are told apart."""

import numpy as np
import pytest

from deadpixel import gaussian

NOISE = 0.05  # of the highest value


@pytest.mark.parametrize(
    ("center_x", "center_y", "sigma_x", "sigma_y"),
    [
        (96, 111, 40, 30),
        (20, 200, 60, 50),
        (96, 96, 90, 80),
        (-10, 100, 50, 60),
        (111.5, 111.5, 9, 7),
    ],
    ids=["off the middle", "in a corner", "wide", "outside", "narrow"],
)
@pytest.mark.parametrize("scale", [1.0, 1e-9], ids=["large", "tiny"])
def test_a_noisy_gaussian_cut_by_the_border_is_recovered(
    center_x, center_y, sigma_x, sigma_y, scale
):
    truth = gaussian.evaluate((224, 224), scale, center_x, center_y, sigma_x, sigma_y)
    noise = np.random.default_rng(0).standard_normal(truth.shape)
    fit = gaussian.fit(truth + NOISE * truth.max() * noise)
    assert fit.sigma_x == pytest.approx(sigma_x, rel=0.01)
    assert fit.sigma_y == pytest.approx(sigma_y, rel=0.01)
    assert fit.center_x == pytest.approx(center_x, abs=0.02 * sigma_x)
    assert fit.center_y == pytest.approx(center_y, abs=0.02 * sigma_y)
    assert abs(fit.sigma_x - sigma_x) < 4 * fit.sigma_x_se
    assert 0 < fit.sigma_x_se < 0.01 * sigma_x


def test_without_noise_the_fit_is_exact_and_the_amplitude_is_the_volume():
    whole = gaussian.evaluate((101, 141), 5.0, 70, 50, 12, 9)
    fit = gaussian.fit(whole)
    assert fit.r_squared == pytest.approx(1)
    assert (fit.amplitude, fit.sigma_x, fit.sigma_y) == pytest.approx((1, 12, 9), rel=1e-6)
    half = gaussian.fit(whole[50:])  # half a row more than half of it
    assert half.amplitude == pytest.approx(whole.sum() / whole[50:].sum(), rel=1e-6)
    assert half.center_y == pytest.approx(0, abs=1e-6)


def test_r_squared_is_one_minus_the_ratio_of_variances():
    rng = np.random.default_rng(1)
    field = gaussian.evaluate((64, 64), 1, 30, 30, 10, 10) + 1e-4 * rng.random((64, 64))
    fit = gaussian.fit(field)
    field = field / field.sum()
    model = gaussian.evaluate(
        (64, 64), fit.amplitude, fit.center_x, fit.center_y, fit.sigma_x, fit.sigma_y
    )
    assert fit.r_squared == pytest.approx(1 - np.var(field - model) / np.var(field))
    assert 0.5 < fit.r_squared < 1


def test_x_is_the_column_and_y_the_row():
    fit = gaussian.fit(
        gaussian.evaluate((60, 90), 1, center_x=70, center_y=20, sigma_x=9, sigma_y=4)
    )
    assert (fit.center_x, fit.center_y) == pytest.approx((70, 20))


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (np.zeros((50, 50)), "constant"),
        (np.full((50, 50), 3.0), "constant"),
        (np.where(np.eye(50), np.nan, 1), "not finite"),
        (-gaussian.evaluate((50, 50), 1, 25, 25, 5, 5), "no positive sum"),
        (np.tile(np.arange(50.0), (50, 1)), "no Gaussian"),
        (np.tile(np.exp(-((np.arange(50) - 20.0) ** 2) / 50), (50, 1)), "no Gaussian"),
        (np.add.outer((np.arange(50.0) - 25) ** 2, (np.arange(50.0) - 25) ** 2), "no Gaussian"),
    ],
    ids=["zero", "constant", "nan", "negative", "ramp", "stripe", "bowl"],
)
def test_a_map_without_a_gaussian_is_reported_not_fitted(field, reason):
    with pytest.raises(gaussian.FitError, match=reason):
        gaussian.fit(field)
    row = gaussian.fit_or_failure(field)
    assert list(row) == ["failure"] and reason in row["failure"]


def test_a_good_fit_has_no_failure():
    row = gaussian.fit_or_failure(gaussian.evaluate((50, 50), 1, 25, 25, 5, 5))
    assert row["failure"] is None and row["sigma_x"] == pytest.approx(5)
