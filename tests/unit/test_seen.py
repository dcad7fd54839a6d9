"""Where the micro-object is seen, from squares whose places are written by hand."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from deadpixel.files import parquet
from deadpixel.results import pairs, render, seen, squares
from decisions import SIZE, corners, drawn, run

SIDE = 47  # 40 places along each side: quarters of 10, eighths of 5 px
EDGES = ("top", "bottom", "left", "right")


def flat(side: int = SIDE) -> np.ndarray:
    return np.ones((side, side))


def bumpy(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """A map with a tile of 32 px, broad enough that squares tell its phases."""
    wave = 1 + 0.4 * np.sin(2 * np.pi * (np.arange(side) + seed) / 32)
    return np.outer(wave, wave)


def maps(rows: pd.DataFrame, field: np.ndarray) -> dict:
    keys = rows[pairs.RUN].drop_duplicates().itertuples(index=False)
    return {tuple(key): field for key in keys}


def at_cells(shares: pd.DataFrame, by: str) -> dict[int, float]:
    rows = shares[shares["by"] == by]
    return dict(zip(rows["cell"], rows["share"], strict=True))


def test_shares_are_of_the_cells_that_squares_lie_in():
    places = np.array([[0, 0], [0, 39], [39, 0], [19, 20], [20, 19], [9, 10]])
    right = np.array([[1, 1], [1, 0], [0, 0], [1, 1], [0, 0], [0, 1]], bool)
    rows = run(places, right)
    found = seen.shares(rows, maps(rows, flat()), SIZE)
    assert at_cells(found, "place") == {0: 1, 1: 0.5, 3: 0.5, 6: 1, 9: 0, 12: 0}
    assert at_cells(found, "top") == {0: 0.75, 1: 0.5, 3: 1, 4: 0, 7: 0}
    assert at_cells(found, "bottom") == {0: 0, 3: 0, 4: 1, 6: 0.5, 7: 0.75}
    assert at_cells(found, "left") == {0: 0.5, 2: 0.5, 3: 0, 4: 1, 7: 0.5}
    assert at_cells(found, "right") == {0: 0.5, 3: 1, 4: 0, 5: 0.5, 7: 0.5}
    assert (found.groupby("by")["n_squares"].sum() == 6).all()
    bounds = found[(found["by"] == "top")][["cell", "bin_from", "bin_to"]].to_numpy()
    assert bounds.tolist() == [[0, 0, 4], [1, 5, 9], [3, 15, 19], [4, 20, 24], [7, 35, 39]]


@pytest.mark.parametrize("side", [32, 47, 64, 65])
def test_bins_are_of_the_distances_that_their_bounds_say(side):
    places = np.stack([np.arange(side - SIZE + 1)] * 2, 1)
    rows = run(places, np.ones((len(places), 1), bool))
    found = seen.shares(rows, maps(rows, flat(side)), SIZE)
    for edge in EDGES:
        of_edge = found[found["by"] == edge].sort_values("cell")
        widths = of_edge["bin_to"] - of_edge["bin_from"] + 1
        assert (of_edge["n_squares"] == widths).all()
        assert of_edge["bin_from"].iloc[0] == 0
        assert of_edge["bin_to"].iloc[-1] == side - SIZE
        assert np.ptp(widths) <= 1


def test_fifths_of_squares_are_in_the_order_of_their_sensitivity():
    places = corners(100, SIDE)
    rows = run(places, np.ones((100, 1), bool))
    (of_run,) = squares.runs(rows, maps(rows, bumpy()), SIZE)
    sensitive = of_run.tile >= np.quantile(of_run.tile, 0.8)
    order = pd.MultiIndex.from_arrays([*of_run.corners.T, of_run.colour])
    seen_there = pd.Series(sensitive, order)
    keys = pd.MultiIndex.from_arrays([*places.T, np.arange(100) % 2])
    rows = run(places, seen_there[keys].to_numpy()[:, None])
    found = seen.shares(rows, maps(rows, bumpy()), SIZE)
    assert at_cells(found, "phase") == {0: 0, 1: 0, 2: 0, 3: 0, 4: 1}
    phases = found[found["by"] == "phase"]
    assert (phases["n_squares"] == 20).all()
    assert phases["bin_to"].iloc[-1] == pytest.approx(of_run.tile.max())
    assert phases["bin_from"].iloc[4] == phases["bin_to"].iloc[3]


def test_where_the_tile_is_the_same_everywhere_there_are_no_phases():
    rows = run(corners(20, SIDE), np.ones((20, 1), bool))
    found = seen.shares(rows, maps(rows, flat()), SIZE)
    assert "phase" not in set(found["by"])


def test_a_share_is_the_mean_over_runs_that_have_squares_there():
    places = np.array([[0, 0], [0, 1], [39, 39], [39, 38]])
    runs = [
        run(places, np.array([[1], [1], [0], [0]], bool), seed=0),
        run(places, np.array([[1], [0], [0], [0]], bool), seed=1),
        run(places, np.array([[1], [1], [1], [0]], bool), seed=2),
        run(places[:2], np.array([[0], [0]], bool), seed=3),
    ]
    rows = pd.concat(runs)
    found = seen.shares(rows, maps(rows, flat()), SIZE)
    corner = found[(found["by"] == "place") & (found["cell"] == 15)].iloc[0]
    assert corner["share"] == pytest.approx(0.5 / 3)
    reach = 4.302653 * np.std([0, 0, 0.5], ddof=1) / np.sqrt(3)
    assert (corner["low"], corner["high"]) == pytest.approx((0.5 / 3 - reach, 0.5 / 3 + reach))
    assert (corner["n_runs"], corner["n_squares"]) == (3, 6)


def test_shares_are_a_table(tmp_path):
    rows = run(corners(20, SIDE), np.ones((20, 1), bool))
    found = seen.shares(rows, maps(rows, bumpy()), SIZE)
    paths = [tmp_path / "shares.parquet", tmp_path / "shares.md"]
    render.save(found, seen.SHARES, {}, paths)
    assert len(parquet.read(str(paths[0]), seen.SHARES.schema)) == len(found)
    assert "95 %" not in paths[1].read_text()


def two_arms() -> pd.DataFrame:
    """Shares of three runs of each, of which padded ones have a map without phases."""
    found = []
    for kernels, field in (("odd", bumpy()), ("padded", flat())):
        runs = []
        for seed in range(3):
            places = corners(200, SIDE, seed)
            runs.append(run(places, drawn(places[:, 1] / 20, 2, seed), kernels, seed))
        rows = pd.concat(runs)
        found.append(seen.shares(rows, maps(rows, field), SIZE))
    return pd.concat(found)


def test_the_figure_has_a_row_of_panels_for_each_kind_with_its_numbers():
    shares = two_arms()
    figure = seen.where_seen(shares, "resnet18")
    odd, padded, bar = figure.axes[:4], figure.axes[4:8], figure.axes[8]
    places = shares[(shares["kernels"] == "padded") & (shares["by"] == "place")]["share"]
    assert padded[0].images[0].get_array().ravel().tolist() == [*places]
    assert [text.get_text() for text in padded[0].texts] == [f"{100 * s:.0f}" for s in places]
    cells = [(text.get_position()[0], text.get_position()[1]) for text in padded[0].texts]
    assert cells == [(cell % 4, cell // 4) for cell in range(16)]
    of_both = shares[shares["by"] == "place"]["share"]
    limits = (min(0.48, of_both.min()), of_both.max())
    assert odd[0].images[0].get_clim() == padded[0].images[0].get_clim() == limits
    for panel, edges in zip(odd[1:3], (("left", "right"), ("top", "bottom")), strict=True):
        for line, edge in zip(panel.lines[:2], edges, strict=True):
            rows = shares[(shares["kernels"] == "odd") & (shares["by"] == edge)]
            assert line.get_label() == edge
            assert [*line.get_ydata()] == [*rows["share"]]
            assert [*line.get_xdata()] == [2 + 5 * cell for cell in range(8)]
    assert len(odd[3].lines) == 2 and "same" in padded[3].texts[0].get_text()
    limits = {panel.get_ylim() for panel in (*odd[1:], *padded[1:])}
    assert len(limits) == 1 and min(limits)[0] < seen.CHANCE
    for panel in (*odd[1:], *padded[1:], bar):
        assert [*panel.lines[-1].get_ydata()] == [seen.CHANCE] * 2
    assert bar.get_ylim()[0] < seen.CHANCE


def test_the_figure_is_drawn_of_a_single_run_that_sees_everything(tmp_path):
    places = corners(200, SIDE)
    rows = run(places, np.ones((200, 1), bool))
    figure = seen.where_seen(seen.shares(rows, maps(rows, bumpy()), SIZE), "resnet18")
    assert figure.axes[1].get_ylim()[0] < seen.CHANCE < 1 < figure.axes[1].get_ylim()[1]
    with mpl.rc_context():
        figure.savefig(tmp_path / "seen.png")
    assert len(figure.axes) == 5
