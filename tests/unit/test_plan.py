"""From Snakemake's list of jobs to what they cost together."""

import numpy as np
import pandas as pd
import pytest

from deadpixel.errors import InputError
from deadpixel.files import parquet, schemas
from deadpixel.operations import costs, plan

RUN = "results/epochs/model=m/seed=3/epochs.parquet"
STATE = "results/state.safetensors"
DRY_RUN = f"""Building DAG of jobs...
[Sun Nov 22 19:35:51 2026]
rule train:
    input: results/pack.arrow, code.py
    output: {RUN}, {STATE}
    log: logs/train/m_3.log
    jobid: 9
    benchmark: records/train/m_3.jsonl
    reason: Forced execution
    wildcards: model=m, seed=3
    priority: 15
    resources: tmpdir=/tmp, work=<TBD>, gpu=1
[Sun Nov 22 19:35:51 2026]
localrule pack:
    output: results/pack.arrow
    jobid: 2
    benchmark: records/pack.jsonl
    resources: tmpdir=/tmp
rule tabulate:
    input: {RUN}, {STATE}
    output: results/table.md
    benchmark: records/tabulate.jsonl
localrule all:
    input: results/table.md
Job stats:
"""
SECONDS = {"pack": 10.0, "train": 100.0, "tabulate": 1.0}


class Model:
    """Costs by rule alone."""

    records = (costs.Record("records/pack.jsonl", "pack", None, 8.0, 500.0),)

    def predict(self, rule, of, own_record):
        self.last_of = of
        return costs.Cost(None, SECONDS[rule], 1000.0, 5.0, 0)


def planned(text=DRY_RUN):
    return plan.predict(plan.read_dry_run(text), Model(), "records")


def test_a_dry_run_tells_of_every_job_that_is_measured():
    pack, tabulate, train = plan.read_dry_run(DRY_RUN)
    assert (train.rule, train.record, train.gpus) == ("train", "records/train/m_3.jsonl", 1)
    assert train.wildcards == {"model": "m", "seed": "3"}
    assert train.outputs == tabulate.inputs == (RUN, STATE)
    assert (pack.rule, pack.wildcards, pack.inputs, pack.gpus) == ("pack", {}, (), 0)


def test_what_is_no_list_of_jobs_is_shown():
    with pytest.raises(InputError, match="Fix the configuration"):
        plan.read_dry_run("Fix the configuration and run again")


def test_jobs_wait_for_those_that_make_their_inputs():
    pack, tabulate, train = plan.schedule_jobs(planned())
    assert (train.after, pack.after, tabulate.after) == (("pack",), (), ("train/m_3",))
    assert (train.priority, pack.priority) == (15, 0)
    assert (train.needs_device, pack.needs_device) == (True, False)
    assert train.seconds == 100


def test_rows_keep_the_contract_and_stand_beside_what_was_measured(tmp_path):
    frame = planned()
    parquet.write(frame, tmp_path / "plan.parquet", schemas.PLAN, {})
    back = parquet.read(tmp_path / "plan.parquet", schemas.PLAN).set_index("job")
    assert [*back.loc["train/m_3", "after"]] == ["pack"]
    assert back.loc["train/m_3", "seed"] == "3" and pd.isna(back.loc["pack", "seed"])
    assert back.loc["pack", "measured_seconds"] == 8 and back.loc["pack", "predicted_seconds"] == 10
    assert np.isnan(back.loc["tabulate", "measured_seconds"])
    assert np.isnan(plan.median_error(frame)), "one of three jobs is too few"
    assert plan.median_error(frame[frame["rule"] != "train"]) == 0.25


def test_every_job_takes_a_core_where_devices_are_cores():
    frame = planned(DRY_RUN.replace("gpu=1", "gpu=0"))
    assert frame["needs_device"].all()


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


def test_the_answer_names_what_is_assumed_and_how_far_off_it_was():
    frame = planned()
    jobs = plan.schedule_jobs(frame)
    spans = plan.makespans(jobs, solver_seconds=5)
    answer = plan.summary(frame, spans, "GPUs")
    assert "3 jobs, 1 of them done. Hours of GPUs: 0.0278." in answer
    assert "Assumed, not measured, are the speeds of train" in answer
    assert "median error" not in answer
    ended = frame.assign(measured_seconds=[8.0, 4.0, 80.0])
    assert "median error 25%" in plan.summary(ended, spans, "GPUs")


def test_durations_are_in_a_readers_units():
    assert [plan.duration(s) for s in (4.4, 99, 100, 7000, 5e5)] == [
        "4 s",
        "99 s",
        "2 min",
        "1.94 h",
        "5.79 days",
    ]
