"""Figures as pictures: those of a few numbers are what somebody looked at and found right.

Without their texts, whose letters differ from machine to machine. When a picture shall be another,
look at it, and copy it from where the test says that it is over the old one.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

from deadpixel import imbalance
from deadpixel.operations import plan_plots
from deadpixel.results import (
    convergence,
    erf_maps,
    microobject,
    padding,
    published,
    shape_test,
    size_test,
    style,
)
from deadpixel.results.probes import figure as probes_figure
from deadpixel.results.probes import picture
from deadpixel.results.survey import SURVEY, ranked
from deadpixel.results.survey import figure as survey_figure

PICTURES = Path(__file__).parent / "pictures"
TOLERANCE = 3  # root mean square of what pixels differ by, of 255
MOST_BYTES = 60_000
KINDS = ("odd", "padded")


def maps() -> Figure:
    """A checkerboard under a bell, and what is left of it."""
    rows, columns = np.indices((64, 64))
    bell = np.exp(-((rows - 28) ** 2 + (columns - 34) ** 2) / 2 / 12**2)
    checks = 1 + 0.3 * (1 - 2 * ((rows + columns) % 2))
    found = {"odd": {"layer4": bell * checks}, "padded": {"layer4": bell * (1 + (checks - 1) / 9)}}
    tiles = {k: {t: imbalance.mean_tile(f, 32) for t, f in of.items()} for k, of in found.items()}
    index = pd.MultiIndex.from_product([KINDS, ["layer4"]])
    fits = pd.DataFrame({"center_x": 34, "center_y": 28, "sigma_x": 12, "sigma_y": 12}, index)
    trf = pd.DataFrame({"size_h": 51, "size_w": 51, "center_h": 28, "center_w": 34}, index)
    trf = trf.assign(changed=[0, 8], left_odd=[8, 0])
    return erf_maps.figure(found, tiles, fits.assign(r_squared=0.9), trf, "a network")


def courses() -> Figure:
    """Four runs, of which padded kernels rise first."""
    rows = [
        ("resnet101", kernels, seed, epoch, 0.5 + 0.5 / (1 + np.exp(first + 3 * seed - epoch)))
        for kernels, first in zip(KINDS, (24, 10), strict=True)
        for seed in (0, 1)
        for epoch in range(1, 41)
    ]
    epochs = pd.DataFrame(rows, columns=["model", "kernels", "seed", "epoch", "test_acc"])
    paper = published.beside(4, {"resnet101": "resnet101"}, {})
    return microobject.accuracy_over_epochs(epochs, 0.9, paper)


def bars() -> Figure:
    """Of three networks, with noise and without."""
    models = ["resnet18", "resnet50", "resnext101_32x8d"]
    frame = pd.MultiIndex.from_product([models, KINDS], names=["model", "kernels"]).to_frame(False)
    values = np.array([0.2, 0.08, 0.15, 0.06, 0.18, 0.01])
    for name in imbalance.METRICS:
        frame = frame.assign(
            **{name: values + 0.1, f"{name}_floor": 0.1, f"{name}_raw": values / 1e3}
        )
        frame = frame.assign(**{f"{name}_unbiased": values, f"{name}_unbiased_se": 0.02})
    return shape_test.imbalance_before_and_after(frame, "output")


def sizes() -> Figure:
    """The paper's networks, ours a little larger."""
    paper = published.table(1)
    sizes = paper[["model", "sigma_x", "sigma_y", "r_squared"]].assign(kernels="odd", n_images=8)
    sizes = sizes.assign(sigma_x=sizes["sigma_x"] + 8, sigma_y=sizes["sigma_y"] + 8)
    trf = paper[["model", "trf"]].rename(columns={"trf": "size_h"}).assign(kernels="odd")
    accuracies = {row.model: (row.acc1, row.acc5) for row in paper.itertuples()}
    table = size_test.table1(sizes, trf, accuracies, published.beside(1, {}, {}))
    correlations = size_test.correlations(table)
    return size_test.size_against_accuracy(table, paper, correlations, "birds")


def plan() -> Figure:
    """Jobs of three rules that took twice as long as predicted."""
    seconds = np.geomspace(2, 20_000, 12)
    jobs = pd.DataFrame({"rule": [*"abc"] * 4, "predicted_seconds": seconds})
    makespans = pd.DataFrame({"devices": [1, 2, 4, 8], "list_seconds": [9e4, 5e4, 3e4, 2e4]})
    makespans = makespans.assign(
        optimum_seconds=[9e4, 4.6e4, 2.6e4, 2e4], bound_seconds=[9e4, 4.5e4, 2.3e4, 1.2e4]
    )
    return plan_plots.plan(jobs.assign(measured_seconds=2 * seconds), makespans, "GPUs")


def probes() -> Figure:
    """Odd kernels have twice what padded ones have, each number its interval."""

    def table(by: str, value: str, at: dict[str, list], **same: object) -> pd.DataFrame:
        frame = pd.MultiIndex.from_product([KINDS, range(len(at[by]))]).to_frame(index=False)
        place, twice = frame[1], 1 + (frame[0] == "odd")
        columns = {name: np.array(values, object)[place] for name, values in at.items()}
        middle = 0.1 * twice * (1 + place)
        bounds = {value: middle, f"{value}_low": 0.8 * middle, f"{value}_high": 1.3 * middle}
        return pd.DataFrame({"model": "net", "kernels": frame[0], **columns, **bounds, **same})

    changes = {"kind": ["disturbed", "disturbed", "mean", "black"], "size": [1, 4, 0, 0]}
    changed = table("kind", "ratio", {**changes, "side": [1, 1, 9, 9]}, expected=0.5)
    maps_of = {
        "saliency": ["gradient"] * 3 + ["smooth_strides"],
        "correction": ["none", "tile", "low_pass", "none"],
    }
    tables = {
        "linear": table("by", "correlation", {"by": ["by_gradient", "by_field", "by_signed"]}),
        "places": changed,
        "spectrum": table("period", "share", {"period": [2, 4]}, axis="down", white=0.3),
        "attacks": table("places", "succeeded", {"places": ["anywhere", "strong", "weak"]}),
        "saliency": table("saliency", "contrast", maps_of, contrast_se=0.01),
    }
    return probes_figure.figure(tables)


def saliency() -> Figure:
    """A bright bar; odd kernels' map has a checkerboard, which its neighbours have not."""
    row, col = np.indices((24, 24)).reshape(2, -1)
    bell = np.exp(-((row - 9.0) ** 2 + (col - 14) ** 2) / 40)
    checks = bell * (1 + 0.8 * (-1.0) ** (row + col))
    maps_of = {"none": checks, "tile": bell, "low_pass": bell**0.5, "smooth_strides": bell}
    pixels = pd.DataFrame({"row": row, "col": col, "brightness": (row > 15) * 1.0, **maps_of})
    padded = pixels.assign(none=bell, kernels="padded")
    return picture.pictures(pd.concat([pixels.assign(kernels="odd"), padded]).assign(model="net"))


def convergence_of_two() -> Figure:
    """Two maps whose L1 falls, of which one is no Gaussian."""
    images = np.arange(10, 101, 10)
    rows = pd.DataFrame({"n_images": images, "l1": 0.2 + 1 / images, "l1_se": 0.3 / images})
    for name, value in (("sigma_x", 40.0), ("sigma_y", 42.0)):
        sizes = {name: value * (1 - 1 / images), f"{name}_jackknife_se": value / images}
        rows = rows.assign(**sizes)
    rows = rows.assign(model="a", kernels="odd", target="layer4", r_squared=0.9)
    return convergence.figure(pd.concat([rows, rows.assign(target="output", r_squared=0.3)]))


def survey() -> Figure:
    """Two networks, the lower less uneven, with two kinds of kernels each."""
    names = [(network, kind) for network in ("checked", "striped") for kind in KINDS]
    rows = pd.DataFrame(names, columns=["network", "kernels"])
    table = ranked(rows.assign(contrast=[0.4, 0.1, 0.2, 0.05]).reindex(columns=SURVEY.names))
    row, col = np.indices((8, 8)).reshape(2, -1)
    pixels = pd.DataFrame({"row": row, "col": col, "kernels": "odd"})
    striped, checked = 1 + (-1.0) ** row / 2, 1 + (-1.0) ** (row + col) / 2
    tiles = [
        pixels.assign(network="striped", sensitivity=striped),
        pixels.assign(network="checked", sensitivity=checked),
    ]
    return survey_figure(table, pd.concat(tiles))


DRAWN: list[Callable[[], Figure]] = [
    *(maps, courses, bars, sizes, plan, probes, saliency, convergence_of_two, survey),
    padding.window_references,
]


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_a_figure_is_the_picture_that_it_was(draw: Callable[[], Figure], tmp_path: Path) -> None:
    figure, drawn = draw(), tmp_path / "drawn.png"
    for text in figure.findobj(Text):
        text.set_visible(False)
    with mpl.rc_context(style.STYLE):
        figure.savefig(drawn, dpi=40, metadata={"Software": None})
    expected = PICTURES / f"{draw.__name__}.png"
    assert expected.exists(), f"look at {drawn}, and copy it to {expected}"
    copy = tmp_path / "expected.png"
    copy.write_bytes(expected.read_bytes())  # what differs is written beside it
    assert compare_images(str(copy), str(drawn), TOLERANCE) is None, (
        f"look at {drawn}: if it is right, copy it to {expected}"
    )


def test_pictures_are_small_and_each_is_of_a_figure() -> None:
    assert {file.stem for file in PICTURES.iterdir()} == {draw.__name__ for draw in DRAWN}
    assert max(file.stat().st_size for file in PICTURES.iterdir()) < MOST_BYTES


def test_a_picture_that_is_another_is_seen(tmp_path: Path) -> None:
    """A colour, a line or a place that changes is more than the tolerance."""
    figure = courses()
    for name, colour in (("one", "#d55e00"), ("other", "#aa4499")):
        figure.axes[0].lines[0].set(color=colour, linewidth=1)
        figure.savefig(tmp_path / f"{name}.png", dpi=60)
    one, other = (str(tmp_path / f"{name}.png") for name in ("one", "other"))
    assert compare_images(one, other, TOLERANCE) is not None
