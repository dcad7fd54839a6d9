"""Captions of the report say what the configuration says, and the truth about it."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
import torchvision
import yaml
from docutils.core import publish_parts
from snakemake.utils import update_config
from torch import nn

from deadpixel import kernels

ROOT = Path(__file__).resolve().parents[2]
CAPTIONS = sorted(file.stem for file in (ROOT / "report").glob("*.rst"))


def _config(*overlays: dict[str, Any] | str) -> dict[str, Any]:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for overlay in overlays:
        if isinstance(overlay, str):
            overlay = yaml.safe_load((ROOT / overlay).read_text())
        update_config(config, copy.deepcopy(overlay))
    return config


def _rendered(name: str, config: dict[str, Any], experiment: str = "size_test") -> str:
    """As Snakemake renders it, but that a name which nothing has is an error."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    wildcards = SimpleNamespace(model="resnet18", experiment=experiment)
    snakemake = SimpleNamespace(config=config, wildcards=wildcards)
    text = (ROOT / f"report/{name}.rst").read_text()
    return " ".join(environment.from_string(text).render(snakemake=snakemake).split())


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTIONS)
@pytest.mark.parametrize("overlays", [(), ("config.demo.yaml",)], ids=["paper", "demo"])
def test_every_caption_can_be_rendered(name: str, overlays: tuple) -> None:
    for experiment in ("size_test", "shape_test"):
        text = _rendered(name, _config(*overlays), experiment)
        assert "{" not in text and "None" not in text
        errors = {"report_level": 2, "halt_level": 2}
        assert publish_parts(text, writer="html", settings_overrides=errors)["body"]


def test_every_caption_is_used_and_there() -> None:
    rules = "".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    rules += (ROOT / "Snakefile").read_text()
    assert {*re.findall(r"report/(\w+)\.rst", rules)} == {*CAPTIONS}


def test_a_definition_that_is_not_the_papers_is_named() -> None:
    for name in ("table1", "erf_maps", "receptive_fields"):
        usual = _rendered(name, _config())
        other = _rendered(name, _config({"erf": {"definition": "absolute"}}))
        assert "absolute" in other and "not the paper's" in other
        assert "not the paper's" not in usual and "ReLU(G)" not in other
    assert "of ReLU(G), G the gradient" in _rendered("table1", _config())


def test_maps_name_their_own_weights_and_data() -> None:
    config = _config(
        {"datasets": {"birds": {"source": "folder"}, "things": {"source": "folder"}}},
        {"size_test": {"dataset": "birds", "weights": "file"}},
        {"finetune": {"dataset": "things", "weights": "calibrated", "seeds": [7]}},
    )
    size = _rendered("erf_maps", config, "size_test")
    shape = _rendered("erf_maps", config, "shape_test")
    assert "Size test: file weights, odd kernels, test split of birds." in size
    assert "things" not in size and "fine-tuned" not in size
    assert "fine-tuned on things from calibrated weights" in shape and "seed 7" in shape
    assert "test split of things" in shape and "birds" not in shape


@pytest.mark.parametrize(
    ("name", "experiment"),
    [("table3", "finetune"), ("finetune_runs", "finetune"), ("fig3", "finetune")]
    + [(name, "microobject") for name in ("table4", "fig5", "first_epochs")],
)
def test_kernels_that_are_redrawn_are_not_called_zeros(name: str, experiment: str) -> None:
    zero, drawn = (
        _rendered(name, _config({experiment: {"init": init}})) for init in ("zero", "random")
    )
    assert "zeros added" in zero and "redrawn at random" not in zero
    assert "redrawn at random from" in drawn and "zeros added" not in drawn
    assert "alone" not in zero + drawn


@pytest.mark.parametrize(("name", "ratio"), [("resnet101", 6.0), ("resnet18", 3.0)])
def test_redrawn_kernels_are_as_much_smaller_as_the_captions_say(name: str, ratio: float) -> None:
    """Squared norm of the 3 x 3 kernels with stride 2, odd over padded."""
    network = torchvision.models.get_model(name)
    padded, changed = kernels.pad(network, "random", seed=0)
    strided = [
        module
        for module in changed
        if isinstance(network.get_submodule(module), nn.Conv2d)
        and network.get_submodule(module).kernel_size == (3, 3)
    ]
    odd, even = (
        sum(model.get_submodule(module).weight.square().sum().item() for module in strided)
        for model in (network, padded)
    )
    assert odd / even == pytest.approx(ratio, rel=0.01)
    assert f"{ratio} times" in (ROOT / "report/table4.rst").read_text()
