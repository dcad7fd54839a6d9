"""The arithmetic of windows, and that Fig. 3 shows the very weights that training starts from."""

import copy
import runpy
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional

from deadpixel import training
from deadpixel.errors import InputError
from deadpixel.networks import checkpoints, zoo
from deadpixel.results import padding, style

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/plot_padded_kernel.py"


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_references_are_those_of_a_convolution(kernel: int, stride: int) -> None:
    """The gradient of a sum of windows of ones, away from its borders."""
    line = torch.zeros(1, 1, 120, requires_grad=True)
    functional.conv1d(line, torch.ones(1, 1, kernel), stride=stride).sum().backward()
    inner = line.grad[0, 0, 30:90].int().tolist()
    found = padding.references(kernel, stride, 60).tolist()
    period = stride
    assert sorted(found[:period]) == sorted(inner[:period])
    assert found == found[:period] * (60 // period)
    assert inner == inner[:period] * (60 // period)


def test_even_kernels_reference_every_pixel_equally() -> None:
    for kernel in (2, 4, 8):
        assert set(padding.references(kernel, 2, 16)) == {kernel // 2}
    for kernel in (1, 3, 7):
        assert set(padding.references(kernel, 2, 16)) == {kernel // 2, kernel // 2 + 1}


def _titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_fig2_counts() -> None:
    figure = padding.window_references()
    titles = _titles(figure)
    assert "3 × 3, stride 2: 1 to 4 windows" in titles
    assert "4 × 4, stride 2: each in 4" in titles
    assert "1 × 1, stride 2: 0 to 1 windows" in titles
    assert "8 × 8, stride 2: each in 16" in titles
    assert {axes.images[0].get_clim() for axes in figure.axes if axes.images} == {(0, 1)}


def test_fig2_writes_the_count_of_each_pixel_on_its_colour() -> None:
    panels = [axes for axes in padding.window_references().axes if axes.images]
    for panel, most in zip(panels, (1, 4, 16) * 2, strict=True):
        drawn = panel.images[0].get_array()
        written = {text.get_position(): int(text.get_text()) for text in panel.texts}
        assert written == {(x, y): round(most * drawn[y, x]) for y, x in np.ndindex(drawn.shape)}
    assert [text.get_text() for text in panels[1].texts[:9]] == [*"42424242", "2"]


def test_fig3_shows_each_kernel_on_one_scale() -> None:
    old = np.arange(9.0).reshape(3, 3)
    new = np.pad(old, ((0, 1), (0, 1)))
    figure = padding.padded_kernel(
        {"before": old, "zero-padded": new, "fine-tuned": new - 1}, (3, 3), "mine, conv1"
    )
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert _titles(figure) == ["before, 3 × 3", "zero-padded, 4 × 4", "fine-tuned, 4 × 4"]
    assert np.array_equal(images[2].get_array(), new - 1)
    assert {image.get_clim() for image in images} == {(-8.0, 8.0)}


def test_fig3_frames_the_old_kernel_on_a_scale_about_zero() -> None:
    old = -np.arange(6.0).reshape(2, 3)
    figure = padding.padded_kernel({"before": old, "after": np.ones((3, 4))}, (2, 3), "mine")
    panels = [axes for axes in figure.axes if axes.images]
    for panel in panels:
        (frame,) = panel.patches
        assert (*frame.get_xy(), frame.get_width(), frame.get_height()) == (-0.5, -0.5, 3, 2)
        assert panel.images[0].get_clim() == (-5, 5)


def stem() -> nn.Module:
    layers = {"conv1": nn.Conv2d(3, 8, 7, 2, 3), "pool": nn.AdaptiveAvgPool2d(1)}
    return nn.Sequential(OrderedDict(layers | {"flat": nn.Flatten(), "fc": nn.Linear(8, 4)}))


def pooled() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 11, 4), nn.MaxPool2d(3, 2))


def _run(folder: Path, files: dict[str, str], model: str, init: str) -> None:
    snakemake = SimpleNamespace(
        input=SimpleNamespace(**files),
        output=[],
        log=[str(folder / "log")],
        params=SimpleNamespace(model=model, name="mine", init=init, seed=7),
    )
    runpy.run_path(str(SCRIPT), {"snakemake": snakemake})


@pytest.mark.parametrize(
    ("init", "title"), [("zero", "zero-padded, 8 × 8"), ("random", "redrawn at random, 8 × 8")]
)
def test_the_middle_panel_is_what_training_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str, title: str
) -> None:
    before = zoo.build(f"{__file__}:stem", seed=3)
    start = training.starting_network(copy.deepcopy(before), 5, "padded", init=init, seed=7)
    tuned = copy.deepcopy(start)
    tuned.conv1.weight.data += 1
    for name, network in {"before": before, "after": tuned}.items():
        checkpoints.save(network, tmp_path / f"{name}.safetensors", {})
    drawn: list[Figure] = []
    monkeypatch.setattr(style, "save", lambda figure, _: drawn.append(figure))
    files = {name: str(tmp_path / f"{name}.safetensors") for name in ("before", "after")}
    _run(tmp_path, files, model=f"{__file__}:stem", init=init)

    panels = [axes for axes in drawn[0].axes if axes.get_title()]
    assert [panel.get_title() for panel in panels] == ["before, 7 × 7", title, "fine-tuned, 8 × 8"]
    old = before.conv1.weight.detach().flatten(0, 1)
    strongest = int(old.flatten(1).norm(dim=1).argmax())
    for panel, network in zip(panels, (before, start, tuned), strict=True):
        weight = network.conv1.weight.detach().flatten(0, 1)[strongest].numpy()
        assert np.array_equal(panel.images[0].get_array(), weight)
    assert drawn[0].get_suptitle().startswith(f"mine, conv1: filter {strongest // 3};")


def test_a_network_of_which_only_pools_change_has_no_kernel_to_show(tmp_path: Path) -> None:
    before = zoo.build(f"{__file__}:pooled")
    checkpoints.save(before, tmp_path / "before.safetensors", {})
    files = {"before": str(tmp_path / "before.safetensors"), "after": ""}
    with pytest.raises(InputError, match=r"shape_test.model: of mine only pools change"):
        _run(tmp_path, files, model=f"{__file__}:pooled", init="zero")
