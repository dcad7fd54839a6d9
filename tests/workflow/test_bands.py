"""Networks of grey images and of images of twelve bands, from files to a fine-tuned map."""

import copy

import numpy as np
import pytest

from deadpixel.files import maps, parquet, schemas
from small import NETWORK, OVERLAY, small_checkout

ERF = "results/erf/dataset=drawn/model=mine/weights={}/kernels=odd/target=layer4/erf.parquet"


@pytest.mark.parametrize(("bands", "kinds"), [(1, ["calibrated"]), (12, ["finetuned"])])
def test_a_network_of_other_bands_is_measured_and_fine_tuned(tmp_path, bands, kinds):
    network = NETWORK.replace("nn.Conv2d(3, 8", f"nn.Conv2d({bands}, 8")
    checkout = small_checkout(tmp_path / "checkout", network)
    overlay = copy.deepcopy(OVERLAY)
    overlay["models"]["mine"]["preprocess"] = {"mean": [0.5] * bands, "std": [0.25] * bands}
    overlay["models"]["other"] = {"source": "net.py:build"}
    overlay["microobject"]["models"] = ["other"]
    overlay["finetune"]["epochs"] = 1
    if bands != 1:
        overlay["datasets"]["drawn"] = {"source": "folder", "path": "bands"}
        rng = np.random.default_rng(0)
        for name in ("a", "b"):
            (checkout.folder / "bands" / name).mkdir(parents=True)
            for number in range(16):
                pixels = rng.integers(0, 256, (75, 90, bands), dtype=np.uint8)
                np.save(checkout.folder / "bands" / name / f"{number}.npy", pixels)
    wanted = [ERF.format(weights) for weights in kinds]
    status, output = checkout.snakemake(*wanted, "--cores", "2", overlay=overlay)
    assert status == 0, output
    for path in wanted:
        assert maps.read(checkout.folder / path).mean.max() > 0
        assert len(parquet.read_provenance(checkout.folder / path)["preprocess"]["mean"]) == bands
    for path in checkout.folder.glob("results/finetune/epochs/**/epochs.parquet"):
        assert len(parquet.read(path, schemas.EPOCHS)) == 1


def test_what_cannot_be_is_said_before_any_job(tmp_path):
    checkout = small_checkout(tmp_path / "checkout")
    overlay = copy.deepcopy(OVERLAY)
    overlay["models"]["mine"]["preprocess"] = {"mean": [0.5], "std": [0.25, 0.25]}
    status, output = checkout.snakemake("-n", overlay=overlay)
    assert status != 0
    assert "models.mine.preprocess.std: not as many numbers as models.mine.prep" in output
    assert "microobject.models: the squares are black and red, and models.mine.prep" in output
