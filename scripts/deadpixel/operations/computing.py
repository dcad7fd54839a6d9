"""What a job that runs a network has of its own: threads, device, network, unfinished work."""

from typing import Any

import torch
from torch import Tensor, nn

from .. import kernels
from ..files.resume import Scratch
from ..networks import checkpoints, heads, zoo
from . import devices, job

_PREDICTIONS = ("flops", "splits")  # inputs that a job's cost is predicted from, and no result


def device(snakemake: Any) -> torch.device:
    """The device that the job may use, with as many threads as Snakemake gives it."""
    torch.set_num_threads(snakemake.threads)
    config = snakemake.config
    return devices.resolve(config["device"], jobs_per_device=config["jobs_per_device"])


def network(snakemake: Any, image: Tensor, n_classes: int) -> nn.Module:
    """The one of the job's wildcards with its kernels and its checkpoint, for an image (C, H, W).

    Raises `InputError` if they do not fit.
    """
    params, wildcards = snakemake.params, snakemake.wildcards
    model = kernels.apply(
        zoo.build(params.model), wildcards.kernels, params.surgeries, image=image[None]
    )
    if wildcards.weights == "finetuned":
        channels, *input_size = image.shape
        heads.replace(model, n_classes, seed=0, input_size=input_size, channels=channels)
    return checkpoints.load(model, snakemake.input.checkpoint)


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
