"""What phase and edge explain of which squares are seen, from effects that are planted."""

import numpy as np
import pandas as pd
import pytest

from deadpixel.files import parquet
from deadpixel.results import explained, pairs, render, squares, stats
from decisions import SIZE, corners, drawn, run

SIDE = 128
KEY = ("resnet18", "odd", 0)


def uneven() -> np.ndarray:
    """A map that falls to one side, with a tile of 32 px that squares tell the phases of."""
    pixel = np.arange(SIDE)
    wave = 1 + 0.4 * np.sin(2 * np.pi * pixel / 32)
    return np.outer(wave, wave) * (1.5 - pixel / SIDE)


def predictors(places: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Standardised, in the order of `places`."""
    (found,) = squares.runs(run(places, np.ones((len(places), 1), bool)), {KEY: field}, SIZE)
    both = explained.predictors(found)
    at = {
        (*corner, colour): values
        for corner, colour, values in zip(
            found.corners.tolist(), found.colour.tolist(), both, strict=True
        )
        for corner in [tuple(corner)]
    }
    ordered = np.array([at[(*place, n % 2)] for n, place in enumerate(places.tolist())])
    return (ordered - ordered.mean(0)) / ordered.std(0)


def planted(
    phase: float, edge: float, n: int = 160, seed: int = 0, kernels: str = "odd"
) -> pd.DataFrame:
    """Rows of `EXPLAINED_RUNS` by predictor, of a run with these slopes."""
    places = corners(n, SIDE, seed)
    logits = predictors(places, uneven()) @ [phase, edge]
    rows = run(places, drawn(logits, 3, seed), kernels, seed)
    return explained.explained_runs(rows, {("resnet18", kernels, seed): uneven()}, SIZE)


def test_phase_and_edge_add_up_to_the_logarithm_of_the_map():
    places = corners(30, SIDE)
    rows = run(places, np.ones((30, 1), bool))
    (found,) = squares.runs(rows, {KEY: uneven()}, SIZE)
    both = explained.predictors(found)
    under = squares.under_squares(uneven(), found.corners, SIZE)
    assert both.sum(1) == pytest.approx(np.log(under / uneven().mean()))
    assert both[:, 0] == pytest.approx(np.log(found.tile))


@pytest.mark.parametrize(("name", "other"), [("phase", "edge"), ("edge", "phase")])
def test_what_is_planted_in_one_predictor_is_found_there_and_not_in_the_other(name, other):
    found = planted(**{name: 1.0, other: 0.0}).set_index("predictor")
    row, without = found.loc[name], found.loc[other]
    assert row["shuffled_p"] == 1 / 200 == found.loc["both", "shuffled_p"]
    assert abs(row["slope"] - 1) < 3 * row["slope_se"] < 1
    assert row["added"] > 0.1
    assert abs(without["slope"]) < 3 * without["slope_se"] < 1
    assert without["added"] < 0.01
    both = found.loc["both", "explained"]
    assert both == pytest.approx(row["explained"] + without["added"])
    assert both == pytest.approx(without["explained"] + row["added"])
    assert (found["n_squares"] == 160).all() and (found["n_decisions"] == 480).all()


def test_less_sensitive_places_that_are_seen_sooner_have_a_negative_slope():
    found = planted(0.0, -1.0).set_index("predictor")
    assert found.loc["edge", "slope"] < -0.5 and found.loc["edge", "shuffled_p"] == 1 / 200


def test_a_square_that_comes_back_as_it_was_says_nothing_more():
    places = corners(160, SIDE)
    once = drawn(predictors(places, uneven()) @ [0.5, 0.5], 1)
    of_one, of_three = (
        explained.explained_runs(run(places, right), {KEY: uneven()}, SIZE)
        for right in (once, np.repeat(once, 3, axis=1))
    )
    same = ["slope", "slope_se", "explained", "shuffled_p"]
    pd.testing.assert_frame_equal(of_one[same], of_three[same])
    assert of_one["slope_se"].dropna().between(0.1, 0.3).all()


def test_scales_are_of_the_predictors_before_they_are_standardised():
    found = planted(0.0, 0.0).set_index("predictor")
    rows = run(corners(160, SIDE), np.ones((160, 1), bool))
    (of_run,) = squares.runs(rows, {KEY: uneven()}, SIZE)
    sd = explained.predictors(of_run).std(0)
    assert [*found.loc[["phase", "edge"], "sd"]] == pytest.approx([*sd])
    assert found.loc["phase", "contrast"] == of_run.contrast
    assert found.loc[["edge", "both"], "contrast"].isna().all()


@pytest.mark.slow
def test_of_noise_p_is_any_number(monkeypatch):
    monkeypatch.setattr(explained, "_SHUFFLES", 19)
    runs = [planted(0, 0, n=60, seed=seed) for seed in range(40)]
    for _, of_predictor in pd.concat(runs).groupby("predictor"):
        p = of_predictor["shuffled_p"].to_numpy()
        assert np.allclose(20 * p, np.round(20 * p)) and p.min() >= 1 / 20 and p.max() <= 1
        assert p.mean() == pytest.approx(0.525, abs=0.15)
        assert p.std() == pytest.approx(0.288, abs=0.08)


def test_squares_swap_places_with_those_of_their_colour_and_all_of_them():
    colour = np.arange(20) % 2
    orders = np.array([*explained._shuffles(colour)])
    assert len(orders) == 199
    assert (colour[orders] == colour).all()
    assert (np.sort(orders) == np.arange(20)).all()
    assert (orders != np.arange(20)).any(axis=0).all()
    assert (orders == np.array([*explained._shuffles(colour)])).all()


def test_each_colour_in_each_epoch_has_an_intercept():
    """Networks that first call everything red have seen no black square, wherever it is."""
    places = corners(160, SIDE)
    black = np.arange(160)[:, None] % 2 == 0
    biased = np.where(black, [False, False, True], [True, True, True])
    rows = run(places, np.concatenate([biased, drawn(np.zeros(160), 2)], axis=1))
    found = explained.explained_runs(rows, {KEY: uneven()}, SIZE)
    alone = run(places, drawn(np.zeros(160), 2))
    expected = explained.explained_runs(alone, {KEY: uneven()}, SIZE)
    pd.testing.assert_frame_equal(found, expected)


def test_a_tile_that_is_the_same_everywhere_explains_nothing_and_the_edge_what_it_does():
    """Of a map that falls in steps of whole tiles only rounding is left for the phase."""
    places = corners(100, SIDE)
    rows = run(places, drawn(places[:, 1] / 40 - 1.5, 3))
    found = explained.explained_runs(rows, {KEY: np.ones((SIDE, SIDE))}, SIZE)
    assert set(found["note"]) == {"the same under every square"}
    numbers = found[["slope", "slope_se", "explained", "added", "shuffled_p"]]
    assert numbers.isna().all(axis=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squares, "mean_tile", lambda field, period: np.ones((period, period)))
        one = explained.explained_runs(rows, {KEY: uneven()}, SIZE).set_index("predictor")
    assert one.loc["phase", "note"] == "the same under every square"
    assert np.isnan(one.loc["phase", "slope"]) and one.loc["edge", "shuffled_p"] == 1 / 200
    assert one.loc["both", "explained"] == one.loc["edge", "explained"]
    assert one.loc["edge", "added"] == one.loc["edge", "explained"]
    assert one.loc[["edge", "both"], "note"].isna().all()


def test_squares_that_are_all_seen_and_places_that_tell_all_of_them_are_named():
    places = corners(60, SIDE)
    everything = run(places, np.ones((60, 2), bool))
    found = explained.explained_runs(everything, {KEY: uneven()}, SIZE)
    (note,) = set(found["note"])
    assert "in no epoch" in note and (found["n_decisions"] == 0).all()
    edge = predictors(places, uneven())[:, 1]
    found = explained.explained_runs(
        run(places, np.repeat(edge[:, None] > 0, 2, axis=1)), {KEY: uneven()}, SIZE
    ).set_index("predictor")
    (note,) = set(found["note"])
    assert "no finite slopes" in note
    assert np.isnan(found.loc["edge", "explained"]) and np.isnan(found.loc["phase", "slope"])


def by_run(slopes: list[float], sd: float = 0.1) -> pd.DataFrame:
    rows = [
        (
            "resnet18",
            "odd",
            seed,
            "edge",
            10,
            20,
            sd,
            np.nan,
            slope,
            0.1,
            0.01 * seed,
            0.0,
            0.5,
            None,
        )
        for seed, slope in enumerate(slopes)
    ]
    return pd.DataFrame(rows, columns=explained.EXPLAINED_RUNS.names)


def test_slopes_have_an_interval_and_a_sign_flip_over_runs():
    slopes = [0.2, 0.3, 0.5, 0.1]
    (row,) = explained.explained(by_run(slopes)).to_dict("records")
    expected = stats.mean_difference(np.zeros(4), np.array(slopes))
    assert (row["slope"], row["low"], row["high"]) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert (row["signflip_p"], row["signflip_smallest_p"]) == (0.125, 0.125)
    assert row["explained"] == pytest.approx(0.015) and row["n_runs"] == 4
    assert row["note"] is None


def test_runs_with_a_note_are_left_out_and_counted():
    runs = by_run([0.2, 0.3, 9.0])
    runs.loc[2, "note"] = "no finite slopes"
    (row,) = explained.explained(runs).to_dict("records")
    assert (row["slope"], row["n_runs"], row["note"]) == (0.25, 2, "1 run left out")
    assert row["explained"] == pytest.approx(0.005) and np.isnan(row["low"])
    (row,) = explained.explained(runs.assign(note="no finite slopes")).to_dict("records")
    assert row["n_runs"] == 0 and np.isnan(row["slope"]) and row["note"] == "3 runs left out"


def test_what_hardly_varies_is_said_to_be_unable_to_explain():
    table = explained.explained(by_run([0.2, 0.3, 0.4], sd=0.019))
    assert table["note"].iloc[0] == "hardly varies"
    periods, hardly = explained.notes(table, 8)
    assert "2, 4, 8 px" in periods and "2%" in hardly
    assert explained.notes(explained.explained(by_run([0.2], sd=0.021)), 7) == []


def test_both_are_tables(tmp_path):
    runs = pd.concat([planted(0.5, 0.5, n=40, seed=seed) for seed in range(2)])
    over_runs = explained.explained(runs)
    for table, frame in (
        (explained.EXPLAINED_RUNS, runs),
        (explained.EXPLAINED, over_runs),
    ):
        paths = [tmp_path / "table.parquet", tmp_path / "table.md"]
        render.save(frame, table, {}, paths)
        assert len(parquet.read(str(paths[0]), table.schema)) == len(frame)
        assert "note" not in paths[1].read_text()
    assert [*over_runs["predictor"]] == ["phase", "edge", "both"]
    assert over_runs["low"].isna().all() and pairs.INTERVAL_PAIRS == 3
