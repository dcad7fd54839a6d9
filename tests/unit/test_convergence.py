"""The course of a map with its images, against what the first blocks say by themselves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deadpixel import convergence, gaussian, imbalance, precision
from deadpixel.blocks import maps_without_each
from deadpixel.files import schemas
from deadpixel.files.effective import Erf
from deadpixel.results import convergence as results

ROOT = Path(__file__).resolve().parents[2]
SIDE = 24
COUNTS = (3, 2, 2, 1, 2, 2)
BELL = gaussian.evaluate((SIDE, SIDE), 100, 12, 11, 5, 4)


def drawn(counts: Sequence[int] = COUNTS, noise: float = 0.2, seed: int = 0) -> list[Erf]:
    """Blocks of images of a bell, each pixel of each image with noise of its own."""
    rng = np.random.default_rng(seed)
    images = [BELL * (1 + noise * rng.uniform(-1, 1, (count, SIDE, SIDE))) for count in counts]
    return [Erf(of.sum(0), (of**2).sum(0), len(of)) for of in images]


@pytest.mark.parametrize("number", [2, 4, len(COUNTS)])
def test_each_row_is_what_the_blocks_so_far_say_by_themselves(number: int) -> None:
    row = convergence.course(drawn())[number - 1]
    assert (row["n_blocks"], row["n_images"]) == (number, sum(COUNTS[:number]))
    means, counts = [block.mean for block in drawn()[:number]], COUNTS[:number]
    whole = np.average(means, axis=0, weights=counts)
    fitted = gaussian.fit_or_failure(whole, maps_without_each(means, counts))
    for name in ("sigma_x", "sigma_y", "center_x", "center_y", "r_squared"):
        assert row[name] == pytest.approx(fitted[name], rel=1e-5)
        error = f"{name}_jackknife_se"
        assert row[error] == pytest.approx(fitted[error], rel=1e-3) and row[error] > 0
    uneven = imbalance.measure(means, counts)
    for name in ("l1", "l1_se", "l2", "l2_se"):
        assert row[name] == pytest.approx(uneven[name])


def test_columns_are_those_of_the_file() -> None:
    assert [*convergence.course(drawn())[0]] == schemas.CONVERGENCE.names[1:]


def test_of_many_blocks_a_few_numbers_of_them_are_measured() -> None:
    few, ten, many = (convergence.course(drawn([1] * number)) for number in (3, 10, 23))
    assert [row["n_blocks"] for row in few] == [1, 2, 3]
    assert [row["n_blocks"] for row in ten] == [*range(1, 11)]
    steps = [row["n_blocks"] for row in many]
    assert len(steps) == 10 and (steps[0], steps[-1]) == (1, 23)
    assert {*np.diff(steps)} <= {2, 3}


def test_what_is_not_known_is_missing() -> None:
    """Errors of one block, a Gaussian of a constant, indices of what cancels."""
    (row,) = convergence.course(drawn([4]))
    assert row["sigma_x"] == pytest.approx(5, rel=0.05) and row["l1"] > 0
    assert np.isnan([row["sigma_x_jackknife_se"], row["l1_se"]]).all()
    ones = np.ones((SIDE, SIDE))
    row = convergence.course([Erf(2 * ones, 2 * ones, 2)] * 3)[-1]
    assert np.isnan([row["sigma_x"], row["center_y_jackknife_se"]]).all()
    assert (row["l1"], row["l1_se"]) == (0, 0)
    signed = [Erf(block.total - 0.1, block.total_squares, block.count) for block in drawn()]
    row = convergence.course(signed)[-1]
    assert np.isnan([row["l1"], row["l2"], row["l1_se"]]).all() and row["sigma_x"] > 0


PRECISE = {
    **{"n_blocks": 5, "sigma_x": 50.0, "sigma_y": 100.0, "l1": 2.0},
    **{"sigma_x_jackknife_se": 0.49, "sigma_y_jackknife_se": 0.99, "l1_se": 0.019},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma_x_jackknife_se", 0.51),
        ("sigma_y_jackknife_se", 1.01),
        ("l1_se", 0.021),
        ("l1_se", np.nan),
        ("sigma_x", np.nan),
        ("n_blocks", 4),
    ],
)
def test_both_sigmas_and_l1_have_to_be_precise(name: str, value: float) -> None:
    assert precision.is_precise(PRECISE, 0.01)
    assert not precision.is_precise({**PRECISE, name: value}, 0.01)
    assert not precision.is_precise(PRECISE, 0.009)


def test_images_are_enough_once_every_target_is_precise() -> None:
    clear, noisy = drawn(noise=0.001), drawn(noise=0.9)
    alone = [{"a": block} for block in clear]
    both = [{"a": block, "b": other} for block, other in zip(clear, noisy, strict=True)]
    assert convergence.enough(alone, 0.01) and convergence.enough(alone[:5], 0.01)
    assert not convergence.enough(alone[:4], 0.01)
    assert not convergence.enough(both, 0.01) and convergence.enough(both, 0.9)
    ones = np.ones((SIDE, SIDE))
    assert not convergence.enough([{"a": Erf(ones, ones, 1)}] * 6, 0.9)


def course(*errors: float, of: int = 5) -> pd.DataFrame:
    """After ten images a row, from block `of` on; the errors are relative."""
    rows = [
        {**PRECISE, "n_blocks": number, "n_images": 10 * number, "r_squared": 0.9}
        | {name: 0.0 for name in PRECISE if name.endswith("_se")}
        | {"l1_se": error * PRECISE["l1"]}
        for number, error in enumerate(errors, start=of)
    ]
    return pd.DataFrame(rows)


def test_images_are_enough_from_where_on_a_map_stays_precise() -> None:
    assert results.images_enough(course(0.02, 0.009, 0.008), 0.01) == 60
    assert results.images_enough(course(0.009, 0.02, 0.008, 0.009), 0.01) == 70
    assert results.images_enough(course(0.009, 0.02), 0.01) is None
    assert results.images_enough(course(0.001, 0.001, of=4), 0.01) == 50


def drawn_lines(rows: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Heights by title of the panel and label of the line."""
    found = {}
    for panel in results.figure(rows).axes:
        found[panel.get_title()] = {
            bars.get_label(): [*bars.lines[0].get_ydata()] for bars in panel.containers
        }
    return found


def test_the_figure_has_a_panel_for_each_map_relative_to_all_images() -> None:
    one = course(0.02, 0.01).assign(model="net", kernels="odd", target="layer4", l1=[3.0, 2.0])
    other = one.assign(target="output", r_squared=0.4)
    lines = drawn_lines(pd.concat([one, other]))
    assert [*lines] == ["net, layer4", "net, output"]
    assert lines["net, layer4"]["L1"] == pytest.approx([50, 0])
    assert lines["net, layer4"]["σx"] == lines["net, layer4"]["σy"] == [0, 0]
    assert [*lines["net, output"]] == ["L1"], "no Gaussian, no widths"
    padded = one.assign(kernels="padded")
    assert [*drawn_lines(pd.concat([one, other, padded]))] == [
        *("net, odd, layer4", "net, odd, output"),
        *("net, padded, layer4", "net, padded: no output"),
    ]


def test_bars_are_one_standard_error_either_way() -> None:
    rows = course(0.02, 0.01).assign(model="net", kernels="odd", target="layer4", l1=[3.0, 2.0])
    (panel,) = results.figure(rows).axes
    (bars,) = (bars for bars in panel.containers if bars.get_label() == "L1")
    (segments,) = (lines.get_segments() for lines in bars.lines[2])
    heights = [segment[:, 1] for segment in segments]
    np.testing.assert_allclose(heights, [[48, 52], [-1, 1]])
