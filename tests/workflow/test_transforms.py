"""A network's own evaluation transform: what the network is fed, and what files say of it."""

import copy
import json

from deadpixel.files import parquet, schemas
from small import OVERLAY, small_checkout

OWN = {
    "resize": [40, 60],
    "crop": [32, 48],
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.4, 0.3],
}
NETWORK = "dataset=drawn/model=mine/weights=calibrated/kernels=odd"


def test_maps_are_of_the_size_of_the_networks_own_transform(tmp_path):
    checkout = small_checkout(tmp_path / "checkout")
    erf = f"results/erf/{NETWORK}/target=layer4/erf.parquet"
    overlay = copy.deepcopy(OVERLAY)
    overlay["models"]["mine"]["preprocess"] = OWN
    overlay["finetune"]["epochs"] = 1
    run = "dataset=drawn/model=mine/weights=calibrated/kernels=odd/seed=0/epochs.parquet"
    tuned = f"results/finetune/epochs/{run}"
    asked = (erf, tuned, "--cores", "1")
    status, output = checkout.snakemake(*asked, overlay=overlay)
    assert status == 0, output
    field = parquet.read(checkout.folder / erf, schemas.ERF)
    assert (field["row"].max() + 1, field["col"].max() + 1) == (32, 48)
    facts = parquet.read_provenance(checkout.folder / erf)
    assert facts["preprocess"] == OWN
    assert facts["input_size"] == [32, 48]
    flops = json.loads((checkout.folder / "results/flops/model=mine/flops.json").read_text())
    assert sorted({tuple(row["size"]) for row in flops}) == [(32, 48), (64, 64)]
    trf = checkout.folder / "results/trf/model=mine/kernels=odd/trf.parquet"
    assert parquet.read_provenance(trf)["input_size"] == [32, 48]
    epochs = checkout.folder / tuned
    assert parquet.read_provenance(epochs)["normalisation"]["std"] == OWN["std"]
