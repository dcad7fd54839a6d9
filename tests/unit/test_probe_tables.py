"""Tables of the probes, from rows that can be computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from deadpixel.probes.places import ALL_COLOURS, DISTURBED, GROUPS
from deadpixel.results import render
from deadpixel.results.probes import attacks, intervals, linear, places, saliency, shifts

NETWORK = {"model": "net", "kernels": "odd"}

# ---------------------------------------------------------------------------------------- intervals


def test_a_mean_has_students_interval_over_images_whose_value_is_known():
    found = intervals.of_mean("x", np.array([1.0, 2.0, np.nan, 6.0]))
    low, high = scipy_stats.t.interval(0.95, 2, 3.0, math.sqrt(7 / 3))
    assert found == {"x": 3.0, "x_low": pytest.approx(low), "x_high": pytest.approx(high)}
    assert all(math.isnan(value) for value in intervals.of_mean("x", np.array([np.nan])).values())
    alone = intervals.of_mean("x", np.array([4.0]))
    assert alone["x"] == 4 and math.isnan(alone["x_low"])


def test_a_ratio_is_a_geometric_mean_and_leaves_out_what_is_zero():
    found = intervals.of_ratio("x", np.array([2.0, 8.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0]))
    assert found["x"] == pytest.approx(4.0)
    assert found["x_low"] * found["x_high"] == pytest.approx(16.0)
    assert found["x_low"] < 4 < found["x_high"]


def test_a_correlation_has_fishers_interval():
    x, y = np.arange(5.0), np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    found = intervals.of_correlation("x", x, y)
    reach = 1.959964 / math.sqrt(2)
    low, high = (math.tanh(math.atanh(0.8) + sign * reach) for sign in (-1, 1))
    assert list(found.values()) == pytest.approx([0.8, low, high], rel=1e-5)
    assert math.isnan(intervals.of_correlation("x", x[:3], y[:3])["x_low"])
    assert math.isnan(intervals.of_correlation("x", x, np.ones(5))["x"])


def test_a_share_has_the_exact_interval_of_a_binomial():
    found = intervals.of_share("x", np.array([True, False, False, False]))
    low, high = scipy_stats.beta.ppf(0.025, 1, 4), scipy_stats.beta.ppf(0.975, 2, 3)
    assert list(found.values()) == pytest.approx([25, 100 * low, 100 * high])
    assert math.isnan(intervals.of_share("x", np.array([]))["x"])


def test_an_interval_is_read_as_one_cell():
    first, second, third = intervals.columns("x", "a number")
    row = {"x": 1.234, "x_low": 0.5, "x_high": 2.0}
    assert (first.cell(row), second.cell(row)) == ("1.23", "0.50 to 2.00")
    assert third.header is None and second.cell(row | {"x_low": math.nan}) == render.NOTHING


# --------------------------------------------------------------------------------- the linear model


def test_how_much_is_explained_by_hand():
    logit = np.array([1.0, 2.0, 3.0, 6.0])
    assert linear.r_squared(logit, 2.0, logit - 2) == 1
    assert linear.r_squared(logit, 0.0, np.full(4, 3.0)) == 0
    assert linear.r_squared(logit, 1.0, logit) == pytest.approx(1 - 4 / 14)
    assert linear.r_squared(logit, 0.0, -logit) < 0
    assert np.isnan(linear.r_squared(np.ones(3), 0.0, np.ones(3)))


def test_the_table_of_the_linear_model_takes_the_rest_from_the_other_images():
    logit = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    probed = pd.DataFrame({"logit": logit, "by_gradient": logit - 2, "by_field": np.arange(5.0)})
    others = pd.DataFrame({"logit": [9.0, 7.0], "by_gradient": [6.0, 6.0], "by_field": 0.0})
    rows = pd.concat([probed.assign(reference=False), others.assign(reference=True)])
    rows = rows.assign(by_signed=-rows["by_field"], **NETWORK)
    table = linear.explained(rows)
    assert [*table["by"]] == [*linear.BY] and (table["n_images"] == 5).all()
    by = table.set_index("by")
    assert by.loc["by_gradient", "r_squared"] == pytest.approx(1.0)
    assert by.loc["by_field", "r_squared"] == pytest.approx(
        1 - ((logit - np.arange(5) - 2) ** 2).sum() / 10
    )
    assert by.loc["by_field", "correlation"] == pytest.approx(0.8)
    assert by.loc["by_signed", "correlation"] == pytest.approx(-0.8)
    assert by.loc["by_field", "spearman"] == pytest.approx(0.8)
    assert by.loc["by_field", "spearman_p"] == pytest.approx(16 / 120)
    render.markdown(table, linear.LINEAR)


# ------------------------------------------------------------------------------------------ places


def changed(image, place, group, size, change, flipped=False, kind=DISTURBED, own=None):
    field = 1.0 + group
    return {
        **NETWORK,
        **{"image": image, "row": place, "col": 0, "group": group, "field": field},
        "own_sensitivity": field if own is None else own,
        **{
            "kind": kind,
            "size": size,
            "side": 1,
            "colour": 0 if kind == DISTURBED else ALL_COLOURS,
        },
        **{"change": change, "flipped": flipped},
    }


STRONG = GROUPS - 1


def of_slope(slope: float, curve: float = 0.0) -> pd.DataFrame:
    """Changes of size * R * slope, and larger ones off that line."""
    rows = [
        changed(image, group, group, size, slope * size * (1 + group) + curve * size**2)
        for image in (0, 1)
        for group in range(GROUPS)
        for size in (0.5, -0.5, 2.0, -2.0)
    ]
    return pd.DataFrame(rows)


def test_changes_in_proportion_to_r_have_its_ratio_slope_and_ranks():
    table = places.answers(of_slope(3.0))
    assert [*table["size"]] == [0.5, 2.0]
    for row in table.to_dict("records"):
        assert (row["n_images"], row["n_places"]) == (2, 20)
        assert row["ratio"] == pytest.approx(10) and row["expected"] == pytest.approx(10)
        assert row["slope"] == pytest.approx(3) and row["rank"] == pytest.approx(1)
        assert row["bend"] == pytest.approx(0, abs=1e-12) and row["drop"] == pytest.approx(0)
        assert row["flipped_strong"] == 0
    assert places.answers(of_slope(-3.0))["slope"].to_numpy() == pytest.approx([-3, -3])


def test_larger_disturbances_bend_off_the_line_of_the_smallest():
    table = places.answers(of_slope(1.0, curve=0.1))
    # of the smallest size: 0.5 R + 0.025 and -0.5 R + 0.025; of 2: 2 R + 0.4 and -2 R + 0.4
    straight = np.array([sign * 2 * r + 0.1 for r in range(1, 11) for sign in (1, -1)])
    expected = math.sqrt(20 * 0.3**2 / (straight**2).sum())
    assert table["bend"].to_numpy() == pytest.approx([0, expected])


def test_ratio_and_flips_are_of_the_strongest_and_weakest_tenth_alone():
    black = {"kind": "black", "size": np.nan}
    rows = pd.DataFrame(
        [
            changed(0, 0, STRONG, change=-4.0, flipped=True, own=6.0, **black),
            changed(0, 1, STRONG, change=2.0, own=2.0, **black),
            changed(0, 2, 0, change=-1.0, own=1.0, **black),
            changed(0, 3, 5, change=-9.0, flipped=True, own=99.0, **black),
            changed(1, 4, STRONG, change=-8.0, flipped=True, own=4.0, **black),
            changed(1, 5, 0, change=0.5, flipped=True, own=3.0, **black),
        ]
    )
    (row,) = places.answers(rows).to_dict("records")
    assert row["ratio"] == pytest.approx(math.sqrt(3 * 16))
    assert row["expected"] == pytest.approx(4 / 2)
    assert row["drop"] == pytest.approx(np.mean([12 / 4, 7.5 / 2]))
    assert row["flipped_strong"] == pytest.approx(200 / 3) and row["flipped_weak"] == 50
    assert math.isnan(row["bend"]) and math.isnan(row["slope"]) and row["kind"] == "black"
    ranks = [scipy_stats.spearmanr([4, 2, 1, 9], [10, 10, 1, 6])[0], 1.0]
    assert row["rank"] == pytest.approx(np.mean(ranks))
    text = render.markdown(pd.DataFrame([row]), places.PLACES)
    assert "set to black" in text and "off the line" not in text


# ------------------------------------------------------------------------------------------- shifts


def test_shifts_are_means_over_images_of_what_each_bears():
    rows = moved({0: [0, 1, 0, 0, 0, 0, 0, 0, 0], 1: [0] * 9, 2: [2, 2, 0, 0, 0, 0, 0, 0, 0]})
    table = shifts.bearing(rows).set_index("axis")
    row = table.loc["down"]
    assert (row["n_images"], row["reach"]) == (3, 2)
    assert row["stays"] == pytest.approx(np.mean([7 / 8, 1, 6 / 8]))
    assert row["pairs"] == pytest.approx(np.mean([1, 1, (16 + 1) / 25]))
    assert row["always"] == pytest.approx(100 / 3)
    assert row["confidence"] == pytest.approx(0.5)
    assert row["logit_std"] == pytest.approx(np.std(np.arange(9)))
    assert [*table.index] == ["down", "across"]
    assert table.loc["across", "always"] == 100
    render.markdown(shifts.bearing(rows), shifts.SHIFTS)


def moved(predicted: dict[int, list[int]]) -> pd.DataFrame:
    """Images moved by -2, -1.5, ..., 2 px, with these classes down, and one class across."""
    offsets = np.arange(-4, 5) / 2
    rows = [
        {
            **NETWORK,
            **{"image": image, "axis": axis, "offset": offset, "logit": float(number)},
            "probability": 0.25 * (1 + image) if not offset else 9.0,
            "predicted": classes[number] if axis == "down" else 0,
            "same": axis == "across" or classes[number] == classes[4],
        }
        for image, classes in predicted.items()
        for axis in ("down", "across")
        for number, offset in enumerate(offsets)
    ]
    return pd.DataFrame(rows)


def test_images_are_compared_at_equal_confidence():
    rows = moved({0: [0, 1, 0, 0, 0, 0, 0, 0, 0], 1: [0] * 9, 2: [2, 2, 0, 0, 0, 0, 0, 0, 0]})
    table = shifts.at_equal_confidence(rows, edges=(0.0, 0.3, 0.6, 1.0)).query("axis == 'down'")
    assert table["images"].tolist() == [1, 1, 1] and table["low"].tolist() == [0, 0.3, 0.6]
    assert table["always"].tolist() == [0, 1, 0]
    none = shifts.at_equal_confidence(rows, edges=(0.0, 0.01, 1.0))
    assert none["low"].tolist() == [0.01, 0.01] and {*none["kernels"]} == {"odd"}


def test_a_logit_of_one_period_has_all_of_its_power_there():
    offsets = np.arange(-16, 17) / 2
    rows = pd.DataFrame(
        [
            {
                **NETWORK,
                **{"image": image, "axis": axis, "offset": offset},
                "logit": np.cos(2 * np.pi * offset / 4 + image) if axis == "down" else offset % 2,
            }
            for image in (0, 1)
            for axis in ("down", "across")
            for offset in offsets
        ]
    )
    table = shifts.periods(rows).set_index(["axis", "period"])
    assert {*table.index.get_level_values("period")} == {2, 4, 8, 16}
    assert table.loc[("down", 4), "share"] > 0.9 and table.loc[("across", 2), "share"] > 0.9
    assert table.groupby("axis")["share"].sum().to_numpy() == pytest.approx(1)
    assert table.groupby("axis")["white"].sum().to_numpy() == pytest.approx(1)
    assert (table["n_images"] == 2).all()
    assert table.loc["down", "white"].equals(table.loc["across", "white"]), "whatever the logits"


# ------------------------------------------------------------------------------------------ attacks


def test_attacks_are_compared_with_those_on_weak_pixels_image_by_image():
    came = {
        "anywhere": ([True, True, True, False], [5, 6, 7, 100]),
        "strong": ([False, True, True, False], [100, 8, 9, 100]),
        "weak": ([True, False, False, False], [4, 100, 100, 100]),
    }
    rows = pd.DataFrame(
        [
            {
                **NETWORK,
                **{"image": image, "places": name, "succeeded": succeeded[image]},
                **{"queries": queries[image], "before": 0.75, "after": 0.25 * image},
            }
            for name, (succeeded, queries) in came.items()
            for image in ((3, 1, 0, 2) if name == "weak" else (0, 1, 2, 3))
        ]
    )
    table = attacks.compared(rows).set_index("places")
    assert table["succeeded"].to_dict() == {"anywhere": 75, "strong": 50, "weak": 25}
    assert table["queries"].to_dict() == {"anywhere": 6.5, "strong": 54.5, "weak": 100}
    assert table.loc["strong", ["only_here", "only_weak"]].tolist() == [2, 1]
    assert table.loc["strong", "mcnemar_p"] == pytest.approx(1.0)
    assert table.loc["anywhere", ["only_here", "only_weak"]].tolist() == [2, 0]
    assert table.loc["anywhere", "mcnemar_p"] == pytest.approx(0.5)
    assert table.loc["weak", ["only_here", "only_weak", "mcnemar_p"]].isna().all()
    assert table["fall"].to_numpy() == pytest.approx([0.375] * 3)
    assert "strong ones" in render.markdown(attacks.compared(rows), attacks.ATTACKS)


# ----------------------------------------------------------------------------------------- saliency


def test_maps_have_means_over_images_and_the_contrast_without_noise():
    key = {"saliency": "gradient", "correction": "tile"}
    images = pd.DataFrame(
        [
            {**NETWORK, **key, "agreement": 0.5, "insertion": 0.25, "deletion": 0.75},
            {**NETWORK, **key, "agreement": 1.0, "insertion": 0.75, "deletion": 0.25},
        ]
    )
    other = {**NETWORK, **key, "kernels": "padded"}
    noise = {"contrast": 9.0, "contrast_se": 9.0, "contrast_floor": 9.0}
    measured = {"contrast_unbiased": 0.125, "contrast_unbiased_se": 0.01}
    both = pd.concat([images, images[:1].assign(kernels="padded")])
    contrasts = pd.DataFrame(
        [
            {**other, **noise, "contrast_unbiased": 0.25, "contrast_unbiased_se": 0.02},
            {**NETWORK, **key, **noise, **measured},
        ]
    )
    table = saliency.compared(both, contrasts)
    odd, padded = table.to_dict("records")
    assert (odd["n_images"], odd["contrast"], odd["contrast_se"]) == (2, 0.125, 0.01)
    assert (odd["agreement"], odd["insertion"], odd["deletion"]) == (0.75, 0.5, 0.5)
    assert (padded["n_images"], padded["contrast"], padded["agreement"]) == (1, 0.25, 0.5)
    assert "divided by the mean tile" in render.markdown(table, saliency.SALIENCY)
