"""Retrieval as a user meets it: the real rules against a server with a real network's faults."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml

from deadpixel.data import packs
from deadpixel.files import parquet, schemas
from deadpixel.networks import checkpoints
from deadpixel.results import size_test
from publisher import Publisher, caltech_archive, cub_archive, cub_files, entry, tar, weight_file
from waiting import until

CUB, CALTECH = "CUB_200_2011.tgz", "caltech-101.zip"
TERMS = {"licence": "none", "citation": "none"}
DATASET = "results/data/dataset={}/manifest.parquet"


@pytest.fixture
def publisher(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / CUB).write_bytes(cub_archive())
    (folder / CALTECH).write_bytes(caltech_archive())
    return Publisher(folder)


def registry(publisher, fault="whole", weights=None):
    """The registry of the workflow, with other URLs, sizes and checksums."""
    folder = publisher.folder
    cub, caltech = (entry(folder / n, publisher.url(n, fault)) for n in (CUB, CALTECH))
    return {
        "datasets": {
            "cub200": {
                **cub,
                **TERMS,
                "images": "CUB_200_2011/images",
                "layout": "cub200",
                "splits": ["train", "test"],
                "contents": {"classes": 3, "images": 24, "test_images": 12},
            },
            "caltech101": {
                **caltech,
                **TERMS,
                "inner": "caltech-101/101_ObjectCategories.tar.gz",
                "images": "101_ObjectCategories",
                "layout": "folders",
                "contents": {"classes": 3, "images": 30},
                "background": {"folder": "BACKGROUND_Google", "images": 10},
            },
        },
        "weights": {**TERMS, "files": weights or {}},
    }


@pytest.fixture
def overlay(checkout):
    """Writes a registry and gives the configuration of one small network that uses it."""

    def write(registry, **more):
        file = checkout.folder / "registry.yaml"
        file.write_text(yaml.safe_dump(registry))
        return {
            "device": "cpu",
            "data": {"registry": str(file)},
            "preprocess": {"resize": 70, "crop": 64},
            "calibration": {"images": 4, "batch_size": 2},
            "erf": {"blocks": 2, "batch_size": 4},
            "size_test": {"weights": "calibrated", "models": ["resnet18"]},
            "finetune": {
                "weights": "calibrated",
                "models": ["resnet18"],
                "repeated": {"models": []},
            },
            "shape_test": {"model": "resnet18"},
            "microobject": {"models": ["resnet18"]},
            **more,
        }

    return write


def test_table1_from_the_archive_and_the_weight_file(checkout, publisher, overlay):
    """The whole way, once from the server, and once more without it."""
    file = weight_file(publisher.folder)
    weights = {"resnet18": entry(file, publisher.url(file.name))}
    config = overlay(registry(publisher, weights=weights))
    config["size_test"]["weights"] = "imagenet"
    table = "results/tables/table1.parquet"
    status, output = checkout.snakemake(table, "--cores", "2", overlay=config)
    assert status == 0, output

    row = parquet.read(checkout.folder / table, size_test.TABLE1.schema).iloc[0]
    assert (row["model"], row["acc1"], row["trf"]) == ("resnet18", 69.758, 435)
    manifest = parquet.read(checkout.folder / DATASET.format("cub200"), schemas.MANIFEST)
    assert manifest["split"].value_counts().to_dict() == {"train": 12, "test": 12}
    assert manifest["class_name"].iloc[-1] == "003.Sooty_Albatross"
    assert manifest["label"].iloc[-1] == 2
    assert len(packs.Pack(checkout.folder / "results/data/dataset=cub200/images.arrow")) == 24
    kept = "results/checkpoints/model=resnet18/weights=imagenet/kernels=odd/checkpoint.safetensors"
    ours, theirs = (
        checkpoints.read_state(checkout.folder / kept),
        torch.load(file, weights_only=True),
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    publisher.shutdown()
    publisher.server_close()
    shutil.rmtree(checkout.folder / "results")
    needed = (DATASET.format("cub200"), kept)  # what lies between the downloads and all else
    status, output = checkout.snakemake(*needed, "--cores", "2", overlay=config)
    assert status == 0, output
    assert parquet.read(checkout.folder / needed[0], schemas.MANIFEST).equals(manifest)
    again = checkpoints.read_state(checkout.folder / kept)
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)


FAULTS = {
    "resnet18": ("whole", None),
    "resnet34": ("cut", None),
    "resnet50": ("busy", None),
    "resnet101": ("missing", "whole"),
    "resnet152": ("stubborn", None),
    "vgg11": ("wrong", "whole"),
    "vgg13": ("wrong", "missing"),
    "vgg16": ("missing", None),
}


def test_faults_are_survived_or_named_and_a_rerun_is_enough(checkout, publisher, overlay):
    weights = {}
    for number, (model, (fault, mirror)) in enumerate(FAULTS.items()):
        file = publisher.folder / f"{model}.pth"
        file.write_bytes(np.random.default_rng(number).bytes(5_000_000))
        weights[model] = entry(file, publisher.url(file.name, fault))
        if mirror:
            weights[model]["mirror"] = publisher.url(file.name, mirror)
    config = overlay(registry(publisher, weights=weights))
    targets = {model: f"resources/retrieved/{model}.pth" for model in FAULTS}

    command = (*targets.values(), "--cores", "4", "--keep-going")
    status, output = checkout.snakemake(*command, overlay=config)
    assert status != 0
    assert "Traceback" not in output
    found = {model for model in FAULTS if (checkout.folder / targets[model]).exists()}
    assert found == FAULTS.keys() - {"vgg13", "vgg16"}
    for model in found:
        content = (checkout.folder / targets[model]).read_bytes()
        assert content == (publisher.folder / f"{model}.pth").read_bytes()
    assert publisher.sent["resnet34.pth"] == 5_000_000  # nothing twice
    assert publisher.starts["/busy/resnet50.pth"] == [0, 0, 0]
    assert publisher.sent["resnet101.pth"] == 5_000_000
    assert "resources/vgg13.pth is missing and could not be downloaded: put it there" in output
    assert f"bytes and SHA-256 {weights['vgg13']['sha256']}" in output
    assert f"{publisher.url('vgg13.pth', 'missing')}: 404 Not Found" in output
    assert f"{publisher.url('vgg16.pth', 'missing')}: 404 Not Found" in output

    publisher.faulty = False
    status, output = checkout.snakemake(*command, overlay=config)
    assert status == 0, output
    assert "2 of 2 steps (100%) done" in output
    assert not list(checkout.folder.glob("resources/downloads/.*partial"))


def test_a_download_killed_at_half_goes_on_there(checkout, publisher, overlay):
    size = 12_000_000
    file = publisher.folder / "resnet18.pth"
    file.write_bytes(np.random.default_rng(0).bytes(size))
    weights = {"resnet18": entry(file, publisher.url(file.name, "slow"))}
    config = overlay(registry(publisher, weights=weights))
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(config))
    command = ("resources/retrieved/resnet18.pth", "--cores", "1", "--configfile", "mine.yaml")

    process = checkout.start("snakemake", *command)
    partial = checkout.folder / "resources/downloads/.resnet18.pth.partial"
    until(lambda: partial.exists() and partial.stat().st_size >= size / 2, process, checkout.folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = partial.stat().st_size
    assert size / 2 <= kept < size

    status, output = checkout.snakemake(*command)
    assert status == 0, output
    assert publisher.starts["/slow/resnet18.pth"] == [0, kept]
    assert (checkout.folder / "resources/retrieved/resnet18.pth").read_bytes() == file.read_bytes()


def test_two_at_once_and_one_whose_snakemake_alone_is_killed(checkout, publisher, overlay):
    """The second is told so and does no harm; after kill -9 nothing has to be unlocked."""
    file = publisher.folder / "resnet18.pth"
    file.write_bytes(np.random.default_rng(0).bytes(50_000_000))
    weights = {"resnet18": entry(file, publisher.url(file.name, "slow"))}
    config = overlay(registry(publisher, weights=weights))
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(config))
    command = ("resources/retrieved/resnet18.pth", "--cores", "1", "--configfile", "mine.yaml")

    first = checkout.start("snakemake", *command)
    until(
        (checkout.folder / "resources/downloads/.resnet18.pth.partial").exists,
        first,
        checkout.folder,
    )
    status, output = checkout.snakemake(*command)
    assert status != 0 and "Directory cannot be locked" in output
    assert first.poll() is None

    os.kill(first.pid, signal.SIGKILL)  # its job ends a moment later
    status, output = checkout.snakemake(*command)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert status == 0, output
    assert (checkout.folder / "resources/retrieved/resnet18.pth").read_bytes() == file.read_bytes()


def test_no_network_names_the_file_the_places_and_what_to_do(checkout, publisher, overlay):
    config = overlay(registry(publisher))
    publisher.shutdown()
    publisher.server_close()
    target = DATASET.format("cub200")
    status, output = checkout.snakemake(target, "--cores", "1", overlay=config)
    assert status != 0
    assert f"resources/{CUB} is missing and could not be downloaded: put it there" in output
    assert f"{publisher.url(CUB)}: [Errno 111] Connection refused" in output
    assert "Traceback" not in output


def test_a_member_that_escapes_is_refused(checkout, publisher, overlay):
    escaping = tar({**cub_files(), "CUB_200_2011/../../../stolen.txt": b"gotcha"})
    (publisher.folder / CUB).write_bytes(escaping)
    target = DATASET.format("cub200")
    status, output = checkout.snakemake(
        target, "--cores", "1", overlay=overlay(registry(publisher))
    )
    assert status != 0
    assert f"archive resources/retrieved/{CUB}: " in output and "outside the destination" in output
    assert "Traceback" not in output
    assert not list(checkout.folder.parent.rglob("stolen.txt"))


def test_caltech101_with_and_without_its_clutter(checkout, publisher, overlay):
    datasets = {
        name: {"source": "caltech101", "include_background": name == "all_of_it"}
        for name in ("caltech101", "all_of_it")
    }
    config = overlay(registry(publisher, "cut"), datasets=datasets)
    packs = [f"results/data/dataset={name}/images.arrow" for name in datasets]
    status, output = checkout.snakemake(*packs, "--cores", "2", overlay=config)
    assert status == 0, output
    for background, name in enumerate(datasets):
        manifest = parquet.read(checkout.folder / DATASET.format(name), schemas.MANIFEST)
        names = ["BACKGROUND_Google"] * background + ["Faces_easy", "accordion", "yin_yang"]
        assert [*manifest["class_name"].unique()] == names
        assert len(manifest) == 10 * len(names)
        assert set(manifest["split"]) == {"train", "valid", "test"}


@pytest.mark.parametrize("unpacked", [False, True])
def test_offline_copies_are_used_and_checked(checkout, publisher, overlay, unpacked):
    """A folder that holds the archive, or the unpacked data set; what it lacks is named."""
    root = checkout.folder / "offline"
    root.mkdir()
    if unpacked:
        shutil.unpack_archive(publisher.folder / CUB, root)
    else:
        shutil.copy(publisher.folder / CUB, root)
    written = overlay(registry(publisher))
    config = {**written, "data": {**written["data"], "root": "offline"}}
    publisher.shutdown()
    publisher.server_close()
    target = "results/data/dataset=cub200/images.arrow"
    status, output = checkout.snakemake(target, "--cores", "2", overlay=config)
    assert status == 0, output

    if unpacked:
        shutil.rmtree(checkout.folder / "results")
        for name in ("images", "image_class_labels", "train_test_split"):
            lines = (root / f"CUB_200_2011/{name}.txt").read_text().splitlines(keepends=True)
            (root / f"CUB_200_2011/{name}.txt").write_text("".join(lines[:-1]))
        message = "offline/CUB_200_2011/images has 23 images instead of 24, 11 test images"
    else:
        shutil.rmtree(checkout.folder / "resources")
        (root / CUB).write_bytes((root / CUB).read_bytes()[:-100])
        message = f"offline/{CUB} has"
    shutil.rmtree(checkout.folder / "results", ignore_errors=True)
    status, output = checkout.snakemake(target, "--cores", "2", overlay=config)
    assert status != 0
    assert message in output and "Traceback" not in output


def test_the_registry_is_checked_before_any_job(checkout, publisher, overlay):
    broken = registry(publisher)
    broken["datasets"]["cub200"]["sha265"] = broken["datasets"]["cub200"].pop("sha256")
    status, output = checkout.snakemake("-n", overlay=overlay(broken))
    assert status != 0 and "Traceback" not in output
    assert "registry.yaml: datasets.cub200" in output and "did you mean sha256?" in output

    status, output = checkout.snakemake("-n", overlay={"data": {"registry": "lost.yaml"}})
    assert status != 0 and "data.registry: there is no file lost.yaml" in output
    assert "Traceback" not in output
