"""The spectrum over shifts: cosines, noise and strided networks whose peaks are known."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deadpixel.probes.shift import moved
from deadpixel.probes.spectrum import curves, frequencies, power, shares, white

REACH = 16
LENGTH = 2 * REACH
STRIDES = [2, 4, 8, 16, 32]
PLACES = np.arange(LENGTH) + 0.5 - REACH  # around the middle: even, so without a trend


@pytest.mark.parametrize("number", [1, 2, 3, 8, 15])
def test_a_cosine_is_one_frequency(number: int) -> None:
    """Of its variance, whatever line it is added to."""
    line = 5 - 0.7 * PLACES
    found = power(line + 3 * np.cos(2 * np.pi * number * PLACES / LENGTH))
    expected = np.zeros(LENGTH // 2)
    expected[number - 1] = 9 / 2
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert frequencies(LENGTH)[number - 1] == number / LENGTH


def test_power_sums_to_the_variance_around_the_trend() -> None:
    signals = np.random.default_rng(0).normal(3, 2, (4, 3, LENGTH))
    found = power(signals)
    assert found.shape == (4, 3, LENGTH // 2)
    for place in np.ndindex(4, 3):
        line = np.polyval(np.polyfit(PLACES, signals[place], 1), PLACES)
        assert found[place].sum() == pytest.approx(np.mean((signals[place] - line) ** 2))


def test_an_odd_length_has_no_highest_frequency_of_its_own() -> None:
    signal = np.random.default_rng(0).normal(size=9)
    line = np.polyval(np.polyfit(np.arange(9), signal, 1), np.arange(9))
    assert power(signal).sum() == pytest.approx(np.var(signal - line))


def test_white_noise_is_white_but_for_the_trend() -> None:
    """As the average over many, and in closed form: a line's own power is as 1 / sin**2."""
    signals = np.random.default_rng(0).normal(size=(100_000, LENGTH))
    expected = white(LENGTH)
    np.testing.assert_allclose(power(signals).mean(0), expected, rtol=0.02)
    angles = np.pi * np.arange(1, LENGTH // 2 + 1) / LENGTH
    lost = 3 / (LENGTH**2 - 1) / np.sin(angles) ** 2
    both = np.array([2] * (LENGTH // 2 - 1) + [1])
    np.testing.assert_allclose(expected, both * (1 - lost) / LENGTH)


def test_a_cosine_is_of_the_stride_whose_period_it_has() -> None:
    for stride in STRIDES[1:]:
        found = shares(power(np.cos(2 * np.pi * PLACES / stride)), LENGTH, STRIDES)
        for other in STRIDES:
            assert found[other] == pytest.approx(float(other == stride), abs=1e-12)
    alternating = power(np.cos(np.pi * np.arange(LENGTH)))
    lost = 3 / (LENGTH**2 - 1)  # to the trend, which takes some of it to the other frequencies
    assert shares(alternating, LENGTH, STRIDES)[2] == pytest.approx(1 - lost)


def test_harmonics_of_a_stride_are_its_own_but_for_those_of_smaller_ones() -> None:
    """3 / 8 is of stride 8, 2 / 8 of stride 4; without a stride 4, of stride 8 too."""
    for number, owner in ((12, 8), (8, 4), (5, 32), (16, 2)):
        one = np.zeros(LENGTH // 2)
        one[number - 1] = 7
        found = shares(one, LENGTH, STRIDES[::-1])
        assert [stride for stride, share in found.items() if share] == [owner]
        assert found[owner] == 1
    one = np.zeros(LENGTH // 2)
    one[8 - 1] = 1
    assert shares(one, LENGTH, [8, 2]) == {2: 0, 8: 1}


def test_shares_of_flat_power_are_the_numbers_of_frequencies() -> None:
    """Of both signs: 1, 2, 4, 8 and 16 of 31."""
    flat = np.array([2.0] * (LENGTH // 2 - 1) + [1])
    found = shares(np.stack([flat, 9 * flat]), LENGTH, STRIDES)
    for stride in STRIDES:
        assert found[stride] == pytest.approx([stride / 2 / (LENGTH - 1)] * 2)
    odd = shares(np.full(4, 2.0), 9, [3])  # 1 / 9 to 4 / 9, of which 3 / 9 is of stride 3
    assert odd == {3: pytest.approx(1 / 4)}


def test_shares_of_white_noise_are_those_that_are_expected() -> None:
    signals = np.random.default_rng(0).normal(size=(100_000, LENGTH))
    found = shares(power(signals).mean(0), LENGTH, STRIDES)
    expected = shares(white(LENGTH), LENGTH, STRIDES)
    assert found == {stride: pytest.approx(expected[stride], rel=0.02) for stride in STRIDES}


def test_strides_that_do_not_divide_the_length_are_left_out() -> None:
    assert [*shares(np.ones(12), 24, [32, 2, 16, 3, 8])] == [2, 3, 8]


def test_no_power_has_no_shares() -> None:
    found = shares(np.stack([np.zeros(4), np.ones(4)]), 8, [2])
    np.testing.assert_allclose(found[2], [np.nan, 1 / 4])


def test_curves_are_logits_over_whole_pixels_of_one_axis() -> None:
    rows = [
        {"image": image, "axis": axis, "offset": offset, "logit": 100 * image + sign * offset}
        for offset in (2, -1.5, 0, -2, 1, -1, 0.5)
        for image in (1, 0)
        for axis, sign in (("down", 1), ("across", -1))
    ]
    assert curves(pd.DataFrame(rows), "down").tolist() == [[-2, -1, 0, 1], [98, 99, 100, 101]]
    assert curves(pd.DataFrame(rows), "across").tolist() == [[2, 1, 0, -1], [102, 101, 100, 99]]


def ridges(down: float, across: float):
    """An image without borders whose columns are two cosines, and rows all the same.

    Their phase is that of `PLACES`, so that they have no trend over the offsets.
    """
    places = torch.arange(LENGTH, dtype=torch.float64) + 0.5 + across
    columns = torch.cos(2 * np.pi * places / 4) + 2 * torch.cos(2 * np.pi * places / 16)
    return [columns.expand(1, 1, LENGTH, LENGTH) + 0 * down]


@pytest.mark.parametrize(
    ("stride", "expected"), [(1, {}), (4, {4: 1 / 2}), (16, {4: 1 / 2, 16: 2})]
)
def test_a_strided_network_has_the_power_of_the_image_at_its_stride(stride, expected) -> None:
    """And one without strides none: what pooling over every place leaves is the mean.

    A mean over every fourth column keeps the cosine of period 4, and no longer one.
    """
    model = nn.Sequential(nn.MaxPool2d(1, stride), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    rows = moved(model, ridges, torch.tensor([0]), REACH)
    across = power(curves(rows, "across"))[0]
    for period, variance in {4: 0, 16: 0, **expected}.items():
        at_period = across[LENGTH // period - 1]
        assert at_period == pytest.approx(variance, abs=1e-12), period
    assert across.sum() == pytest.approx(sum(expected.values()), abs=1e-12)
    assert power(curves(rows, "down")).max() < 1e-12


@pytest.mark.parametrize(("stride", "peak"), [(1, 0), (2, 2), (4, 4)])
def test_a_network_of_convolutions_is_periodic_with_its_stride(stride: int, peak: int) -> None:
    """On noise without borders: all its power is at the harmonics of its stride."""
    noise = torch.randn(5, 1, LENGTH, LENGTH, generator=torch.Generator().manual_seed(0)).double()
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 6, 3, stride, 1, padding_mode="circular")
    pooled = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(convolution, *pooled, nn.Linear(6, 2)).double().requires_grad_(False)

    def images(down: float, across: float):
        return [noise.roll((-int(down), -int(across)), (2, 3))]

    rows = moved(model, images, torch.zeros(5, dtype=torch.int64), REACH)
    for axis in ("down", "across"):
        found = power(curves(rows, axis)).mean(0)
        if not peak:
            assert found.max() < 1e-20
            continue
        of_strides = shares(found, LENGTH, STRIDES)
        assert sum(of_strides[own] for own in STRIDES if own <= peak) == pytest.approx(1, abs=0.03)
        assert of_strides[peak] > 5 * shares(white(LENGTH), LENGTH, STRIDES)[peak]
