"""Theoretical receptive field of every target of one network with one kind of kernels."""

import pandas as pd
import torch

from deadpixel import errors, kernels, logs, receptive_field
from deadpixel.files import parquet, schemas
from deadpixel.networks import zoo
from deadpixel.operations import job

job.begin(snakemake)
torch.set_num_threads(snakemake.threads)
params, name, kind = snakemake.params, snakemake.wildcards.model, snakemake.wildcards.kernels
input_size = (params.crop, params.crop)

with errors.naming(f"models.{name} with preprocess.crop: {params.crop}"):
    model = kernels.apply(zoo.build(params.model), kind)
    if kind != "odd":
        for left in kernels.odd_strided(model, torch.zeros(1, 3, *input_size)):
            logs.log.warning("%s, %s: %s is still odd, out of reach", name, kind, left)
    rows = receptive_field.table(model, params.targets, input_size)
keyed = [{"model": name, "kernels": kind, **row} for row in rows]
trf = pd.DataFrame(keyed, columns=schemas.TRF.names)
parquet.write(
    trf,
    snakemake.output.trf,
    schemas.TRF,
    parquet.provenance(input_size=input_size),
)
