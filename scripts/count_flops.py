"""Arithmetic, parameters and activations of one network, for the costs of jobs."""

import json

import torch

from deadpixel import errors, kernels
from deadpixel.errors import InputError
from deadpixel.files import atomic
from deadpixel.logs import log
from deadpixel.networks import zoo
from deadpixel.operations import flops, job

job.begin(snakemake)
torch.set_num_threads(snakemake.threads)
params, name = snakemake.params, snakemake.wildcards.model

rows = []
with errors.naming(f"models.{name} with preprocess.crop or training.augmentation.crop"):
    for kind in params.kernels:
        model = zoo.build(params.model)
        try:
            model = kernels.apply(model, kind)
        except InputError as error:  # only jobs with these kernels will stop at it
            log.warning("models.%s: %s", name, error)
        channels = params.channels
        costs = [flops.forward_costs(model, size, channels=channels) for size in params.sizes]
        rows += [{"model": name, "kernels": kind, **cost} for cost in costs]
with atomic.writing(snakemake.output.flops) as partial:
    partial.write_text(json.dumps(rows, indent=1))
