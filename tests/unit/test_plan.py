"""From Snakemake's list of jobs to what they cost together."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deadpixel.errors import InputError
from deadpixel.files import parquet, schemas
from deadpixel.operations import plan

RUN = "results/epochs/model=m/seed=3/epochs.parquet"
STATE = "results/state.safetensors"
STEPS = [
    plan.Step("pack", "records/pack.jsonl", [], ["results/pack.arrow"], {}, 0, {"predicted_s": 10}),
    plan.Step(
        *("train", "records/train/m_3.jsonl", ["results/pack.arrow", "code.py"], [RUN, STATE]),
        *({"model": "m", "seed": "3"}, 15),
        {"gpu": 1, "predicted_s": 100, "work": 7, "mem_mb": 1000, "disk_mb": 5},
    ),
    plan.Step(
        *("tabulate", "records/tabulate.jsonl", [RUN, STATE], ["results/table.md"], {}, 0),
        {"predicted_s": 1},
    ),
]
SNAKEFILE = """
print("the Snakefile prints")
if config["count"] > 2:
    raise WorkflowError("Fix the configuration and run again: count")

rule all:
    input: "mine.txt"

rule retrieve:
    output: "raw.txt"
    shell: "touch {output}"

rule pack:
    input: "raw.txt"
    output: directory("pack")
    benchmark: "records/pack.jsonl"
    resources:
        predicted_s=lambda w, input: 4,
        gpu=config["count"],
        work=lambda w, input: len(open(input[0]).read()),
    shell: "touch {output}"

rule train:
    input: ancient("pack")
    output: "{model}.txt", temp("{model}.log")
    benchmark: "records/train/{model}.jsonl"
    priority: 15
    shell: "touch {output}"
"""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """With the record of one job, and of another of its rule."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "records").mkdir()
    for name, seconds in (("pack", 8.0), ("pack_of_others", 7.0)):
        row = {"rule_name": "pack", "s": seconds, "max_rss": 500.0, "resources": {}}
        row["wildcards"] = {}
        (tmp_path / f"records/{name}.jsonl").write_text(json.dumps(row))
    return plan.predict(STEPS, "records")


@pytest.fixture
def snakefile(tmp_path, monkeypatch):
    folder = tmp_path / "beside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path / "Snakefile"


@pytest.mark.slow
def test_snakemake_lists_every_job_that_is_measured(snakefile):
    """Those of finished files too; what is known only later is in no resource."""
    for file in ("mine.txt", "mine.log"):
        Path(file).touch()
    pack, train = plan.listed(snakefile, {"count": 2})
    assert (pack.rule, pack.record, pack.priority) == ("pack", "records/pack.jsonl", 0)
    assert (pack.inputs, pack.outputs, pack.wildcards) == (["raw.txt"], ["pack"], {})
    assert (pack.resources["predicted_s"], pack.resources["gpu"]) == (4, 2)
    assert "work" not in pack.resources
    assert (train.rule, train.inputs, train.outputs) == (
        "train",
        ["pack"],
        ["mine.txt", "mine.log"],
    )
    assert (train.wildcards, train.priority) == ({"model": "mine"}, 15)
    assert not Path("pack").exists()


@pytest.mark.slow
def test_what_snakemake_refuses_is_shown(snakefile):
    with pytest.raises(InputError, match="Fix the configuration and run again: count"):
        plan.listed(snakefile, {"count": 3})


def test_a_job_without_a_prediction_names_its_rule():
    steps = [dataclasses.replace(STEPS[0], resources={"gpu": 1})]
    with pytest.raises(InputError, match="rule pack: give it the resource predicted_s"):
        plan.predict(steps, "records")


def test_jobs_wait_for_those_that_make_their_inputs(planned):
    pack, train, tabulate = plan.schedule_jobs(planned)
    assert (train.after, pack.after, tabulate.after) == (("pack",), (), ("train/m_3",))
    assert (train.priority, pack.priority) == (15, 0)
    assert (train.needs_device, pack.needs_device) == (True, False)
    assert train.seconds == 100


def test_rows_keep_the_contract_and_stand_beside_what_was_measured(planned):
    parquet.write(planned, "plan.parquet", schemas.PLAN, {})
    back = parquet.read("plan.parquet", schemas.PLAN).set_index("job")
    assert [*back.loc["train/m_3", "after"]] == ["pack"]
    assert back.loc["train/m_3", "seed"] == "3" and pd.isna(back.loc["pack", "seed"])
    costs = ["work", "predicted_seconds", "memory_mb", "disk_mb"]
    assert back.loc["train/m_3", costs].tolist() == [7, 100, 1000, 5]
    assert back.loc["pack", costs[1:]].tolist() == [10, 0, 0] and np.isnan(back.loc["pack", "work"])
    assert back.loc["pack", ["measured_seconds", "measured_memory_mb"]].tolist() == [8, 500]
    assert back["records"].tolist() == [1, 0, 0], "its own is none"
    assert np.isnan(back.loc["tabulate", "measured_seconds"])
    assert np.isnan(plan.median_error(planned)), "one of three jobs is too few"
    assert plan.median_error(planned[planned["rule"] != "train"]) == 0.25


def test_every_job_takes_a_core_where_devices_are_cores():
    train = dataclasses.replace(STEPS[1], resources={"gpu": 0, "predicted_s": 1})
    assert plan.predict([STEPS[0], train], "records")["needs_device"].all()


def test_more_devices_until_no_job_is_left_for_them():
    jobs = [plan.schedule.Job(str(number), 60.0, True, 0, ()) for number in range(5)]
    spans = plan.makespans(jobs, solver_seconds=5)
    assert spans["devices"].tolist() == [1, 2, 4, 8]
    assert spans["list_seconds"].tolist() == [300, 180, 120, 60]
    assert (spans["optimum_seconds"] <= spans["list_seconds"]).all()
    assert (spans["bound_seconds"] <= spans["optimum_seconds"]).all()


@pytest.mark.parametrize(
    ("seconds", "worth"), [([80, 40, 20, 19], 4), ([80, 45, 30, 29], 2), ([80, 79], 1), ([80], 1)]
)
def test_devices_are_worth_it_while_they_halve_the_time(seconds, worth):
    rows = {"devices": [1, 2, 4, 8][: len(seconds)], "list_seconds": seconds}
    assert plan.worthwhile_devices(pd.DataFrame(rows)) == worth


def test_the_answer_names_what_is_assumed_and_how_far_off_it_was(planned):
    jobs = plan.schedule_jobs(planned)
    spans = plan.makespans(jobs, solver_seconds=5)
    answer = plan.summary(planned, spans, "GPUs")
    assert "3 jobs, 1 of them done. Hours of GPUs: 0.0278." in answer
    assert "Assumed, not measured, are the speeds of train" in answer
    assert "median error" not in answer
    ended = planned.assign(measured_seconds=[8.0, 80.0, 4.0])
    assert "median error 25%" in plan.summary(ended, spans, "GPUs")


def test_durations_are_in_a_readers_units():
    assert [plan.duration(s) for s in (4.4, 99, 100, 7000, 5e5)] == [
        "4 s",
        "99 s",
        "2 min",
        "1.94 h",
        "5.79 days",
    ]
