"""Networks of which kernels can change in part, or not at all, in one workflow."""

import yaml

from deadpixel.files import parquet, schemas
from small import OVERLAY, small_checkout

NETWORKS = """
from torch import nn

class Averages(nn.Conv2d):
    def forward(self, image):
        return super().forward(image) / self.weight.numel()

def network(first, second):
    layers = [first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 2))

def in_part():
    return network(Averages(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1))

def even():
    return network(nn.Conv2d(3, 8, 4, 2, 1), nn.Conv2d(8, 8, 2, 2))
"""
MODELS = {
    name: {"source": f"net.py:{name}", "targets": {"layer3": "0", "layer4": "3"}}
    for name in ("in_part", "even")
}


def test_what_cannot_change_stops_its_own_arm_alone_and_what_changes_in_part_is_counted(tmp_path):
    checkout = small_checkout(tmp_path / "checkout", NETWORKS)
    overlay = {
        **OVERLAY,
        "models": MODELS,
        "size_test": {**OVERLAY["size_test"], "models": ["in_part"]},
        "finetune": {**OVERLAY["finetune"], "models": ["in_part"]},
        "shape_test": {"model": "in_part"},
        "microobject": {**OVERLAY["microobject"], "models": [*MODELS], "epochs": 2},
    }
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(overlay))
    run = "results/microobject/epochs/dataset=drawn/model=even/kernels={}/seed=0/epochs.parquet"
    trf = "results/trf/model={}/kernels={}/trf.parquet"
    wanted = [trf.format(model, kernels) for model in MODELS for kernels in ("odd", "padded")]
    wanted += [run.format("odd"), run.format("padded")]
    options = ("--keep-going", "--cores", "2", "--configfile", "mine.yaml")
    status, output = checkout.snakemake(*wanted, *options)
    assert status != 0
    assert "Sequential has no kernel with stride 2 that can be changed" in output
    assert "take 'padded' out of the experiment's kernels (finetune.kernels, micro" in output
    lost = [path for path in wanted if not (checkout.folder / path).exists()]
    assert lost == [trf.format("even", "padded"), run.format("padded")]
    for kernels, counts in (("odd", [0, 2]), ("padded", [1, 1])):
        found = parquet.read(checkout.folder / trf.format("in_part", kernels), schemas.TRF)
        assert found[["changed", "left_odd"]].to_numpy().tolist() == [counts] * 3
    log = (checkout.folder / "logs/compute_trf/in_part+padded.log").read_text()
    assert "0 (Averages) stays as it is: with a kernel of 4 x 4 it would compute" in log
