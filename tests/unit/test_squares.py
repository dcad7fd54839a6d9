"""Squares of the micro-object task, against loops over pixels and frames written by hand."""

import numpy as np
import pandas as pd
import pytest

from deadpixel.errors import InputError
from deadpixel.imbalance import mean_tile
from deadpixel.results import squares
from decisions import SIZE, corners, drawn, run

SIDE = 40
KEY = ("resnet18", "odd", 0)


def field(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(5).random((height, width)) + 0.2


def test_means_under_squares_are_those_of_a_loop_over_pixels():
    values, places = field(30, SIDE), corners(50, 30)
    expected = [values[row : row + SIZE, col : col + SIZE].mean() for row, col in places]
    assert squares.under_squares(values, places, SIZE) == pytest.approx(expected)
    whole = squares.under_squares(values[:, :30], np.array([[0, 0]]), 30)
    assert whole == pytest.approx([values[:, :30].mean()])


def test_runs_learn_up_to_the_first_epoch_above_the_threshold():
    def course(kernels: str, *right: int) -> pd.DataFrame:
        """Of ten squares, so many right in each epoch."""
        return run(corners(10, SIDE), np.arange(10)[:, None] < np.array(right), kernels)

    seen = pd.concat([course("odd", 5, 9, 10, 8, 10), course("padded", 5, 9, 9, 9)])
    kept = squares.learning(seen.iloc[::-1], 0.9)
    assert kept.groupby("kernels")["epoch"].max().to_dict() == {"odd": 3, "padded": 4}
    assert len(kept) == 70


def test_a_run_is_read_with_what_its_map_says_of_each_square():
    places, right = corners(20, SIDE), drawn(np.zeros(20), 3)
    rows = run(places, right).sample(frac=1, random_state=0)
    (found,) = squares.runs(rows, {KEY: field()}, SIZE)
    assert found.name == KEY and found.room == (33, 33)
    order = [
        int(np.flatnonzero((places == place).all(1) & (np.arange(20) % 2 == colour))[0])
        for place, colour in zip(found.corners, found.colour, strict=True)
    ]
    assert sorted(order) == [*range(20)]
    assert np.array_equal(found.right, right[order])
    tile = mean_tile(field(), 32)
    for number, (row, col) in enumerate(found.corners):
        of_tile = [
            tile[y % 32, x % 32] for y in range(row, row + SIZE) for x in range(col, col + SIZE)
        ]
        assert found.tile[number] == pytest.approx(np.mean(of_tile))
    under = squares.under_squares(field(), found.corners, SIZE)
    assert found.field == pytest.approx(under / field().mean())
    assert found.contrast == pytest.approx(np.sqrt(((tile - 1) ** 2).mean()))


def test_a_map_smaller_than_two_tiles_repeats_its_tile_from_the_first_pixel():
    places = np.array([[60, 80], [28, 48], [60, 16]])
    (found,) = squares.runs(run(places, np.ones((3, 1), bool)), {KEY: field(70, 90)}, SIZE)
    assert found.tile == pytest.approx([found.tile[0]] * 3)


def test_squares_over_whole_periods_of_a_checkerboard_hardly_tell_its_phases():
    """What is left comes from the moving average beyond the border of the map."""
    board = 1 + 0.5 * np.tile([[1, -1], [-1, 0.4]], (32, 32))
    rows = run(corners(40, 64), np.ones((40, 1), bool))
    (found,) = squares.runs(rows, {KEY: board}, SIZE)
    assert found.contrast > 0.4
    assert found.tile.std() < found.contrast / 20


def one_of(what: str) -> tuple[pd.DataFrame, dict]:
    rows, maps = run(corners(10, SIDE), np.ones((10, 2), bool)), {KEY: field()}
    if what == "no map":
        maps = {("resnet18", "odd", 1): field()}
    elif what == "twice":
        rows = pd.concat([rows, rows])
    elif what == "not at the same place":
        rows.loc[3, "row"] += 1
    elif what == "not within its map of 36 x 40":
        maps = {KEY: field(36)}
        rows["row"] = 29
    elif what == "not within":
        rows.loc[rows["path"] == "2.png", "col"] = -1
    elif what == "not positive":
        maps = {KEY: np.where(np.arange(SIDE) < 30, field(), 0)}
        rows["col"] = 32
    return rows, maps


@pytest.mark.parametrize(
    "what",
    [
        *("no map", "twice", "not at the same place", "not within its map of 36 x 40"),
        *("not within", "not positive"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_the_run_is_named(what):
    rows, maps = one_of(what)
    with pytest.raises(InputError, match=f"resnet18, kernels odd, seed 0: .*{what}"):
        next(squares.runs(rows, maps, SIZE))


def test_runs_have_a_mean_and_from_three_on_an_interval():
    found = squares.over_runs("share", np.array([0.5, 0.6, 0.8]))
    reach = 4.302653 * np.std([0.5, 0.6, 0.8], ddof=1) / np.sqrt(3)
    mean = 1.9 / 3
    assert found == pytest.approx(
        {"share": mean, "low": mean - reach, "high": mean + reach, "n_runs": 3}
    )
    assert np.isnan(squares.over_runs("share", np.array([0.5, 0.6]))["low"])
