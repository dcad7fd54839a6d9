"""What a configuration will cost, job by job and altogether, and how many devices are worth it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..files import schemas
from . import schedule
from .costs import read_records, rule_of

_MOST_DEVICES = 64
_AS_GOOD_AS_ALL = 1.01  # times the longest chain of jobs, which no number of devices shortens
_WORTH = 0.8  # twice as many devices have to make it at least 2 x 0.8 times as fast
_LINES_OF_AN_ERROR = 20
_SPANS = {
    "by the scheduler": "list_seconds",
    "at best": "optimum_seconds",
    "bound": "bound_seconds",
}


@dataclass(frozen=True)
class Step:
    """One job of the workflow; `record`: its benchmark, `resources`: those that are numbers."""

    rule: str
    record: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    wildcards: Mapping[str, str]
    priority: int
    resources: Mapping[str, int]


def listed(snakefile: Path | str, config: Mapping[str, Any]) -> list[Step]:
    """All jobs that have a benchmark, sorted by its name, of a workflow in the current folder.

    config is laid over the workflow's own. Raises `InputError` if Snakemake refuses it, or lists no
    such job.
    """
    from . import joblist  # with Snakemake, and only there

    command = [sys.executable, "-P", joblist.__file__, str(snakefile)]
    run = subprocess.run(command, input=json.dumps(config), capture_output=True, text=True)
    if run.returncode:
        last = "\n".join(run.stderr.splitlines()[-_LINES_OF_AN_ERROR:])
        raise InputError(f"Snakemake listed no jobs of {snakefile}: {last}")
    jobs = [Step(**job) for job in json.loads(run.stdout.splitlines()[-1])]
    steps = [step for step in jobs if step.record]
    if not steps:
        raise InputError(f"{snakefile}: no job of `all` has a benchmark")
    return sorted(steps, key=lambda step: step.record)


def predict(steps: Sequence[Step], records: Path | str) -> pd.DataFrame:
    """One row of `schemas.PLAN` per job; jobs are named by their files under `records`.

    Where no job asks for a GPU a device is a CPU core, and all of them need one. Raises
    `InputError` if a job lacks the resource `predicted_s`.
    """
    names = [Path(step.record).relative_to(records).with_suffix("").as_posix() for step in steps]
    makers = {o: name for name, step in zip(names, steps, strict=True) for o in step.outputs}
    measured = {record.path: record for record in read_records(records)}
    finished = Counter(record.rule for record in measured.values())
    on_cores = not any(step.resources.get("gpu") for step in steps)
    rows = []
    for name, step in zip(names, steps, strict=True):
        if "predicted_s" not in step.resources:
            raise InputError(f"rule {step.rule}: give it the resource predicted_s; {name} has none")
        rule, record = rule_of(step.rule), measured.get(step.record)
        rows.append(
            {
                **{column: step.wildcards.get(column) for column in schemas.PLAN.names},
                "job": name,
                "rule": rule,
                "after": list(dict.fromkeys(makers[f] for f in step.inputs if f in makers)),
                "priority": step.priority,
                "needs_device": on_cores or step.resources.get("gpu", 0) > 0,
                "work": step.resources.get("work", np.nan),
                "predicted_seconds": step.resources["predicted_s"],
                "measured_seconds": record.seconds if record else np.nan,
                "records": finished[rule] - (record is not None),
                "memory_mb": step.resources.get("mem_mb", 0),
                "measured_memory_mb": record.memory_mb if record else np.nan,
                "disk_mb": step.resources.get("disk_mb", 0),
            }
        )
    return pd.DataFrame(rows, columns=schemas.PLAN.names)


def schedule_jobs(plan: pd.DataFrame, seconds: str = "predicted_seconds") -> list[schedule.Job]:
    """The jobs of a plan as a scheduler sees them, each as long as its column `seconds` says."""
    columns = ["job", seconds, "needs_device", "priority", "after"]
    return [
        schedule.Job(name, duration, needs_device, priority, tuple(after))
        for name, duration, needs_device, priority, after in plan[columns].itertuples(index=False)
    ]


def makespans(jobs: list[schedule.Job], solver_seconds: float) -> pd.DataFrame:
    """Rows of `schemas.MAKESPANS` for 1, 2, 4, ... devices, as long as another could be of use."""
    rows, devices = [], 1
    chain = schedule.longest_chain(jobs)
    while devices <= _MOST_DEVICES:
        listed = schedule.makespan(jobs, schedule.list_schedule(jobs, devices))
        starts, bound = schedule.optimum(jobs, devices, solver_seconds)
        rows.append((devices, listed, schedule.makespan(jobs, starts), bound))
        if listed <= _AS_GOOD_AS_ALL * chain:
            break
        devices *= 2
    return pd.DataFrame(rows, columns=schemas.MAKESPANS.names)


def worthwhile_devices(makespans: pd.DataFrame) -> int:
    """The most devices of which each doubling makes it at least 1.6 times as fast."""
    seconds = makespans["list_seconds"].to_numpy()
    devices = makespans["devices"].to_list()
    slow = np.flatnonzero(seconds[:-1] / seconds[1:] < 2 * _WORTH)
    return devices[slow[0] if len(slow) else -1]


def measured_jobs(plan: pd.DataFrame) -> pd.DataFrame:
    """Rows with a measurement; none as long as those are less than half."""
    measured = plan.dropna(subset="measured_seconds")
    return measured if 2 * len(measured) >= len(plan) else measured.iloc[:0]


def median_error(plan: pd.DataFrame) -> float:
    """Median of |predicted - measured| / measured over `measured_jobs`; NaN without any."""
    rows = measured_jobs(plan)
    error = rows["predicted_seconds"].to_numpy() / rows["measured_seconds"].to_numpy() - 1
    return float(np.median(np.abs(error))) if len(error) else np.nan


def summary(plan: pd.DataFrame, makespans: pd.DataFrame, devices: str) -> str:
    """The answer in Markdown; `devices` says what they are, such as GPUs."""
    on_devices = plan[plan["needs_device"]]
    groups = plan.groupby("rule")
    by_rule = pd.DataFrame(
        {
            "jobs": groups.size(),
            "predicted": groups["predicted_seconds"].sum(),
            # not a number, if that of any job is none
            "measured": groups["measured_seconds"].agg(lambda own: own.sum(skipna=False)),
        }
    )
    by_rule = by_rule.sort_values("predicted", ascending=False).reset_index()
    for column in ("predicted", "measured"):
        by_rule[column] = [duration(own) if own >= 0 else "" for own in by_rule[column]]
    spans = pd.DataFrame({devices: makespans["devices"]})
    for title, column in _SPANS.items():
        spans[title] = [duration(own) for own in makespans[column]]
    assumed = ", ".join(dict.fromkeys(on_devices.loc[on_devices["records"] == 0, "rule"]))
    error = median_error(plan)
    notes = [
        f"{len(plan)} jobs, {plan['measured_seconds'].count()} of them done. "
        f"Hours of {devices}: {on_devices['predicted_seconds'].sum() / 3600:.3g}. "
        f"Disk: at most {plan['disk_mb'].sum() / 1000:.3g} GB.",
        f"Worth asking for: {worthwhile_devices(makespans)} {devices} "
        "(each doubling up to there makes it at least 1.6 times as fast).",
        f"Assumed, not measured, are the speeds of {assumed}: "
        "plan again when the first of each are finished."
        if assumed
        else "Speeds are those of earlier jobs.",
        *([f"Predicted against measured: median error {error:.0%}."] if error >= 0 else []),
        *(table.to_markdown(index=False) for table in (spans, by_rule)),
    ]
    return "\n\n".join(notes) + "\n"


def duration(seconds: float) -> str:
    """Such as 40 s, 12 min, 3.5 h, 5.6 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.3g} days"
