"""Fit of a two-dimensional Gaussian to a receptive field (Kim et al. 2023, Tables 1 and 2)."""

import math
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import lmfit
import numpy as np

from .blocks import standard_error
from .errors import InputError

_LARGEST = 4.0  # bound of sigma and of the centre's distance, in units of the map's longer side
_NARROWEST = 0.5  # px, sigma of the first start that is looked at
_FINENESS = 1.5  # ratio of one such sigma to the next


class FitError(InputError):
    """No Gaussian describes the map; the message says why."""


@dataclass(frozen=True)
class GaussianFit:
    """A Gaussian in a map scaled to sum 1; x is the column and y the row, in pixels.

    amplitude: volume of the whole Gaussian; above 1 where the border cuts it off.
    *_se: standard errors from the curvature of the least squares, which take pixels for
        independent; those of `jackknife_errors` do not.
    r_squared: 1 - var(residual) / var(map).
    """

    amplitude: float
    center_x: float
    center_y: float
    sigma_x: float
    sigma_y: float
    r_squared: float
    amplitude_se: float
    center_x_se: float
    center_y_se: float
    sigma_x_se: float
    sigma_y_se: float


MEASURED = [field.name for field in fields(GaussianFit) if not field.name.endswith("_se")]


def evaluate(
    shape: tuple[int, int],
    amplitude: float,
    center_x: float,
    center_y: float,
    sigma_x: float,
    sigma_y: float,
) -> np.ndarray:
    """Gaussian with no offset and no rotation at each pixel of a map of `shape` (H, W)."""
    height, width = shape
    y = np.exp(-((np.arange(height) - center_y) ** 2) / (2 * sigma_y**2))
    x = np.exp(-((np.arange(width) - center_x) ** 2) / (2 * sigma_x**2))
    return amplitude / (2 * np.pi * sigma_x * sigma_y) * np.outer(y, x)


def fit(receptive_field: np.ndarray) -> GaussianFit:
    """Least squares of a Gaussian to a map (H, W), first scaled to sum 1.

    A sharp peak on a broad skirt has two optima: the better one by R2 is kept. Raises `FitError` if
    the map is not finite, is constant, has no positive sum, or if no start leads to a Gaussian
    inside the bounds that explains any of it.
    """
    field = _scaled(receptive_field)
    found = [fitted for start in _starts(field) if (fitted := _least_squares(field, start))]
    best = max(found, key=lambda fitted: fitted.r_squared, default=None)
    if best is None or best.r_squared <= 0:
        raise FitError("no Gaussian fits: it ran into the bounds or explains nothing of the map")
    return best


def jackknife_errors(fitted: GaussianFit, without_each: np.ndarray) -> dict[str, float]:
    """Standard errors of a fit by the jackknife over blocks: ``sigma_x_jackknife_se`` and so on.

    without_each: the maps (B, H, W) of `blocks.maps_without_each`; `fitted` is of the map over all
    blocks, where their fits start. NaN with fewer than two blocks, or where one of them has no fit.
    """
    fits = [fit_from(fitted, field) for field in without_each]
    return {
        f"{name}_jackknife_se": standard_error([getattr(fit, name, np.nan) for fit in fits])
        for name in MEASURED
    }


def fit_from(start: GaussianFit, receptive_field: np.ndarray) -> GaussianFit | None:
    """The fit of a map (H, W) nearest to that of a similar one; None where there is none."""
    try:
        return _least_squares(_scaled(receptive_field), start)
    except FitError:
        return None


def fit_or_failure(
    receptive_field: np.ndarray, without_each: np.ndarray
) -> dict[str, float | str | None]:
    """`fit` and its `jackknife_errors` as a row of a table, or why there are none: ``failure``."""
    try:
        fitted = fit(receptive_field)
    except FitError as error:
        return {"failure": str(error)}
    return {**asdict(fitted), **jackknife_errors(fitted, without_each), "failure": None}


def _scaled(receptive_field: np.ndarray) -> np.ndarray:
    field = np.asarray(receptive_field, dtype=np.float64)
    if not np.isfinite(field).all():
        raise FitError("the map has values that are not finite")
    if np.ptp(field) == 0:
        raise FitError(f"the map is constant: {field.flat[0]:g} everywhere")
    if field.sum() <= 0:
        raise FitError("the map has no positive sum")
    return field / field.sum()


class _Start(NamedTuple):
    explained: float
    amplitude: float
    center_x: float
    center_y: float
    sigma_x: float
    sigma_y: float


def _starts(field: np.ndarray) -> list[_Start]:
    """Round Gaussians that explain more of the map than those a little narrower and wider.

    Every sigma has the centre at which it explains most, as a matched filter finds it: dense over
    sigma and place, so each optimum has a start beside it.
    """
    longest = max(field.shape)
    number = 1 + math.ceil(math.log(longest / _NARROWEST, _FINENESS))
    best = [_best_of(field, _NARROWEST * _FINENESS**step) for step in range(number)]
    explained = [-math.inf, *(start.explained for start in best), -math.inf]
    return [
        start
        for start, narrower, wider in zip(best, explained, explained[2:], strict=False)
        if start.explained > max(narrower, wider)
    ]


def _best_of(field: np.ndarray, sigma: float) -> _Start:
    """The best round Gaussian of this sigma, over centres half of it apart."""
    places = [np.arange(0, length, max(sigma / 2, 1)) for length in field.shape]
    y, x = (
        np.exp(-((place[:, None] - np.arange(length)) ** 2) / (2 * sigma**2))
        for place, length in zip(places, field.shape, strict=True)
    )
    sums, squares = np.outer(y.sum(1), x.sum(1)), np.outer((y**2).sum(1), (x**2).sum(1))
    covariance = (y @ (field - field.mean()) @ x.T).clip(0)
    explained = covariance**2 / (squares - sums**2 / field.size)
    row, column = np.unravel_index(explained.argmax(), explained.shape)
    height = (y[row] @ field @ x[column]) / squares[row, column]
    return _Start(
        float(explained[row, column]),
        float(height * 2 * np.pi * sigma**2),
        *(float(places[1][column]), float(places[0][row])),
        *(sigma, sigma),
    )


def _least_squares(field: np.ndarray, start: _Start | GaussianFit) -> GaussianFit | None:
    result = lmfit.minimize(
        lambda trial: evaluate(field.shape, **trial.valuesdict()) - field,
        _bounded(start, _LARGEST * max(field.shape)),
    )
    fitted: lmfit.Parameters = result.params  # pyright: ignore[reportAttributeAccessIssue]
    if any(_at_bound(parameter) for parameter in fitted.values()):
        return None
    residual = field - evaluate(field.shape, **fitted.valuesdict())
    errors = {f"{name}_se": parameter.stderr or np.nan for name, parameter in fitted.items()}
    r_squared = float(1 - residual.var() / field.var())
    return GaussianFit(**fitted.valuesdict(), r_squared=r_squared, **errors)


def _bounded(start: _Start | GaussianFit, longest: float) -> lmfit.Parameters:
    """Bounds far outside of what a map of its size can show."""
    parameters = lmfit.Parameters()
    parameters.add("amplitude", start.amplitude, min=0.0)
    for axis, center, sigma in (
        ("x", start.center_x, start.sigma_x),
        ("y", start.center_y, start.sigma_y),
    ):
        parameters.add(f"center_{axis}", center, min=-longest, max=longest)
        parameters.add(f"sigma_{axis}", sigma, min=0.05, max=longest)
    return parameters


def _at_bound(parameter: lmfit.Parameter) -> bool:
    value = float(parameter.value)  # pyright: ignore[reportArgumentType]
    margin = 1e-3 * abs(value) + 1e-9
    return (
        not np.isfinite(value) or value - parameter.min < margin or parameter.max - value < margin
    )
