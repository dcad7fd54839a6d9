"""`targets: auto` through the workflow: networks need not have a map of every stride."""

import yaml

from deadpixel.files import maps, parquet, schemas
from deadpixel.results import fields
from small import OVERLAY, small_checkout

NETWORKS = """
from torch import nn

class Stage(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.halve = nn.Conv2d(channels, 6, stride + 1, stride, stride // 2)
        self.keep = nn.Conv2d(6, 6, 3, 1, 1)

    def forward(self, image):
        return self.keep(self.halve(image).relu())

def network(*strides):
    stages = [Stage(6 if number else 3, stride) for number, stride in enumerate(strides)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))

def deep():
    return network(4, 2, 2)

def shallow():
    return network(4, 2)
"""


def test_targets_are_found_and_named_and_left_out_where_a_network_has_none(tmp_path):
    checkout = small_checkout(tmp_path / "checkout", NETWORKS)
    overlay = {
        **OVERLAY,
        "targets": "auto",
        "models": {name: {"source": f"net.py:{name}"} for name in ("deep", "shallow")},
        "size_test": {**OVERLAY["size_test"], "models": ["deep", "shallow"], "target": "stride16"},
        "finetune": {**OVERLAY["finetune"], "models": ["deep"], "epochs": 2},
        "shape_test": {"model": "deep"},
        "microobject": {**OVERLAY["microobject"], "models": ["deep"]},
    }
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(overlay))
    wanted = "results/tables/table1.md"
    status, output = checkout.snakemake(wanted, "--cores", "2", "--configfile", "mine.yaml")
    assert status == 0, output
    assert "Without stride16, and so not here: shallow." in (checkout.folder / wanted).read_text()
    networks = (checkout.folder / f"results/trf/model={name}" for name in ("deep", "shallow"))
    trf = parquet.read_all([each / "kernels=odd/trf.parquet" for each in networks], schemas.TRF)
    table = fields.targets(trf).set_index(["model", "target"])
    assert table.loc["deep"]["reading"].to_dict() == {
        "stride4": "{module: 0, layout: nchw}",
        "stride8": "{module: 1, layout: nchw}",
        "stride16": "{module: 2, layout: nchw}",
        "output": "{module: output, layout: logits}",
    }
    assert [*table.loc["shallow"].index] == ["stride4", "stride8", "output"]
    network = "results/erf/dataset=drawn/model=shallow/weights=calibrated/kernels=odd"
    paths = [checkout.folder / network / f"target=stride{s}/erf.parquet" for s in (4, 8, 16, 32)]
    assert [field.key["target"] for field in maps.read_each(paths)] == ["stride4", "stride8"]
