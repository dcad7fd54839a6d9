"""What jobs of the workflow cost before they run: seconds, memory and disk.

The work of a job follows from the configuration: arithmetic of a forward pass x images x epochs.
How fast it is done is assumed until there are records of earlier runs. Snakemake asks this while it
reads the workflow, in an environment of its own: the standard library only.
"""

import argparse
import dataclasses
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
_BACKWARD = 2  # times the arithmetic of the forward pass, where weights are trained
# What reading and understanding a record can end in: it may be cut, binary, or of other types.
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)
_MEMORY_MARGIN = 1.2  # over the most that was seen


@dataclass(frozen=True)
class Rate:
    """Seconds that a job of some rule takes: `startup` plus one of the others per unit of work."""

    startup: float
    on_cpu: float = 0.0
    on_gpu: float = 0.0


# One CPU thread as measured (docs/performance.md), a recent GPU in TF32 as estimated. Units of work
# are 1e9 operations where a network runs, megabytes or images where files are made.
RATES = {
    "retrieve_file": Rate(2, 0.1, 0.1),
    "unpack_dataset": Rate(3, 0.03, 0.03),
    "generate_synthetic": Rate(2, 0.02, 0.02),
    "split_dataset": Rate(3, 0.001, 0.001),
    "pack_images": Rate(3, 0.003, 0.003),
    "calibrate_weights": Rate(5, 0.012, 1e-3),
    "accumulate_erf": Rate(5, 0.006, 2e-4),
    "finetune_model": Rate(5, 0.006, 5e-5),
    "train_microobject": Rate(5, 0.006, 5e-5),
}
OTHERS = Rate(4)


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
    work: float | None
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Cost:
    """Prediction for one job; `records`: how many finished jobs its seconds come from."""

    work: float | None
    seconds: float
    memory_mb: float
    disk_mb: float
    records: int


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


@dataclass(frozen=True)
class CostModel:
    """Costs of any job from a configuration as config.yaml describes it.

    forward: what `flops.forward_costs` found, by (model, kernels, side).
    splits: images of train, valid and test by data set.
    downloads: bytes of published files and of archives, by their names.
    """

    config: Mapping[str, Any]
    forward: Mapping[tuple[str, str, int], Mapping[str, Any]]
    splits: Mapping[str, Mapping[str, int]]
    downloads: Mapping[str, int]
    records: Sequence[Record] = ()

    def predict(self, rule: str, of: Mapping[str, str], own_record: str = "") -> Cost:
        """Cost of the job of `rule` with wildcards `of`.

        A record of that job itself, at the path `own_record`, is left out, so that prediction and
        measurement can be compared.
        """
        records = [r for r in self.records if r.rule == rule and r.path != own_record]
        work = self.work(rule, of)
        memory = max([self._memory_mb(rule, of), *(_MEMORY_MARGIN * r.memory_mb for r in records)])
        seconds = self._seconds(rule, work, records)
        return Cost(work, seconds, memory, self._disk_mb(rule, of), len(records))

    def work(self, rule: str, of: Mapping[str, str]) -> float | None:
        """Units of work as `RATES` counts them; None where a job always takes about as long."""
        match rule:
            case "retrieve_file":
                return self.downloads[of["file"]] / MB
            case "unpack_dataset":
                return self.downloads[of["source"]] / MB
            case "generate_synthetic" | "split_dataset" | "pack_images":
                return float(sum(self.splits[of["dataset"]].values()))
            case "calibrate_weights":
                images = min(self.config["calibration"]["images"], self._images(of, "train"))
                return images * self._evaluated(of)["flops"] / GIGA
            case "accumulate_erf":
                passes = 1 + len(self.config["targets"])  # there, and back from each target
                return passes * self._erf_images(of) * self._evaluated(of)["flops"] / GIGA
            case "finetune_model":
                passes = (1 + _BACKWARD) * self._images(of, "train") + self._images(of, "valid")
                epochs = self.config["finetune"]["epochs"]
                return epochs * passes * self._trained(of)["flops"] / GIGA
            case "train_microobject":
                passes = (1 + _BACKWARD) * self._templates(of) + self._images(of, "test")
                epochs = self.config["microobject"]["epochs"]
                return epochs * 2 * passes * self._trained(of)["flops"] / GIGA
        return None

    def _seconds(self, rule: str, work: float | None, records: list[Record]) -> float:
        rate = RATES.get(rule, OTHERS)
        if work is None:
            return statistics.median([r.seconds for r in records] or [rate.startup])
        per_unit = [max(r.seconds - rate.startup, 0) / r.work for r in records if r.work]
        assumed = rate.on_cpu if self.config["device"] == "cpu" else rate.on_gpu
        return rate.startup + work * statistics.median(per_unit or [assumed])

    def _memory_mb(self, rule: str, of: Mapping[str, str]) -> float:
        """Of the host: weights, their copies and gradients, and what a CPU keeps of a batch."""
        on_cpu = self.config["device"] == "cpu"
        forward, batch, pictures = self._network_job(rule, of)
        if not forward:
            return 1000.0
        kept = 3 * batch * forward["activations"] if on_cpu else 0
        pixels = 3 * pictures * forward["side"] ** 2
        return (800 if on_cpu else 4000) + 4 * (6 * forward["parameters"] + kept + pixels) / MB

    def _disk_mb(self, rule: str, of: Mapping[str, str]) -> float:
        """What a job leaves or keeps on the way, whichever is more."""
        match rule:
            case "retrieve_file" | "unpack_dataset":
                return self.work(rule, of)
            case "generate_synthetic":
                return 0.12 * self.work(rule, of)
            case "pack_images":
                return 0.35 * self.work(rule, of)
            case "convert_weights":
                return 4 * self._evaluated(of)["parameters"] / MB
            case "accumulate_erf" | "merge_erf":
                numbers = self.config["erf"]["blocks"] * self.config["preprocess"]["crop"] ** 2
                return len(self.config["targets"]) * numbers * 24 / MB
        forward, _, _ = self._network_job(rule, of)
        # the state of the epoch: weights, momenta, the best weights
        return 3 * 4 * forward["parameters"] / MB if forward else 1.0

    def _network_job(
        self, rule: str, of: Mapping[str, str]
    ) -> tuple[Mapping[str, Any] | None, int, float]:
        """Forward pass, images on the way back at once, and images held in memory."""
        match rule:
            case "calibrate_weights":
                return self._evaluated(of), 0, 0
            case "accumulate_erf":
                return self._evaluated(of), self.config["erf"]["batch_size"], 0
            case "finetune_model":
                held = self._images(of, "valid") + self._images(of, "test")
                held += self._held_to_augment(self._images(of, "train"))
                return self._trained(of), self.config["finetune"]["batch_size"], held
            case "train_microobject":
                held = 3 * self._images(of, "test")
                held += self._held_to_augment(self._templates(of))
                return self._trained(of), self.config["microobject"]["batch_size"], held
        return None, 0, 0

    def _images(self, of: Mapping[str, str], split: str) -> float:
        return self.splits[of["dataset"]][split]

    def _templates(self, of: Mapping[str, str]) -> float:
        there = self._images(of, "train")
        return min(self.config["microobject"]["templates"] or there, there)

    def _held_to_augment(self, images: float) -> float:
        """In images of the trained size: a CPU keeps `images` of 4:3 at four bytes a pixel."""
        augmentation = self.config["training"]["augmentation"]
        if self.config["device"] != "cpu" or augmentation["method"] != "batched":
            return 0.0
        # 4/3 pixels of 4 bytes for each of the 12 bytes of a pixel in float32
        return images * 4 / 9 * (augmentation["resized_crop"] / augmentation["crop"]) ** 2

    def _erf_images(self, of: Mapping[str, str]) -> float:
        there = self._images(of, self.config["erf"]["split"])
        return min(self.config["erf"]["images"] or there, there) / self.config["erf"]["shards"]

    def _evaluated(self, of: Mapping[str, str]) -> Mapping[str, Any]:
        return self.forward[of["model"], of["kernels"], self.config["preprocess"]["crop"]]

    def _trained(self, of: Mapping[str, str]) -> Mapping[str, Any]:
        side = self.config["training"]["augmentation"]["crop"]
        return self.forward[of["model"], of["kernels"], side]


def read_forward(paths: Iterable[Path | str]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Costs of forward passes from every ``flops.json``, by (model, kernels, side)."""
    rows = [row for path in paths for row in _read_json(path)]
    return {(row["model"], row["kernels"], row["side"]): row for row in rows}


def read_splits(path: Path | str) -> dict[str, int]:
    """Images of train, valid and test from a ``splits.json``."""
    return _read_json(path)


def _read_json(path: Path | str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); delete it and run again") from error


def as_columns(cost: Cost) -> dict[str, Any]:
    """Its part of a row of `schemas.PLAN`."""
    renamed = {"seconds": "predicted_seconds"}
    return {renamed.get(name, name): value for name, value in dataclasses.asdict(cost).items()}
