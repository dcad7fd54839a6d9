"""What a configuration will cost, job by job and altogether, and how many devices are worth it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..files import schemas
from . import schedule
from .costs import CostModel, as_columns, rule_of

_MOST_DEVICES = 64
_AS_GOOD_AS_ALL = 1.01  # times the longest chain of jobs, which no number of devices shortens
_WORTH = 0.8  # twice as many devices have to make it at least 2 x 0.8 times as fast


@dataclass(frozen=True)
class Step:
    """One job of the workflow as a dry run of Snakemake lists it; `record`: its benchmark."""

    rule: str
    record: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    wildcards: Mapping[str, str]
    priority: int
    gpus: int


def read_dry_run(text: str) -> list[Step]:
    """Jobs that a dry run lists, if they have a benchmark, sorted by its name.

    Raises `InputError` if none has one.
    """
    steps = []
    for rule, body in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n?)*)", text, re.MULTILINE):
        fields = dict(re.findall(r"^    ([\w ]+): (.*)$", body, re.MULTILINE))
        lists = {name: tuple(value.split(", ")) for name, value in fields.items()}
        if "benchmark" in fields:
            steps.append(
                Step(
                    rule_of(rule),
                    record=fields["benchmark"],
                    inputs=lists.get("input", ()),
                    outputs=lists.get("output", ()),
                    wildcards=_pairs(lists.get("wildcards", ())),
                    priority=int(fields.get("priority", 0)),
                    gpus=int(_pairs(lists.get("resources", ())).get("gpu", 0)),
                )
            )
    if not steps:
        raise InputError(f"Snakemake listed no jobs: {text.strip()[-2000:]}")
    return sorted(steps, key=lambda step: step.record)


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    return dict(text.split("=", 1) for text in texts)


def predict(steps: Sequence[Step], model: CostModel, records: Path | str) -> pd.DataFrame:
    """One row of `schemas.PLAN` per job; jobs are named by their files under `records`.

    Where no job asks for a GPU a device is a CPU core, and all of them need one.
    """
    names = [Path(step.record).relative_to(records).with_suffix("").as_posix() for step in steps]
    makers = {o: name for name, step in zip(names, steps, strict=True) for o in step.outputs}
    measured = {record.path: record for record in model.records}
    on_cores = not any(step.gpus for step in steps)
    rows = []
    for name, step in zip(names, steps, strict=True):
        cost = model.predict(step.rule, step.wildcards, own_record=step.record)
        record = measured.get(step.record)
        rows.append(
            {
                **{column: step.wildcards.get(column) for column in schemas.PLAN.names},
                **as_columns(cost),
                "job": name,
                "rule": step.rule,
                "after": list(dict.fromkeys(makers[f] for f in step.inputs if f in makers)),
                "priority": step.priority,
                "needs_device": on_cores or step.gpus > 0,
                "measured_seconds": record.seconds if record else np.nan,
                "measured_memory_mb": record.memory_mb if record else np.nan,
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
    worth = 1
    pairs = zip(makespans.itertuples(), makespans[1:].itertuples(), strict=False)
    for one, two in pairs:
        if one.list_seconds / two.list_seconds < 2 * _WORTH:
            break
        worth = two.devices
    return worth


def measured_jobs(plan: pd.DataFrame) -> pd.DataFrame:
    """Rows with a measurement; none as long as those are less than half."""
    measured = plan.dropna(subset="measured_seconds")
    return measured if 2 * len(measured) >= len(plan) else measured[:0]


def median_error(plan: pd.DataFrame) -> float:
    """Median of |predicted - measured| / measured over `measured_jobs`; NaN without any."""
    measured = measured_jobs(plan)
    error = measured["predicted_seconds"] - measured["measured_seconds"]
    return (error.abs() / measured["measured_seconds"]).median()


def summary(plan: pd.DataFrame, makespans: pd.DataFrame, devices: str) -> str:
    """The answer in Markdown; `devices` says what they are, such as GPUs."""
    on_devices = plan[plan["needs_device"]]
    by_rule = plan.groupby("rule").agg(
        jobs=("job", "size"),
        predicted=("predicted_seconds", "sum"),
        measured=("measured_seconds", "sum"),
        unknown=("measured_seconds", lambda seconds: seconds.isna().any()),
    )
    by_rule = by_rule.sort_values("predicted", ascending=False)
    rows = [
        (rule, row.jobs, duration(row.predicted), "" if row.unknown else duration(row.measured))
        for rule, row in zip(by_rule.index, by_rule.itertuples(), strict=True)
    ]
    spans = [
        (row.devices, *map(duration, (row.list_seconds, row.optimum_seconds, row.bound_seconds)))
        for row in makespans.itertuples()
    ]
    assumed = on_devices.loc[on_devices["records"] == 0, "rule"].unique()
    error = median_error(plan)
    notes = [
        f"{len(plan)} jobs, {plan['measured_seconds'].count()} of them done. "
        f"Hours of {devices}: {on_devices['predicted_seconds'].sum() / 3600:.3g}. "
        f"Disk: at most {plan['disk_mb'].sum() / 1000:.3g} GB.",
        f"Worth asking for: {worthwhile_devices(makespans)} {devices} "
        "(each doubling up to there makes it at least 1.6 times as fast).",
        "Speeds are those of earlier jobs."
        if not len(assumed)
        else f"Assumed, not measured, are the speeds of {', '.join(assumed)}: "
        "plan again when the first of each are finished.",
    ]
    if np.isfinite(error):
        notes.append(f"Predicted against measured: median error {error:.0%}.")
    return (
        "\n\n".join(
            [
                *notes,
                pd.DataFrame(
                    spans, columns=[devices, "by the scheduler", "at best", "bound"]
                ).to_markdown(index=False),
                pd.DataFrame(rows, columns=["rule", "jobs", "predicted", "measured"]).to_markdown(
                    index=False
                ),
            ]
        )
        + "\n"
    )


def duration(seconds: float) -> str:
    """Such as 40 s, 12 min, 3.5 h, 5.6 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.3g} days"
