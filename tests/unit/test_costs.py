"""Costs of jobs: work from the configuration, speed from records of other jobs."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torchvision
import yaml

from deadpixel.errors import InputError
from deadpixel.networks import zoo
from deadpixel.operations import costs, flops

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
FORWARD = {
    ("resnet18", kernels, side): {
        "side": side,
        "flops": 2e9,
        "parameters": 10e6,
        "activations": 2e6,
    }
    for kernels in ("odd", "padded")
    for side in (224,)
}
SPLITS = {"caltech101": {"train": 6000, "valid": 1000, "test": 1500}}
OF = {"dataset": "caltech101", "model": "resnet18", "weights": "imagenet", "kernels": "odd"}


def cost_model(*records, **changes):
    return costs.CostModel({**CONFIG, **changes}, FORWARD, SPLITS, {"a.zip": 5_000_000}, records)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "mobilenet_v2", "vgg11"])
def test_arithmetic_and_parameters_are_those_that_torchvision_publishes(name):
    """It counts a multiplication and an addition as one."""
    model = zoo.build(name)
    model.train()
    found = flops.forward_costs(model, 224)
    published = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta
    assert found["flops"] / 2e9 == pytest.approx(published["_ops"], rel=0.01)
    assert found["parameters"] == published["num_params"]
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_activations_grow_with_the_picture():
    model = zoo.build("resnet18")
    whole, quarter = (flops.forward_costs(model, side)["activations"] for side in (128, 64))
    assert whole / quarter == pytest.approx(4, rel=0.01)


def test_work_is_passes_over_images_and_epochs():
    """At 2e9 operations a forward pass, and twice that on the way back where weights change."""
    model = cost_model(
        targets=["layer3", "output"],
        erf={**CONFIG["erf"], "images": 900, "shards": 2},
        finetune={**CONFIG["finetune"], "epochs": 3},
        microobject={**CONFIG["microobject"], "epochs": 5, "templates": 100},
    )
    assert model.work("accumulate_erf", OF) == 2 * 450 * (1 + 2)
    assert model.work("calibrate_weights", OF) == 2 * 512
    assert model.work("finetune_model", OF) == 2 * 3 * (3 * 6000 + 1000)
    assert model.work("train_microobject", OF) == 2 * 5 * 2 * (3 * 100 + 1500)
    assert model.work("pack_images", OF) == 8500
    assert model.work("retrieve_file", {"file": "a.zip"}) == 5
    assert model.work("make_table1", {}) is None


def record(rule, seconds, work=None, path="x", memory=0.0):
    return costs.Record(path, rule, work, seconds, memory)


def test_speed_is_the_median_of_other_jobs():
    startup = costs.RATES["finetune_model"].startup
    slow, fast, fastest = (
        record("finetune_model", startup + seconds, 1000, path)
        for seconds, path in ((40, "a"), (20, "b"), (10, "c"))
    )
    other = record("train_microobject", 1e6, 1)
    work = cost_model().work("finetune_model", OF)
    model = cost_model(slow, fast, fastest, other)
    cost = model.predict("finetune_model", OF)
    assert cost.seconds == pytest.approx(startup + 0.020 * work)
    assert cost.records == 3
    without = model.predict("finetune_model", OF, own_record="a")
    assert without.seconds == pytest.approx(startup + 0.015 * work)
    assert without.records == 2


def test_without_records_a_gpu_is_faster_than_a_cpu():
    on_gpu, on_cpu = (
        cost_model(device=device).predict("finetune_model", OF) for device in ("cuda", "cpu")
    )
    assert on_gpu.records == on_cpu.records == 0
    assert on_gpu.seconds < on_cpu.seconds / 20


def test_a_job_without_work_takes_as_long_as_others_of_its_rule():
    table = cost_model(*(record("make_table1", seconds) for seconds in (3, 4, 8)))
    assert table.predict("make_table1", {}).seconds == 4
    assert cost_model().predict("make_table1", {}).seconds == costs.OTHERS.startup


def test_memory_is_no_less_than_was_ever_needed():
    assumed = cost_model().predict("finetune_model", OF).memory_mb
    assert 4000 < assumed < 10_000
    seen = cost_model(record("finetune_model", 9, 1, memory=50_000)).predict("finetune_model", OF)
    assert seen.memory_mb == pytest.approx(60_000)
    assert cost_model(record("finetune_model", 9, 1, memory=10)).predict(
        "finetune_model", OF
    ).memory_mb == pytest.approx(assumed)


def test_a_cpu_holds_the_images_that_it_augments():
    """4:3, four bytes a pixel; a GPU holds them in its own memory."""
    config = cost_model().config | {"device": "cpu"}
    needed = {}
    for method in ("batched", "torchvision"):
        augmentation = config["training"]["augmentation"] | {"method": method, "resized_crop": 300}
        training = config["training"] | {"augmentation": augmentation}
        model = dataclasses.replace(cost_model(), config={**config, "training": training})
        needed[method] = model.predict("finetune_model", OF).memory_mb
    images = cost_model().splits[OF["dataset"]]["train"]
    assert needed["batched"] - needed["torchvision"] == pytest.approx(images * 400 * 300 * 4 / 1e6)


def test_records_are_read_as_snakemake_writes_them(tmp_path):
    """A killed job leaves none; one of a profile without extended records tells no rule."""
    row = {"rule_name": "finetune_model", "resources": {"work": 7}, "s": 12.5, "max_rss": 900.5}
    folder = tmp_path / "finetune_model"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "b.jsonl").write_text("")
    (folder / "c.jsonl").write_text(json.dumps({"s": 3.0, "max_rss": 1.0}))
    short = {"rule_name": "make_table1", "resources": {}, "s": 0.1, "max_rss": "NA"}
    (tmp_path / "d.jsonl").write_text(json.dumps(short))
    found = costs.read_records(tmp_path)
    assert found == [
        record("make_table1", 0.1, path=str(tmp_path / "d.jsonl")),
        record("finetune_model", 12.5, 7, str(folder / "a.jsonl"), 900.5),
    ]
    assert costs.read_records(tmp_path / "none") == []


WHOLE = {"rule_name": "accumulate_erf_2", "resources": {"work": 7}, "s": 12.5, "max_rss": 900.5}
DAMAGED = {
    "cut": json.dumps(WHOLE)[:40],
    "empty": "",
    "binary": b"\x00\xff\xfe\x80",
    "a list": "[1, 2]",
    "a number": "7",
    "nothing": "null",
    "deep": "[" * 100_000,
    "without seconds": json.dumps({k: v for k, v in WHOLE.items() if k != "s"}),
    "no resources": json.dumps({**WHOLE, "resources": None}),
    **{
        f"{key} {value}": json.dumps({**WHOLE, key: value})
        for key in ("s", "max_rss", "rule_name")
        for value in (None, [1], {}, -1.0, 10**400, float("nan"), float("inf"))
        if (key, value) != ("max_rss", "NA")
    },
    "seconds NA": json.dumps({**WHOLE, "s": "NA"}),
    "work NA": json.dumps({**WHOLE, "resources": {"work": "NA"}}),
    "true": json.dumps({**WHOLE, "s": True}),
}


@pytest.mark.parametrize("contents", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_passed_over_and_named(tmp_path, caplog, contents):
    file = tmp_path / "b.jsonl"
    file.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    (tmp_path / "a.jsonl").write_text(json.dumps(WHOLE) + "\n")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "dangling.jsonl").symlink_to("nowhere")
    (tmp_path / "device.jsonl").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.jsonl")
    expected = record("accumulate_erf", 12.5, 7.0, str(tmp_path / "a.jsonl"), 900.5)
    assert costs.read_records(tmp_path) == [expected]
    (line,) = caplog.messages
    assert "passed over 5 damaged records, delete them" in line and str(file) in line


def test_every_rule_with_a_rate_has_work():
    for rule in costs.RATES:
        of = {**OF, "file": "a.zip", "source": "a.zip"}
        assert cost_model().work(rule, of) > 0, rule


def test_forward_costs_and_splits_are_read_from_their_files(tmp_path):
    rows = [
        {
            "model": "m",
            "kernels": "odd",
            "side": side,
            "flops": 9,
            "parameters": 8,
            "activations": 7,
        }
        for side in (64, 32)
    ]
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.json").write_text(json.dumps([row]))
    found = costs.read_forward([tmp_path / "0.json", tmp_path / "1.json"])
    assert found == {("m", "odd", 64): rows[0], ("m", "odd", 32): rows[1]}
    (tmp_path / "splits.json").write_text('{"train": 3, "valid": 0, "test": 2}')
    assert costs.read_splits(tmp_path / "splits.json") == {"train": 3, "valid": 0, "test": 2}
    (tmp_path / "splits.json").write_text('{"train": 3')
    with pytest.raises(InputError, match=r"splits.json: no JSON .* delete it and run again"):
        costs.read_splits(tmp_path / "splits.json")


def test_what_auto_means_is_asked_of_the_machine(monkeypatch):
    """Ten trainings of hours were predicted to take a minute, where there was no GPU."""
    monkeypatch.delenv("DEADPIXEL_DEVICES", raising=False)
    monkeypatch.setattr(costs.Path, "glob", lambda *_: iter(()))
    assert costs.assumed_device("auto", on_cluster=False) == "cpu"
    assert costs.assumed_device("auto", on_cluster=True) == "cuda"
    assert costs.assumed_device("cuda", on_cluster=False) == "cuda"
    monkeypatch.setattr(costs.Path, "glob", lambda *_: iter(["/dev/nvidia0"]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert costs.assumed_device("auto", on_cluster=False) == "cuda"
    assert costs.assumed_device("cpu", on_cluster=True) == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert costs.assumed_device("auto", on_cluster=False) == "cpu"


@pytest.mark.parametrize(
    ("arguments", "elsewhere"),
    [
        ([], False),
        (["--cores", "2", "results/slurm/table1"], False),
        (["--executor", "slurm"], True),
        (["-e", "local"], False),
        (["-e"], False),
        (["--workflow-profile", "profiles/mycluster"], True),
        (["--workflow-profile=profiles/mycluster", "--executor=local"], False),
        (["--workflow-profile", "profiles/mine"], False),
        (["--profile", "nowhere"], False),
        (["--profile", "home"], True),
    ],
)
def test_jobs_run_elsewhere_if_an_executor_is_named(tmp_path, monkeypatch, arguments, elsewhere):
    """On the command line or in a profile, whatever its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    home = tmp_path / ".config/snakemake"
    for folder, text in {
        tmp_path / "profiles/mycluster": "# executor: local\nexecutor: slurm\n",
        tmp_path / "profiles/mine": "resources:\n  gpu: 2\n",
        home / "home": "executor: lsf\n",
    }.items():
        folder.mkdir(parents=True)
        (folder / "config.v8+.yaml").write_text(text)
    assert costs.runs_elsewhere(arguments) == elsewhere
    if not elsewhere and not arguments:
        monkeypatch.setenv("SNAKEMAKE_PROFILE", "home")
        assert costs.runs_elsewhere(arguments)
