"""Costs of jobs: work from the configuration, speed from records of other jobs."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
import torchvision

from deadpixel.errors import InputError
from deadpixel.networks import zoo
from deadpixel.operations import costs, flops

NETWORK = costs.Network(
    {"flops": 2e9, "parameters": 10e6, "activations": 2e6},
    {"train": 6000, "valid": 1000, "test": 1500},
    (224, 224),
)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "mobilenet_v2", "vgg11"])
def test_arithmetic_and_parameters_are_those_that_torchvision_publishes(name):
    """It counts a multiplication and an addition as one."""
    with torch.device("meta"):  # without values, which take seconds to draw and to multiply
        model = zoo.build(name).train()
        found = flops.forward_costs(model, (224, 224))
    published = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta
    assert found["flops"] / 2e9 == pytest.approx(published["_ops"], rel=0.01)
    assert found["parameters"] == published["num_params"]
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_activations_grow_with_the_picture():
    model = zoo.build("resnet18")
    sizes = (128, 128), (128, 32)
    whole, quarter = (flops.forward_costs(model, size)["activations"] for size in sizes)
    assert whole / quarter == pytest.approx(4, rel=0.01)


def test_work_is_counted_in_images_and_passes():
    assert NETWORK.work == 2
    assert NETWORK.at_most(None, "train") == NETWORK.at_most(7000, "train") == 6000
    assert NETWORK.at_most(900, "test") == 900
    assert NETWORK.weights_mb == 40


def record(rule, seconds, work=None, path="x", memory=0.0, **wildcards):
    return costs.Record(path, rule, wildcards, work, seconds, memory)


RATE = costs.Rate(5, on_cpu=0.006, on_gpu=5e-5)


def test_speed_is_the_median_of_other_jobs():
    """Of the same rule, without the job's own record, which the prediction is compared with."""
    slow, fast, fastest = (
        record("finetune_model", 5 + seconds, 1000, model=model)
        for seconds, model in ((40, "a"), (20, "b"), (10, "c"))
    )
    records = [slow, fast, fastest, record("train_microobject", 1e6, 1)]
    known = costs.others(records, "finetune_model", {"model": "d"})
    assert known == [slow, fast, fastest]
    assert costs.seconds(RATE, 300, known, "cpu") == pytest.approx(5 + 0.020 * 300)
    known = costs.others(records, "finetune_model", {"model": "a"})
    assert costs.seconds(RATE, 300, known, "cpu") == pytest.approx(5 + 0.015 * 300)


def test_without_records_speed_is_assumed_for_the_device():
    assert costs.seconds(RATE, 1000, [], "cpu") == pytest.approx(11)
    assert costs.seconds(RATE, 1000, [], "cuda") == pytest.approx(5.05)


def test_a_job_without_work_takes_as_long_as_others_of_its_rule():
    tables = [record("make_size_test", seconds) for seconds in (3, 4, 8)]
    assert costs.seconds(costs.Rate(9), None, tables, "cpu") == 4
    assert costs.seconds(costs.Rate(9), None, [], "cpu") == 9


def test_memory_is_of_weights_batch_and_images():
    """A GPU keeps the batch, and has libraries of its own on the host."""
    on_cpu = NETWORK.memory_mb("cpu", batch=8, images=100)
    assert on_cpu == pytest.approx(800 + 6 * 40 + 4 * (3 * 8 * 2 + 3 * 100 * 224**2 / 1e6))
    on_gpu = NETWORK.memory_mb("cuda", batch=8, images=100)
    assert on_gpu == pytest.approx(4000 + 6 * 40 + 4 * 3 * 100 * 224**2 / 1e6)


def test_memory_is_no_less_than_was_ever_needed():
    assert costs.memory_mb(5000, []) == 5000
    assert costs.memory_mb(5000, [record("finetune_model", 9, memory=10)]) == 5000
    assert costs.memory_mb(5000, [record("finetune_model", 9, memory=50_000)]) == 60_000


def test_records_are_read_as_snakemake_writes_them(tmp_path):
    """A killed job leaves none; one of a profile without extended records tells no rule."""
    row = {
        **{"rule_name": "finetune_model", "wildcards": {"model": "m", "seed": 1}},
        **{"resources": {"work": 7}, "s": 12.5, "max_rss": 900.5},
    }
    folder = tmp_path / "finetune_model"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "b.jsonl").write_text("")
    (folder / "c.jsonl").write_text(json.dumps({"s": 3.0, "max_rss": 1.0}))
    short = {"rule_name": "make_size_test", "wildcards": {}, "resources": {}, "s": 0.1}
    (tmp_path / "d.jsonl").write_text(json.dumps({**short, "max_rss": "NA"}))
    found = costs.read_records(tmp_path)
    assert found == [
        record("make_size_test", 0.1, path=str(tmp_path / "d.jsonl")),
        record("finetune_model", 12.5, 7, str(folder / "a.jsonl"), 900.5, model="m", seed="1"),
    ]
    assert costs.read_records(tmp_path / "none") == []


WHOLE = {
    **{"rule_name": "accumulate_erf_2", "wildcards": {}, "resources": {"work": 7}},
    **{"s": 12.5, "max_rss": 900.5},
}
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
    "no wildcards": json.dumps({**WHOLE, "wildcards": None}),
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


def test_forward_costs_and_splits_are_read_from_their_files(tmp_path):
    rows = [
        {"model": "m", "kernels": kernels, "size": [64, side], "flops": side}
        for kernels in ("odd", "padded")
        for side in (64, 32)
    ]
    (tmp_path / "flops.json").write_text(json.dumps(rows))
    assert costs.read_forward(tmp_path / "flops.json", "padded", (64, 32)) == rows[3]
    with pytest.raises(FileNotFoundError):
        costs.read_forward(tmp_path / "flops.json", "padded", (32, 64))
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


def test_each_cost_has_the_name_of_its_rule():
    """Or the speed of earlier jobs would be another rule's."""
    rules = Path(__file__).resolve().parents[2] / "rules"
    named = []
    for text in "\n".join(file.read_text() for file in rules.glob("*.smk")).split("\n\n\n"):
        if header := re.search(r"^(?:use )?rule (?:\w+ as )?(\w+)(?: with)?:$", text, re.MULTILINE):
            names = re.findall(r'\*\*\w*cost\(\s*"(\w+)"', text)
            assert names == [header[1]] * ("benchmark:" in text), header[1]
            named += names
    assert len(named) >= 20
