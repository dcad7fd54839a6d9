"""A user's mistakes: one clear message, an exit status that is not 0, nothing lost."""

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from deadpixel.data import packs
from deadpixel.files import parquet, schemas
from deadpixel.results import microobject, shape_test

# What the schema sees is told together.
SCHEMA_MISTAKES = (
    """
sede: 1
seed: one
device: gpu
erf: {bacth_size: 4, batch_size: 1000000000000, images: 1, shards: 2000, definition: luo}
preprocess: {crop: 224.0, resize: [256], interpolation: cubic, std: [0, 1, 1]}
models: {resnet18: {preprocess: {mean: 0.5, crop: [224, 0]}}, a/b: {}}
kernels: {blur-5: {blur4: all}}
finetune: {kernels: [padded], epochs: 12.0, seeds: [9223372036854775808], learning_rate: 1e-3}
training: {momentum: .nan, augmentation: {rotation: .inf, scale: [.nan, 1]}}
microobject: {learning_rate: .inf}
datasets:
  drawn: {source: synthetic, images_per_class: 3}
  mine: {source: folder, pth: .}
  birds: {source: cub200, exclude: [a]}
""",
    [
        "sede: unknown key; did you mean seed?",
        "seed: 'one' is not of type 'integer'",
        "device: 'gpu' is not one of",
        "erf.bacth_size: unknown key; did you mean batch_size?",
        "erf.batch_size: 1000000000000 is greater than the maximum of 65536",
        "erf.definition: 'luo' is not one of ['kim', 'replknet', 'absolute', 'signed']",
        "erf.images: 1 is less than the minimum of 2",
        "erf.shards: 2000 is greater than the maximum of 64",
        "preprocess.crop: 224.0 is not of type 'integer'",
        "preprocess.resize: [256] is too short",
        "preprocess.interpolation: 'cubic' is not one of ['nearest', 'bilinear', 'bicubic'",
        "preprocess.std.0: 0 is less than or equal to the minimum of 0",
        "models.resnet18.preprocess.mean: 0.5 is not of type 'array'",
        "models.resnet18.preprocess.crop.1: 0 is less than the minimum of 1",
        "finetune.epochs: 12.0 is not of type 'integer'",
        "finetune.seeds.0: 9223372036854775808 is greater than the maximum",
        "training.momentum: nan is not of type 'number'",
        "training.augmentation.rotation: inf is not of type 'number'",
        "training.augmentation.scale.0: nan is not of type 'number'",
        "microobject.learning_rate: inf is not of type 'number'",
        "finetune.kernels: ['padded'], but odd has to be among them",
        "finetune.learning_rate: '1e-3' is not of type 'number'; YAML takes it for text, write 0.0",
        "models: 'a/b', but names are of letters, digits, _ . and -, and begin with neither of",
        "kernels: 'blur-5', but names of kinds of kernels are of letters, digits and _",
        "datasets.drawn: 'classes' is a required property",
        "datasets.mine.pth: unknown key; did you mean path?",
        "datasets.birds.exclude: unknown key; known are source, include_background",
    ],
)
CROSS_FIELD_MISTAKES = {
    "names and sizes": (
        {
            "split": {"train": 0.8},
            "targets": ["layer3", "layer4"],
            "erf": {"shards": 11, "blocks": 4, "precision": 0.01, "definition": "signed"},
            "size_test": {"dataset": "cub"},
            "datasets": {
                "birds": {"source": "cub"},
                "objects": {"source": "caltech101"},
                "cub200": {"source": "cub200", "include_background": False},
            },
            "training": {"augmentation": {"crop": 300}},
            "finetune": {"dataset": "cub200", "models": ["vgg16"]},
            "shape_test": {"model": "vgg11"},
            "microobject": {"size": 301},
        },
        [
            "split: the shares add up to 1.1, not 1",
            "targets: lacks output, whose imbalance Fig. 4 shows",
            "erf.shards: more than erf.blocks",
            "erf.precision: the 11 jobs of erf.shards do not know of each other's images",
            "erf.precision: errors need at least 5 blocks; make erf.blocks 5 or more",
            "erf.precision: a signed field has no L1",
            "size_test.dataset: 'cub' is not among datasets",
            "training.augmentation.crop: larger than training.augmentation.resized_crop",
            "finetune.dataset: cub200 has its own split, without images for validation",
            "datasets.birds.source: 'cub' is not one of folder, synthetic, cub200, caltech101",
            "datasets.objects.include_background: missing; is the folder of clutter a class",
            "datasets.cub200.include_background: cub200 has no folder of clutter; remove the key",
            "finetune.models: 'vgg16' is not among models",
            "shape_test.model: 'vgg11'",
            "microobject: microobject.size is larger than a crop of its images",
        ],
    ),
    "transforms": (
        {
            "models": {
                "efficientnet_b3": {"preprocess": {"resize": 299}},
                "efficientnet_v2_s": {},
                "resnet18": {"preprocess": {"crop": [224, 257]}},
                "resnet34": {"preprocess": {"resize": [230, 400], "crop": [224, 400]}},
            },
            "size_test": {"models": ["efficientnet_b3", "efficientnet_v2_s", "resnet18"]},
            "finetune": {"weights": "calibrated", "models": ["efficientnet_v2_s", "resnet50"]},
        },
        [
            "models.efficientnet_b3.preprocess.crop: larger than models.efficientnet_b3.preprocess",
            "models.efficientnet_v2_s.preprocess.crop: missing, as maps of its weights are of "
            "different sizes (calibrated 224x224, imagenet 384x384) and theory is of one; say",
            "models.resnet18.preprocess.crop: larger than models.resnet18.preprocess.resize",
        ],
    ),
    "the size test and own networks": (
        {
            "erf": {"split": "valid"},
            "models": {
                "lost": {"source": "nets/lost.py:build"},
                "half": {"source": "net.py:"},
                "mine": {"source": "net.py:build"},
                "dotted": {"source": "nets.mine.build"},
                "renset18": {},
            },
            "survey": {"networks": ["resnet18", "gone.py:build"]},
            "size_test": {
                "models": ["lost", "half", "mine", "vgg16", "dotted", "renset18"],
                "target": "output",
                "logit": True,
            },
        },
        [
            "erf.split: valid, but",
            "models.lost.source: there is no file nets/lost.py; put",
            "models.half.source: 'net.py:' is neither file.py:factory nor "
            "timm:NAME nor torchvision:NAME; write it like one of these",
            "size_test.models: 'vgg16' is not among models",
            "size_test.target: 'output'",
            "size_test.logit: true, but the head of weights imagenet was not made for cub200",
            "models.dotted.source: 'nets.mine.build' is neither file.py:factory nor",
            "survey.networks: there is no file gone.py; put",
            "size_test.weights: data/registry.yaml has no ImageNet weights of models.mine; use",
            "size_test.weights: data/registry.yaml has no ImageNet weights of models.renset18; did "
            "you mean resnet18?",
        ],
    ),
    "kinds of kernels": (
        {
            "kernels": {"padded": {"pad": "conv1"}, "both": {"pad": "conv1", "redraw": "all"}},
            "finetune": {"kernels": ["odd", "both"]},
            "microobject": {"kernels": ["odd", "even"]},
        },
        [
            "kernels.padded: {'pad': 'conv1'} is not what the paper's are, {'pad': 'all'}; choose",
            "finetune.kernels: 'both' redraws kernels, which with finetune.init: zero",
            "microobject.kernels: 'even' is not among kernels (",
        ],
    ),
    "crops": (
        {
            "kernels": {"mine_9px": {}},
            "preprocess": {"crop": 192},
            "models": {"resnet18": {"preprocess": {"crop": 160}}},
            "size_test": {"crops": [225, 288]},
            "finetune": {"crops": [224, 225], "models": ["resnet50", "resnext101_32x8d"]},
            "microobject": {"crops": [224, 5]},
        },
        [
            "kernels.mine_9px: reads as kernels at another crop; choose another name",
            "size_test.crops: lacks 192 (preprocess.crop), which the others are compared with",
            "size_test.crops: 288 is larger than what preprocess scales images to, 256 px",
            "size_test.crops: models.resnet18 has a crop of its own, 160; leave it out",
            "finetune.crops: preprocess.crop and training.augmentation.crop differ (192, 224)",
            "microobject: microobject.size is larger than a crop of its images",
        ],
    ),
    "crops of no squares": (
        {"preprocess": {"crop": [192, 224]}, "size_test": {"crops": [224, 225]}},
        ["size_test.crops: of squares, and preprocess.crop is [192, 224]; write one side there"],
    ),
    "squares of colours that there are not": (
        {
            "models": {
                "grey": {"source": "timm:resnet18", "preprocess": {"mean": [0], "std": [1]}}
            },
            "microobject": {"models": ["grey"]},
            "causes": {"microobject": [{"models": ["grey"], "kernels": ["odd"], "seeds": [0]}]},
        },
        [
            f"{name}.models: the squares are black and red, and models.grey.preprocess.mean is not "
            "of red, green and blue; leave grey out, or ask for other experiments"
            for name in ("microobject", "causes.microobject")
        ],
    ),
    "causes": (
        {
            "causes": {
                "microobject": [
                    {"models": ["lost"], "kernels": ["odd", "wide"], "seeds": [0]},
                    {"models": ["resnet18"], "kernels": ["odd"], "crops": [300], "seeds": [0]},
                ],
                "finetune": [{"models": ["resnet18"], "kernels": ["redrawn"], "seeds": [0]}],
                "contrasts": {"edge": [["odd", "wide_225px"]]},
            },
        },
        [
            "causes.microobject.models: 'lost' is not among models",
            "causes.microobject.kernels: 'wide' is not among kernels (",
            "causes.microobject.crops: 300 is larger than what training.augmentation scales",
            "causes.finetune.kernels: 'redrawn' redraws kernels, which with causes.finetune.init",
            "causes.contrasts.edge: 'wide_225px' is not among kernels (",
        ],
    ),
    "probes": (
        {
            "probes": {
                "dataset": "cub200",
                "models": ["resnet50", "resnet18"],
                "kernels": ["odd", "stem"],
                "shift": 17,
            },
            "finetune": {"models": ["resnet50"], "repeated": {"models": []}},
            "shape_test": {"model": "resnet50"},
        },
        [
            "probes.dataset: cub200, but finetune.dataset is caltech101; make them one",
            "probes.models: 'resnet18' is not in finetune.models",
            "probes.kernels: 'stem' is not in finetune.kernels",
            "probes.shift: 17, but images of models.resnet50 have room for 16 px each way",
        ],
    ),
    "probes of weights that nobody fine-tuned": (
        {"probes": {"models": ["resnet50"], "weights": "imagenet", "kernels": ["odd", "padded"]}},
        ["probes.kernels: imagenet weights are of odd kernels; leave the others out"],
    ),
    "probes of images that there are not": (
        {
            "probes": {
                "models": ["resnet50"],
                "dataset": "cub200",
                "weights": "imagenet",
                "kernels": ["odd"],
                "split": "valid",
            }
        },
        ["probes.split: valid, but cub200 has its own split, without images for validation"],
    ),
}


def test_every_mistake_that_the_schema_sees_is_a_line(checkout):
    overlay, messages = SCHEMA_MISTAKES
    status, output = checkout.snakemake("-n", overlay=yaml.safe_load(overlay))
    assert_one_message(status, output, *(f"  {message}" for message in messages))


@pytest.mark.parametrize(
    ("overlay", "messages"), CROSS_FIELD_MISTAKES.values(), ids=CROSS_FIELD_MISTAKES
)
def test_a_mistake_across_fields_stops_before_any_job(checkout, overlay, messages):
    status, output = checkout.snakemake("-n", overlay=overlay)
    assert_one_message(status, output, *(f"  {message}" for message in messages))


# Taken by YAML or by Python, and meant otherwise; lines of an overlay, and what is said about them.
TEXTS = {
    "double keys": ("seed: 1\nseed: 2\n", ["mine.yaml, line 2: the key 'seed' is there twice"]),
    "octal": ("seed: 010\n", ["mine.yaml, line 1: 010 is 8 to YAML"]),
    "no folders": (
        "pathvars: {results: '', logs: ., benchmarks: '~/r', resources: r/}\n",
        [
            "pathvars.results: '': name a folder",
            "pathvars.logs: '.': name a folder",
            "pathvars.benchmarks: '~/r': is not taken for the home",
            "pathvars.resources: 'r/': name a folder",
        ],
    ),
    "other folders": (
        "pathvars: {results: 'r{', logs: Makefile, benchmarks: b, resources: b}\n",
        [
            "pathvars.results: 'r{': braces",
            "pathvars.logs: 'Makefile': this is a file",
            "pathvars.benchmarks and pathvars.resources are",
        ],
    ),
}


@pytest.mark.parametrize(("text", "messages"), TEXTS.values(), ids=TEXTS)
def test_what_would_be_taken_for_something_else(checkout, text, messages):
    (checkout.folder / "mine.yaml").write_text(text)
    status, output = checkout.snakemake("-n", "--configfile", "mine.yaml")
    assert_one_message(status, output, "Fix the configuration and run again", *messages)


def test_a_file_in_the_place_of_snakemakes_folder(checkout):
    (checkout.folder / ".snakemake").write_text("x")
    status, output = checkout.snakemake("-n")
    assert_one_message(status, output, ".snakemake is a file; move it away")


def test_from_another_folder(checkout, tmp_path):
    """The Snakefile finds what lies beside it; results go to where the user is."""
    command = ("snakemake", "size_test", "-n", "--directory", str(tmp_path / "elsewhere"))
    status, output = checkout.run(*command)
    assert status == 0, output
    assert "results/tables/table1.parquet" in output


def write_images(folder, classes=2, each=8):
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(each):
            pixels = np.random.default_rng([label, number]).integers(0, 255, (70, 90, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class{label}/{number}.jpg")


def own_data(weights="calibrated", model="resnet18", **model_keys):
    """An overlay: one network on the images in my_images, everything small."""
    return {
        "device": "cpu",
        "datasets": {"mine": {"source": "folder", "path": "my_images"}},
        "split": {"train": 0.5, "valid": 0.25, "test": 0.25},
        "preprocess": {"resize": 70, "crop": 64},
        "calibration": {"images": 4, "batch_size": 2},
        "erf": {"blocks": 2, "batch_size": 2},
        "models": {model: model_keys},
        "size_test": {"dataset": "mine", "weights": weights, "models": [model]},
        "training": {"augmentation": {"method": "torchvision", "resized_crop": 70, "crop": 64}},
        "finetune": {
            "dataset": "mine",
            "weights": weights,
            "models": [model],
            "repeated": {"models": [], "seeds": [0]},
            "epochs": 2,
            "batch_size": 8,
        },
        "shape_test": {"model": model},
        "microobject": {
            "dataset": "mine",
            "models": [model],
            "seeds": [0],
            "epochs": 2,
            "batch_size": 8,
        },
    }


def assert_one_message(status, output, *parts):
    assert status != 0
    for part in parts:
        assert part in output, output
    assert "Traceback" not in output


PACK = "results/data/dataset=mine/images.arrow"
MANIFEST = "results/data/dataset=mine/manifest.parquet"
TRF = "results/trf/model={}/kernels=odd/trf.parquet"


def test_missing_files_stop_before_any_job(checkout):
    overlay = own_data("file", checkpoint="lost.pt")
    overlay["models"]["resnet34"] = {}
    overlay["size_test"]["models"] = [*overlay["models"]]
    status, output = checkout.snakemake("-n", overlay=overlay)
    assert_one_message(
        status,
        output,
        "datasets.mine.path: there is no folder my_images",
        "models.resnet18.checkpoint: there is no file lost.pt; put",
        "models.resnet34.checkpoint: missing",
    )


def test_a_class_that_is_too_small(checkout):
    write_images(checkout.folder / "my_images", classes=2, each=2)
    status, output = checkout.snakemake(MANIFEST, "--cores", "1", overlay=own_data())
    assert_one_message(status, output, "class class0 has 2 images, split into", "add images")


def test_a_truncated_jpeg_and_a_gpu_that_is_not_there(checkout):
    folder = checkout.folder / "my_images"
    write_images(folder)
    broken = folder / "class1/3.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    status, output = checkout.snakemake(PACK, "--cores", "1", overlay=own_data())
    assert_one_message(status, output, "class1/3.jpg cannot be decoded", "replace or remove it")
    assert not (checkout.folder / PACK).exists()
    broken.write_bytes(whole)
    status, output = checkout.snakemake(PACK, "--cores", "1", overlay=own_data())
    assert status == 0, output
    assert len(packs.Pack(checkout.folder / PACK)) == 16

    if not torch.cuda.is_available():
        overlay = {**own_data(), "device": "cuda"}
        status, output = checkout.snakemake(
            "--until", "calibrate_weights", "--cores", "2", overlay=overlay
        )
        assert_one_message(status, output, "PyTorch sees no GPU")


def test_networks_that_cannot_be_what_is_asked(checkout):
    """Found by what runs first and takes seconds, before anything long."""
    (checkout.folder / "my_images").mkdir()
    vit = {"targets": {"layer3": "encoder.layers", "layer4": "encoder"}}
    networks = {"resnet19": {}, "resnet18": {"targets": {"layer3": "layer3.1.cnov2"}}}
    overlay = own_data(model="vit_b_16") | {"models": {**networks, "vit_b_16": vit}}
    overlay["size_test"]["models"] = [*overlay["models"]]
    asked = [TRF.format(model) for model in overlay["models"]]
    asked += ["results/flops/model=vit_b_16/flops.json", "--keep-going", "--cores", "2"]
    status, output = checkout.snakemake(*asked, overlay=overlay)
    parts = ["unknown model 'resnet19'", "did you mean resnet18"]
    parts += ["models.resnet18", "unknown target 'layer3.1.cnov2'", "did you mean layer3.1.conv2"]
    assert_one_message(status, output, *parts)
    refused = "models.vit_b_16 with preprocess.crop"
    for rule in ("compute_trf", "count_flops"):
        (log,) = (checkout.folder / "logs" / rule).glob("vit_b_16*.log")
        for part in (refused, "Expected 224 but got 64", "choose a size"):
            assert part in log.read_text()


def test_checkpoint_of_another_architecture(checkout):
    (checkout.folder / "my_images").mkdir()
    other = torchvision.models.resnet34(weights=None).state_dict()
    torch.save(other, checkout.folder / "other.pt")
    overlay = own_data("file", checkpoint="other.pt")
    target = "results/checkpoints/model=resnet18/weights=file/kernels=odd/checkpoint.safetensors"
    status, output = checkout.snakemake(target, "--cores", "1", overlay=overlay)
    assert_one_message(status, output, "other.pt belongs to another architecture", "layer1.2")


OWN_NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True))
        self.deep = nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, image):
        features = self.deep(self.stem(image))
        return self.head(torch.linalg.svdvals(features).mean(2))

def build():
    return Net()
"""


def test_own_network_own_weights_own_images(checkout, monkeypatch):
    """All but figures, the true class's logit included; what cannot be known is left out.

    Two names stand for GPUs: jobs that ask for one lease one of them, and compute on the CPU.
    """
    monkeypatch.setenv("DEADPIXEL_DEVICES", "a,b")
    write_images(checkout.folder / "my_images", classes=2, each=16)
    (checkout.folder / "net.py").write_text(OWN_NETWORK)
    namespace: dict = {}
    exec(OWN_NETWORK, namespace)
    torch.manual_seed(3)
    torch.save(namespace["build"]().state_dict(), checkout.folder / "net.pt")
    overlay = own_data(
        "file",
        "mine",
        source="net.py:build",
        checkpoint="net.pt",
        targets={"layer3": "stem", "layer4": "deep"},
    )
    overlay["size_test"]["logit"] = True
    overlay["device"] = "auto"
    names = ("table1", "table3", "table4", "receptive_fields")
    wanted = [f"results/tables/{name}.parquet" for name in names]
    resources = ("--cores", "4", "--resources", "gpu=2")
    status, output = checkout.snakemake(*wanted, *resources, overlay=overlay)
    assert status == 0, output
    logged = [f.read_text() for f in checkout.folder.glob("logs/train_microobject/*.log")]
    assert [("leased a;" in log) + ("leased b;" in log) for log in logged] == [1] * 2
    trf = parquet.read(checkout.folder / "results/trf.parquet", schemas.TRF)
    trf = trf.set_index(["kernels", "target"])
    unknown = trf.loc[[("odd", "output"), ("padded", "output")]]
    assert [*unknown["kind"]] == ["unknown"] * 2 and "svd" in unknown["reason"].iloc[0]
    trf = trf["size_h"]
    assert trf.loc["odd"].loc[["layer3", "layer4"]].tolist() == [3, 7]
    assert trf.loc["padded"].loc[["layer3", "layer4"]].tolist() == [4, 10]
    assert trf.loc[[("odd", "output"), ("padded", "output")]].isna().all()
    log = (checkout.folder / "logs/compute_trf/mine+odd.log").read_text()
    assert "svd" in log
    tables_of = checkout.folder / "results/tables"
    assert len(parquet.read(tables_of / "table3.parquet", shape_test.TABLE3.schema)) == 1
    assert len(parquet.read(tables_of / "table4.parquet", microobject.TABLE4.schema)) == 1
    run = "dataset=mine/model=mine/weights=file/kernels=padded/seed=0/epochs.parquet"
    facts = parquet.read_provenance(checkout.folder / "results/finetune/epochs" / run)
    assert facts["added_weights_norm"] > 0
    path = "results/erf/dataset=mine/model=mine/weights=file/kernels=odd/target=output/erf.parquet"
    facts = parquet.read_provenance(checkout.folder / path)
    assert facts["logit"] == "true" and facts["n_images"] == 8
    finetuned = path.replace("weights=file", "weights=finetuned")
    assert parquet.read_provenance(checkout.folder / finetuned)["logit"] == "true"
    assert "–" in (checkout.folder / "results/tables/receptive_fields.md").read_text()
