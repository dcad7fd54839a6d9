"""Weights from the Hub as a user meets them: the real rules against a server that answers as it."""

import hashlib
import html
import json

import pytest
import timm
import torch
from safetensors.torch import save

from deadpixel import erf, extent
from deadpixel.data import loose
from deadpixel.data.evaluation import evaluation_transform
from deadpixel.files import parquet, schemas
from deadpixel.networks import checkpoints
from hubserver import COMMIT, OLDER, Hub

NET = "test_resnet.r160_in1k"  # timm's smallest
OF_TIMM = {
    "resize": 168,
    "crop": 160,
    "interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}
CHECKPOINT = "results/checkpoints/model={}/weights={}/kernels=odd/checkpoint.safetensors"
ERF = "results/erf/dataset=synthetic/model=net/weights=imagenet/kernels=odd/target={}/erf.parquet"


@pytest.fixture
def weights():
    torch.manual_seed(5)
    return save(timm.create_model(NET, pretrained=False).state_dict())


@pytest.fixture
def server(weights, monkeypatch):
    server = Hub({f"timm/{NET}": {"model.safetensors": weights}})
    for name, value in {
        "HF_ENDPOINT": server.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def overlay(source=f"timm:{NET}", weights="imagenet", **keys):
    training = {"dataset": "synthetic", "models": ["net"]}
    return {
        "device": "cpu",
        "datasets": {"synthetic": {"source": "synthetic", "classes": 2, "images_per_class": 8}},
        "preprocess": {"resize": 70, "crop": 64},
        "erf": {"blocks": 2, "batch_size": 2},
        "models": {"net": {"source": source, **keys}},
        "size_test": {"weights": weights, **training},
        "finetune": {"weights": weights, **training, "repeated": {"models": []}},
        "shape_test": {"model": "net"},
        "microobject": training,
    }


def test_a_network_of_timm_with_its_weights_to_its_map(checkout, server, weights):
    """And the same file by its address, at a tag; offline, nothing is asked for again."""
    address = f"hf://timm/{NET}@v1/model.safetensors"
    config = overlay(checkpoint=address)
    wanted = [ERF.format("layer4"), CHECKPOINT.format("net", "file")]
    status, output = checkout.snakemake(*wanted, "--cores", "2", overlay=config)
    assert status == 0, output

    sha256 = hashlib.sha256(weights).hexdigest()
    facts = parquet.read_provenance(checkout.folder / wanted[0])["checkpoint"]
    assert facts["origin_sha256"] == sha256
    assert facts["hub"] == {
        "address": f"hf://timm/{NET}@main/model.safetensors",
        "revision": COMMIT,
        "etag": sha256,
        "sha256": sha256,
        "endpoint": server.url,
    }
    assert parquet.read_provenance(checkout.folder / wanted[0])["preprocess"] == OF_TIMM
    erf = parquet.read(checkout.folder / wanted[0], schemas.ERF)
    assert len(erf) == 160 * 160 and erf["mean"].max() > 0
    kept = checkout.folder / wanted[1]
    tagged = checkpoints.read_facts(kept)["hub"]
    assert (tagged["address"], tagged["revision"]) == (address, OLDER)
    torch.manual_seed(5)
    ours, theirs = checkpoints.read_state(kept), timm.create_model(NET).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    server.stop()
    kept.unlink()
    status, output = checkout.snakemake(wanted[1], "--cores", "1", overlay=config)
    assert status == 0, output
    assert checkpoints.read_facts(kept)["hub"] == tagged


def test_a_repository_that_is_not_there_is_one_message(checkout, server):
    server.files.clear()
    target = CHECKPOINT.format("net", "imagenet")
    status, output = checkout.snakemake(target, "--cores", "1", overlay=overlay())
    assert status != 0
    assert f"{server.url} shows no repository timm/{NET}: correct the name" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (overlay("timm:resnet18"), "models.net.source: timm:resnet18 names no weights "),
        (
            overlay(weights="file", checkpoint="hf://a/b/c.bin"),
            "'hf://a/b/c.bin' is not like hf://",
        ),
        (overlay(weights="file", checkpoint="hf://a/b/../c.safetensors"), "is not like hf://"),
        (overlay(weights="file", checkpoint="hf://b/c.safetensors"), "is not like hf://"),
    ],
)
def test_what_names_no_weights_is_said_before_any_job(checkout, config, message):
    status, output = checkout.snakemake("-n", overlay=config)
    assert status != 0
    assert message in output and "Traceback" not in output


def test_one_look_takes_published_weights_and_says_so(checkout, server, weights, monkeypatch):
    """As the command without options does; offline, from its cache."""
    monkeypatch.setenv("HOME", str(checkout.folder))
    monkeypatch.setenv("PYTHONPATH", "scripts")
    command = ("python", "-m", "deadpixel", "look", f"timm:{NET}", "--most", "2")
    status, output = checkout.run(*command, "--json", "found.json", "--out", "page.html")
    assert status == 0, output
    found = json.loads((checkout.folder / "found.json").read_text())
    assert found["weights"] == f"timm's, hf://timm/{NET}@main/model.safetensors"
    assert found["preprocess"] == OF_TIMM
    page = html.unescape((checkout.folder / "page.html").read_text())
    assert "Weights: timm's, hf://" in page
    torch.manual_seed(5)
    network = timm.create_model(NET).eval()
    images = loose.images(None, 2, evaluation_transform(**OF_TIMM))
    batch = torch.stack([images[0], images[1]])
    expected = erf.accumulate(network, batch, ["output"], logit="mean")["output"].mean
    extents = extent.measure(expected, expected[:0], extent.Theory())
    assert found["targets"][-1]["radius_90"] == pytest.approx(extents["radius_90"], rel=1e-3)

    server.stop()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert checkout.run(*command)[0] == 0
    status, output = checkout.run(*command[:4], "timm:resnet18.a1_in1k")
    assert status == 2 and "Traceback" not in output
    assert "--weights: hf://timm/resnet18.a1_in1k@main/model.safetensors: HF_HUB_OFF" in output
