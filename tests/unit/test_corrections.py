import numpy as np
import pytest

from deadpixel import imbalance
from deadpixel.errors import InputError
from deadpixel.probes import corrections
from deadpixel.probes.corrections import CORRECTIONS, corrected

CHECKERBOARD = 1 + 0.25 * (-1.0) ** np.indices((32, 32)).sum(0)
FLAT = np.ones((32, 32))


def repeated(tile: np.ndarray, shape: tuple[int, int] = (96, 70)) -> np.ndarray:
    return np.tile(tile, (4, 4))[: shape[0], : shape[1]]


def wave(per_pixel: float, shape: tuple[int, int], axis: int) -> np.ndarray:
    return np.cos(2 * np.pi * per_pixel * np.indices(shape)[axis])


@pytest.mark.parametrize("name", CORRECTIONS)
@pytest.mark.parametrize("shape", [(64, 96), (45, 33)])
def test_a_constant_map_stays_where_no_pixel_is_stronger(name: str, shape: tuple) -> None:
    maps = np.full((2, *shape), 3.0)
    np.testing.assert_allclose(corrected(name, maps, FLAT), maps, rtol=1e-12)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_the_sign_of_a_map_does_not_count(name: str) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 40, 50))
    found = corrected(name, maps, CHECKERBOARD)
    np.testing.assert_array_equal(found, corrected(name, np.abs(maps), CHECKERBOARD))
    assert found.min() >= 0 and (found != corrected(name, maps[::-1], CHECKERBOARD)).any()


def test_without_a_correction_strengths_are_what_they_are() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 40, 50))
    np.testing.assert_array_equal(corrected("none", maps, CHECKERBOARD), np.abs(maps))


def test_division_by_the_tile_repairs_a_map_that_was_multiplied_by_it() -> None:
    """Rows and columns of their own, sides that are no multiples of the period, and no change."""
    rng = np.random.default_rng(0)
    tile = 1 + 0.5 * rng.random((32, 32))
    truth = rng.random((3, 96, 70))
    maps = truth * repeated(tile)
    before = maps.copy()
    np.testing.assert_allclose(corrected("tile", maps, tile), truth, rtol=1e-14)
    np.testing.assert_array_equal(maps, before)


def test_the_mean_tile_of_other_images_repairs_a_checkerboard_under_a_bell() -> None:
    bell = np.exp(-((np.indices((224, 224)) - 111.5) ** 2).sum(0) / (2 * 50**2))
    board = repeated(CHECKERBOARD, (96, 96))
    tile = imbalance.mean_tile(2 * np.tile(board, (3, 3))[:224, :224], 32)
    maps = (bell * np.tile(board, (3, 3))[:224, :224])[None]
    np.testing.assert_allclose(corrected("tile", maps, tile)[0], bell, rtol=0.02)


def test_a_dead_phase_stays_as_it_is() -> None:
    tile = CHECKERBOARD.copy()
    tile[3, 5] = 0
    maps = np.full((1, 64, 64), 2.0)
    found = corrected("tile", maps, tile)[0]
    assert found[3, 5] == found[35, 37] == 2 and found[0, 1] == 2 / 0.75


def test_a_tile_that_is_not_known_is_refused_where_it_is_needed() -> None:
    tile = CHECKERBOARD.copy()
    tile[0, 0] = np.nan
    maps = np.ones((1, 64, 64))
    with pytest.raises(InputError, match="unknown at some phases"):
        corrected("tile", maps, tile)
    for name in ("none", "low_pass"):
        np.testing.assert_allclose(corrected(name, maps, tile), maps)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_low_pass_keeps_a_long_wave_and_takes_out_a_short_one(axis: int) -> None:
    """FORGrad's cut-off of 15 waves in 224 px: 15 are kept, 16 are not; along rows and columns."""
    shape = (224, 224)
    long, short = (wave(number / 224, shape, axis) for number in (15, 16))
    found = corrected("low_pass", (3 + long + short)[None], FLAT)
    np.testing.assert_allclose(found[0], 3 + long, atol=1e-12)


def test_the_low_pass_is_round() -> None:
    """A slanted wave is shorter than its rows and columns say."""
    rows, columns = (wave(12 / 224, (224, 224), axis) for axis in (0, 1))
    found = corrected("low_pass", (3 + rows * columns + rows)[None], FLAT)
    np.testing.assert_allclose(found[0], 3 + rows, atol=1e-12)


def test_what_swings_below_zero_behind_the_low_pass_is_strong() -> None:
    """Around a single pixel, as in the authors' code."""
    maps = np.zeros((1, 64, 64))
    maps[0, 20, 30] = 1
    kept = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)) <= 15 / 224
    swings = np.fft.ifft2(np.fft.fft2(maps[0]) * kept).real
    found = corrected("low_pass", maps, FLAT)[0]
    assert swings.min() < -0.1 * swings.max()
    np.testing.assert_allclose(found, np.abs(swings), atol=1e-15)


def test_the_low_pass_of_each_map_of_odd_sides_is_its_own() -> None:
    """As the complex transform has it."""
    maps = np.random.default_rng(0).random((2, 45, 61))
    for one, found in zip(maps, corrected("low_pass", maps, FLAT), strict=True):
        rows, columns = (np.fft.fftfreq(length) for length in one.shape)
        kept = rows[:, None] ** 2 + columns**2 <= (15 / 224) ** 2
        expected = np.fft.ifft2(np.fft.fft2(one) * kept).real
        np.testing.assert_allclose(found, np.abs(expected), atol=1e-12)


def test_another_correction_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    double = corrections.Correction("double", "us", lambda strengths, _tile: 2 * strengths)
    monkeypatch.setitem(CORRECTIONS, "double", double)
    assert (corrected("double", -np.ones((1, 4, 4)), FLAT) == 2).all()
