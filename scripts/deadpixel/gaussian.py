"""Fit of a two-dimensional Gaussian to a receptive field (Kim et al. 2023, Tables 1 and 2)."""

from dataclasses import asdict, dataclass

import lmfit
import numpy as np

from .errors import InputError

_LARGEST = 4.0  # bound of sigma and of the centre's distance, in units of the map's longer side
_STARTS = (1.0, 0.5, 2.0)  # of sigma, in units of the map's own second moment
_GOOD_ENOUGH = 0.5  # R2 at which no further start is tried


class FitError(InputError):
    """No Gaussian describes the map; the message says why."""


@dataclass(frozen=True)
class GaussianFit:
    """A Gaussian in a map scaled to sum 1; x is the column and y the row, in pixels.

    amplitude: volume of the whole Gaussian; above 1 where the border cuts it off.
    *_se: standard errors from the curvature of the least squares; they take pixels for independent.
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

    Raises `FitError` if the map is not finite, is constant, has no positive sum, or if no start
    leads to a Gaussian inside the bounds that explains any of it.
    """
    field = _scaled(receptive_field)
    best = None
    for factor in _STARTS:
        candidate = _least_squares(field, factor)
        if candidate and (best is None or candidate.r_squared > best.r_squared):
            best = candidate
        if best and best.r_squared > _GOOD_ENOUGH:
            break
    if best is None or best.r_squared <= 0:
        raise FitError("no Gaussian fits: it ran into the bounds or explains nothing of the map")
    return best


def fit_or_failure(receptive_field: np.ndarray) -> dict[str, float | str | None]:
    """`fit` as a row of a table: its numbers, or why there are none under ``failure``."""
    try:
        return {**asdict(fit(receptive_field)), "failure": None}
    except FitError as error:
        return {"failure": str(error)}


def _scaled(receptive_field: np.ndarray) -> np.ndarray:
    field = np.asarray(receptive_field, dtype=np.float64)
    if not np.isfinite(field).all():
        raise FitError("the map has values that are not finite")
    if np.ptp(field) == 0:
        raise FitError(f"the map is constant: {field.flat[0]:g} everywhere")
    if field.sum() <= 0:
        raise FitError("the map has no positive sum")
    return field / field.sum()


def _least_squares(field: np.ndarray, factor: float) -> GaussianFit | None:
    parameters = _start(field, factor)
    result = lmfit.minimize(
        lambda trial: evaluate(field.shape, **trial.valuesdict()) - field, parameters
    )
    fitted = result.params
    if any(_at_bound(parameter) for parameter in fitted.values()):
        return None
    residual = field - evaluate(field.shape, **fitted.valuesdict())
    errors = {f"{name}_se": parameter.stderr or np.nan for name, parameter in fitted.items()}
    r_squared = float(1 - residual.var() / field.var())
    return GaussianFit(**fitted.valuesdict(), r_squared=r_squared, **errors)


def _start(field: np.ndarray, factor: float) -> lmfit.Parameters:
    """Moments of the map, and bounds far outside of what a map of its size can show."""
    parameters = lmfit.Parameters()
    parameters.add("amplitude", 1.0, min=0.0)
    longest = _LARGEST * max(field.shape)
    for name, weights in (("x", field.sum(0)), ("y", field.sum(1))):
        place = np.arange(len(weights))
        center = float((weights * place).sum())
        spread = float(np.sqrt(abs((weights * (place - center) ** 2).sum())))
        parameters.add(f"center_{name}", center, min=-longest, max=longest)
        start = min(max(factor * spread, 0.5), longest / 2)
        parameters.add(f"sigma_{name}", start, min=0.05, max=longest)
    return parameters


def _at_bound(parameter: lmfit.Parameter) -> bool:
    margin = 1e-3 * abs(parameter.value) + 1e-9
    return (
        not np.isfinite(parameter.value)
        or parameter.value - parameter.min < margin
        or parameter.max - parameter.value < margin
    )
