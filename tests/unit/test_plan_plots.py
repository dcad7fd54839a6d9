"""The plan's figure, before and after a run."""

import numpy as np
import pandas as pd
import pytest

from deadpixel.operations import plan_plots

RULES = [f"rule{number}" for number in range(9)]
MAKESPANS = pd.DataFrame(
    {
        "devices": [1, 2, 4],
        "list_seconds": [9000.0, 5000.0, 3000.0],
        "optimum_seconds": [9000.0, 4600.0, 2900.0],
        "bound_seconds": [9000.0, 4500.0, 2800.0],
    }
)


@pytest.fixture
def jobs():
    predicted = np.geomspace(1, 1e5, 18)
    return pd.DataFrame(
        {"rule": RULES * 2, "predicted_seconds": predicted, "measured_seconds": np.nan}
    )


def test_before_a_run_each_rule_has_its_share(jobs):
    figure = plan_plots.plan(jobs, MAKESPANS, "GPUs")
    spans, shares = figure.axes
    assert spans.get_xlabel() == "GPUs (log scale)"
    assert (spans.get_xscale(), spans.get_yscale()) == ("log", "log")
    assert spans.get_ylabel() == "time until all is done (log scale)"
    ticks = [label.get_text() for label in spans.get_yticklabels()]
    assert ticks and all(tick.split()[1] in {"s", "min", "h", "days"} for tick in ticks)
    listed, best = (line for line in spans.lines if line.get_marker() != "None")
    assert [*listed.get_ydata()] == [*MAKESPANS["list_seconds"]]
    assert [*best.get_ydata()] == [*MAKESPANS["optimum_seconds"]]
    widths = {
        label.get_text(): bar.get_width()
        for label, bar in zip(shares.get_yticklabels(), shares.patches, strict=True)
    }
    assert widths["rule8"] == pytest.approx(
        jobs.loc[jobs["rule"] == "rule8", "predicted_seconds"].sum()
    )
    assert sum(widths.values()) == pytest.approx(jobs["predicted_seconds"].sum())


def test_after_a_run_each_job_is_a_point(jobs):
    figure = plan_plots.plan(
        jobs.assign(measured_seconds=jobs["predicted_seconds"] * 2), MAKESPANS, "GPUs"
    )
    points = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    measured = np.concatenate([line.get_xdata() for line in points])
    predicted = np.concatenate([line.get_ydata() for line in points])
    assert len(measured) == 18
    np.testing.assert_allclose(measured, 2 * predicted)
