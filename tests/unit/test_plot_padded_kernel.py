"""Fig. 3 shows the very weights that training with even kernels starts from."""

import copy
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from deadpixel import training
from deadpixel.errors import InputError
from deadpixel.networks import checkpoints, zoo
from deadpixel.results import plots

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/plot_padded_kernel.py"


def _run(folder: Path, files: dict[str, str], model: str, init: str) -> None:
    snakemake = SimpleNamespace(
        input=SimpleNamespace(**files),
        output=[],
        log=[str(folder / "log")],
        params=SimpleNamespace(model=model, name="mine", init=init, seed=7),
    )
    runpy.run_path(str(SCRIPT), {"snakemake": snakemake})


@pytest.mark.parametrize(
    ("init", "title"), [("zero", "zero-padded, 8 x 8"), ("random", "redrawn at random, 8 x 8")]
)
def test_the_middle_panel_is_what_training_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str, title: str
) -> None:
    before = zoo.build("resnet18", seed=3)
    start = training.starting_network(copy.deepcopy(before), 5, "padded", init=init, seed=7)
    tuned = copy.deepcopy(start)
    tuned.conv1.weight.data += 1
    for name, network in {"before": before, "after": tuned}.items():
        checkpoints.save(network, tmp_path / f"{name}.safetensors", {})
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, _: drawn.append(figure))
    files = {name: str(tmp_path / f"{name}.safetensors") for name in ("before", "after")}
    _run(tmp_path, files, model="resnet18", init=init)

    panels = [axes for axes in drawn[0].axes if axes.get_title()]
    assert [panel.get_title() for panel in panels] == ["before, 7 x 7", title, "fine-tuned, 8 x 8"]
    old = before.conv1.weight.detach().flatten(0, 1)
    strongest = int(old.flatten(1).norm(dim=1).argmax())
    for panel, network in zip(panels, (before, start, tuned), strict=True):
        weight = network.conv1.weight.detach().flatten(0, 1)[strongest].numpy()
        assert np.array_equal(panel.images[0].get_array(), weight)
    assert drawn[0].get_suptitle() == f"mine, conv1: filter {strongest // 3}"


def test_a_network_of_which_only_pools_change_has_no_kernel_to_show(tmp_path: Path) -> None:
    before = zoo.build("alexnet")
    checkpoints.save(before, tmp_path / "before.safetensors", {})
    files = {"before": str(tmp_path / "before.safetensors"), "after": ""}
    with pytest.raises(InputError, match=r"shape_test.model: of mine only pools change"):
        _run(tmp_path, files, model="alexnet", init="zero")
