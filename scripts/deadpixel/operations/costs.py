"""What jobs of the workflow cost before they run: seconds, memory and disk.

Each rule says what the work of its jobs is: the arithmetic of a forward pass x images x epochs. How
fast it is done is assumed until there are records of earlier jobs. Snakemake asks this while it
reads the workflow, in an environment of its own: the standard library only.
"""

import argparse
import errno
import json
import math
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..logs import log

MB, GIGA = 1e6, 1e9
# What reading and understanding a record can end in: it may be cut, binary, or of other types.
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)
_MEMORY_MARGIN = 1.2  # over the most that was seen


@dataclass(frozen=True)
class Rate:
    """Seconds that a job of some rule takes: `startup` plus one of the others per unit of work.

    On one CPU thread as measured (docs/performance.md), on a recent GPU in TF32 as estimated. Units
    of work are 1e9 operations where a network runs, megabytes or images where files are made.
    """

    startup: float
    on_cpu: float = 0.0
    on_gpu: float = 0.0


def runs_elsewhere(arguments: Sequence[str]) -> bool:
    """Whether the command line `arguments` of Snakemake names an executor that is not local.

    Itself or through a profile, a folder here or in ~/.config/snakemake.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--executor", "-e")
    parser.add_argument("--profile", default=os.environ.get("SNAKEMAKE_PROFILE"))
    parser.add_argument("--workflow-profile")
    try:
        known, _ = parser.parse_known_args(arguments)
    except SystemExit:  # an option without its value: Snakemake says so itself
        return False
    names = [name for name in (known.workflow_profile, known.profile) if name]
    places = [
        place / name for name in names for place in (Path(), Path.home() / ".config/snakemake")
    ]
    named = [_executor(file) for place in places for file in sorted(place.glob("config*.yaml"))]
    return next(filter(None, [known.executor, *named]), "local") not in ("local", "dryrun", "touch")


def _executor(profile: Path) -> str:
    found = re.search(r"^executor:\s*([\w-]+)", profile.read_text(), re.MULTILINE)
    return found[1] if found else ""


def assumed_device(asked: str, *, on_cluster: bool) -> str:
    """What jobs will compute on, ``cuda`` or ``cpu``, where ``auto`` leaves it open.

    Without PyTorch, which takes seconds: a cluster has GPUs, this machine those whose driver shows.
    """
    if asked != "auto":
        return asked
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    seen = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd")]
    pretended = os.environ.get("DEADPIXEL_DEVICES")
    return "cuda" if on_cluster or pretended or (seen and not hidden) else "cpu"


@dataclass(frozen=True)
class Record:
    """What Snakemake's benchmark of one finished job records."""

    path: str
    rule: str
    wildcards: Mapping[str, str]
    work: float | None
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Network:
    """What the cost of a job that runs a network follows from.

    forward: costs of a forward pass, as `flops.forward_costs` found them.
    images: of the data set, by split. size: height and width of what the network sees of them.
    """

    forward: Mapping[str, Any]
    images: Mapping[str, float]
    size: tuple[int, int]

    def at_most(self, most: int | None, split: str) -> float:
        """Images of a split, `most` of them unless that is None."""
        return min(most or self.images[split], self.images[split])

    @property
    def work(self) -> float:
        """Work of one forward pass of an image, in 1e9 operations."""
        return self.forward["flops"] / GIGA

    @property
    def pixels(self) -> int:
        """Of one image."""
        return math.prod(self.size)

    @property
    def weights_mb(self) -> float:
        """All weights in float32."""
        return 4 * self.forward["parameters"] / MB

    def memory_mb(self, device: str, *, batch: int = 0, images: float = 0) -> float:
        """Of the host: weights, their copies and gradients, and what a CPU keeps of a batch.

        batch: images on the way back at once. images: held in memory besides, in float32.
        """
        on_cpu = device == "cpu"
        kept = 3 * batch * self.forward["activations"] if on_cpu else 0
        pixels = 3 * images * self.pixels
        return (800 if on_cpu else 4000) + 6 * self.weights_mb + 4 * (kept + pixels) / MB


def seconds(rate: Rate, work: float | None, records: Sequence[Record], device: str) -> float:
    """Predicted for a job: at the median speed of `records`, or at the rate assumed for `device`.

    work: in units of `rate`; None where a job always takes about as long.
    """
    if work is None:
        return statistics.median([r.seconds for r in records] or [rate.startup])
    per_unit = [max(r.seconds - rate.startup, 0) / r.work for r in records if r.work]
    assumed = rate.on_cpu if device == "cpu" else rate.on_gpu
    return rate.startup + work * statistics.median(per_unit or [assumed])


def memory_mb(predicted: float, records: Iterable[Record]) -> float:
    """No less than was ever needed, and a margin."""
    return max([predicted, *(_MEMORY_MARGIN * record.memory_mb for record in records)])


def others(records: Iterable[Record], rule: str, wildcards: Mapping[str, str]) -> list[Record]:
    """Records of the rule without the job's own, so that predictions can be compared with it."""
    of = dict(wildcards.items())
    return [r for r in records if r.rule == rule and dict(r.wildcards) != of]


def read_records(folder: Path | str) -> list[Record]:
    """Every benchmark under `folder` that was written in Snakemake's extended form.

    What a kill or a full disk left of others is passed over, which one line of the log says.
    """
    found, damaged = [], []
    for file in sorted(Path(folder).rglob("*.jsonl")):
        try:
            if not file.is_file():  # do not open it either: a pipe would wait for its other end
                raise ValueError(file)
            row = json.loads(file.read_text().splitlines()[-1])
            if "rule_name" in row.keys():  # noqa: SIM118 - a list has none
                found.append(_record(str(file), row))
        except _DAMAGE:
            damaged.append(str(file))
    if damaged:
        names = ", ".join(damaged[:3]) + (", ..." if len(damaged) > 3 else "")
        log.warning("passed over %d damaged records, delete them: %s", len(damaged), names)
    return found


def _record(path: str, row: Mapping[str, Any]) -> Record:
    work, memory = row["resources"].get("work"), row["max_rss"]
    return Record(
        path,
        rule=rule_of(row["rule_name"]),
        wildcards={str(name): str(value) for name, value in row["wildcards"].items()},
        work=None if work is None else _number(work),
        seconds=_number(row["s"]),
        memory_mb=0.0 if memory == "NA" else _number(memory),
    )


def _number(value: Any) -> float:
    """As JSON has it; raises `ValueError` or `TypeError` for what is none or negative."""
    if isinstance(value, bool | str) or not 0 <= float(value) < math.inf:
        raise ValueError(value)
    return float(value)


def rule_of(name: str) -> str:
    """The rule of which further shards have numbers: accumulate_erf_2 is one of accumulate_erf."""
    return re.sub(r"_\d+$", "", name)


def read_forward(path: Path | str, kernels: str, size: Sequence[int]) -> dict[str, Any]:
    """Costs of a forward pass from a ``flops.json``, of a height and width.

    Raises `FileNotFoundError` if it has none, as Snakemake expects of files still to be made.
    """
    asked = kernels, list(size)
    for row in _read_json(path):
        if (row["kernels"], row.get("size")) == asked:
            return row
    # It is about to be counted again: what is there is of other sizes.
    raise FileNotFoundError(errno.ENOENT, f"has no {kernels} kernels at {size}", str(path))


def read_splits(path: Path | str) -> dict[str, int]:
    """Images of train, valid and test from a ``splits.json``."""
    return _read_json(path)


def _read_json(path: Path | str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); delete it and run again") from error
