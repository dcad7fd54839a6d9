"""What a job that runs a network has of its own: threads, a device, and unfinished work."""

from typing import Any

import torch

from ..files.resume import Scratch
from . import devices, job

_PREDICTIONS = ("flops", "splits")  # inputs that a job's cost is predicted from, and no result


def device(snakemake: Any) -> torch.device:
    """The device that the job may use, with as many threads as Snakemake gives it."""
    torch.set_num_threads(snakemake.threads)
    config = snakemake.config
    return devices.resolve(config["device"], jobs_per_device=config["jobs_per_device"])


def scratch(snakemake: Any, experiment: str) -> Scratch:
    """Where the job keeps what it has finished, by all that its results depend on."""
    predictions = {snakemake.input.get(name) for name in _PREDICTIONS}
    inputs = [file for file in snakemake.input if file not in predictions]
    return Scratch(
        job.kept(snakemake, experiment),
        inputs,
        params=dict(snakemake.params.items()),
        of=dict(snakemake.wildcards.items()),
    )
