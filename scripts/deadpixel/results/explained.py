"""How much of which squares are seen the two causes explain: the tile's phase, and the edge."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import pairs, squares, stats
from .logistic import Decisions, Fit
from .render import KERNELS, MODEL, NUMBER, SEED, TEXT, WHOLE, Column, Table, p_value
from .squares import Maps, Run

BOTH = "both"
PREDICTORS = {"phase": (0,), "edge": (1,), BOTH: (0, 1)}  # columns of `predictors`
# Sensitivities of places that differ by less than 2 % cannot explain which squares are seen.
HARDLY = 0.02
_SHUFFLES = 199
_PERIODS = (2, 4, 8, 16, 32)  # px, of what strides repeat

_PREDICTOR = Column("predictor", TEXT, "predictor")
_SCALE = (
    Column("sd", NUMBER, "sd of its logarithm"),
    Column("contrast", NUMBER, "contrast of the tile"),
)
_SLOPE = Column("slope", NUMBER, "slope (log-odds for one sd)")
_SHARES = (
    Column("explained", NUMBER, "share explained", decimals=4),
    Column("added", NUMBER, "beyond the other", decimals=4),
)
_NOTE = Column("note", TEXT, "note")
EXPLAINED_RUNS = Table(
    *(MODEL, KERNELS, SEED, _PREDICTOR),
    *(Column("n_squares", WHOLE, "squares"), Column("n_decisions", WHOLE, "decisions")),
    *_SCALE,
    *(_SLOPE, Column("slope_se", NUMBER, "± se")),
    *_SHARES,
    *(p_value("shuffled_p", "p (shuffled places)"), _NOTE),
)
EXPLAINED = Table(
    *(MODEL, KERNELS, _PREDICTOR, Column("n_runs", WHOLE, "runs")),
    *_SCALE,
    *(_SLOPE, *squares.INTERVAL),
    *pairs.columns_of_test("signflip", "sign flips"),
    *(*_SHARES, _NOTE),
)


def explained_runs(seen: pd.DataFrame, maps: Maps, size: int) -> pd.DataFrame:
    """What the map of each run's starting network explains; rows of `EXPLAINED_RUNS`.

    A logistic regression of being seen, with an intercept for each colour in each epoch, on two
    logarithms (`predictors`). Slopes and their errors, which take the epochs of a square as one,
    are of both together, for one standard deviation over the squares, `sd`. explained: the share of
    the deviance of intercepts alone (McFadden 1974) that a predictor explains by itself, and both
    together. added: what it adds to that of the other. shuffled_p: of `explained` as large, had the
    squares of each colour swapped places.

    All is NaN, and `note` says why, where a predictor is constant or slopes are not finite. seen,
    maps, size and errors as of `squares.runs`.
    """
    rows = [row for run in squares.runs(seen, maps, size) for row in _of_run(run)]
    return pd.DataFrame(rows, columns=EXPLAINED_RUNS.names)


def predictors(run: Run) -> np.ndarray:
    """Phase and edge (n, 2): logarithms of the mean tile under each square, and of what is left.

    They add up to the logarithm of the map under it, over the map's mean.
    """
    phase = np.log(run.tile)
    return np.stack([phase, np.log(run.field) - phase], 1)


def _of_run(run: Run) -> Iterator[dict[str, Any]]:
    n_squares, n_epochs = run.right.shape
    square = np.repeat(np.arange(n_squares), n_epochs)
    epoch = np.tile(np.arange(n_epochs), n_squares)
    groups = run.colour[square] * n_epochs + epoch
    decisions = Decisions(run.right.ravel(), groups, clusters=square)
    values = predictors(run)
    sd = values.std(0)
    varies = sd > squares.ROUNDING
    standard = (values - values.mean(0)) / np.where(varies, sd, 1)

    def fit(columns: Sequence[int], order: np.ndarray | None = None) -> Fit:
        used = [column for column in columns if varies[column]]
        places = standard if order is None else standard[order]
        return decisions.fit(places[square][:, used])

    fits = {name: fit(columns) for name, columns in PREDICTORS.items()}
    slopes, errors = np.full((2, 2), np.nan)
    slopes[varies], errors[varies] = fits[BOTH].slopes, fits[BOTH].errors
    others = {"phase": fits["edge"].explained, "edge": fits["phase"].explained}
    for name, columns in PREDICTORS.items():
        own = fits[name].explained
        row = dict(zip(pairs.RUN, run.name, strict=True))
        row |= {"predictor": name, "n_squares": n_squares, "n_decisions": int(decisions.kept.sum())}
        row |= {"explained": own, "note": _problem(decisions, varies[[*columns]], own, fits[BOTH])}
        if name != BOTH:
            (at,) = columns
            added = fits[BOTH].explained - np.nan_to_num(others[name])
            row |= {"sd": sd[at], "slope": slopes[at], "slope_se": errors[at], "added": added}
        if name == "phase":
            row["contrast"] = run.contrast
        if np.isfinite(own):
            shuffled = [fit(columns, order).explained for order in _shuffles(run.colour)]
            fewer = sum(share < own - squares.ROUNDING for share in shuffled)
            row["shuffled_p"] = (1 + _SHUFFLES - fewer) / (1 + _SHUFFLES)
        yield row


def _problem(decisions: Decisions, varies: np.ndarray, own: float, joint: Fit) -> str | None:
    """Why regressions on predictors say nothing, if they do not."""
    if not decisions.kept.any():
        return "in no epoch are some squares of one colour seen and others not"
    if not varies.any():
        return "the same under every square"
    if np.isnan(own + joint.explained):
        return "no finite slopes: a predictor tells all seen squares from the others, or the other"
    return None


def _shuffles(colour: np.ndarray) -> Iterator[np.ndarray]:
    """Orders of the squares (n,) in which those of each colour have swapped places, seeded.

    Colours apart, because each has intercepts of its own, and images are in both of them.
    """
    draw = np.random.default_rng(0)
    for _ in range(_SHUFFLES):
        order = np.arange(len(colour))
        for one in np.unique(colour):
            order[colour == one] = draw.permutation(order[colour == one])
        yield order


def explained(by_run: pd.DataFrame) -> pd.DataFrame:
    """Means over the runs of each model and kernels; rows of `EXPLAINED`.

    by_run: rows of `EXPLAINED_RUNS`; those with a note are left out, and counted in the note of the
    row. The interval and the sign-flip test are of slopes, over runs.
    """
    rows = []
    key = ["model", "kernels", "predictor"]
    for values, of_key in by_run.groupby(key, sort=False):
        row: dict[str, Any] = dict(zip(key, values, strict=True))  # pyright: ignore[reportArgumentType]
        kept: Any = of_key[of_key["note"].isna()]
        row |= {name: of_key[name].mean() for name in ("sd", "contrast")}
        row |= {name: kept[name].mean() for name in ("explained", "added")}
        row |= {"n_runs": len(kept), "note": _note(row["sd"], len(of_key) - len(kept))}
        slopes = kept["slope"].dropna().to_numpy()
        if len(slopes):
            row |= squares.over_runs("slope", slopes)
            row |= pairs.of_test("signflip", stats.sign_flip(slopes))
        rows.append(row)
    return pd.DataFrame(rows, columns=EXPLAINED.names)


def _note(sd: float, left_out: int) -> str | None:
    notes = ["hardly varies"] if sd < HARDLY else []
    notes += [f"{left_out} run{'s' * (left_out > 1)} left out"] if left_out else []
    return ", ".join(notes) or None


def notes(table: pd.DataFrame, size: int) -> list[str]:
    """Sentences for readers of rows of `EXPLAINED`, about squares of `size` px."""
    found = []
    whole = [str(period) for period in _PERIODS if size % period == 0]
    if whole:
        found.append(
            f"A square of {size} px covers whole periods of {', '.join(whole)} px: what a tile "
            "repeats with them has the same mean under every square and is no part of phase."
        )
    if any(table["sd"] < HARDLY):
        found.append(
            f"Hardly varies: a standard deviation below {HARDLY:.0%} cannot explain which squares "
            "are seen, and a slope for one standard deviation says little."
        )
    return found
