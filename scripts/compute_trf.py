"""Theoretical receptive field of every target of one network with one kind of kernels.

And how many convolutions and pools that kind changed, how many keep an odd kernel of stride 2, and
how many weights it added.
"""

import pandas as pd
import torch

from deadpixel import errors, kernels, logs, reading, receptive_field
from deadpixel.files import parquet, schemas
from deadpixel.networks import zoo
from deadpixel.operations import job
from deadpixel.surgery.kinds import ODD

job.begin(snakemake)
torch.set_num_threads(snakemake.threads)
params, name, kind = snakemake.params, snakemake.wildcards.model, snakemake.wildcards.kernels
input_size = tuple(params.input_size)
image = torch.zeros(1, params.channels, *input_size)

with errors.naming(f"models.{name}"):
    network = zoo.build(params.model)
    model = kernels.apply(network, kind, params.surgeries, image=image)
with errors.naming(f"models.{name} with preprocess.crop: {list(input_size)}"):
    targets = reading.read(network, image, params.targets)
    rows = receptive_field.table(model, targets, input_size, channels=params.channels)
odd, left = (kernels.odd_strided(net, image) for net in (network, model))
for operation in left if kind != ODD else ():
    logs.log.warning("%s, %s: %s keeps its odd kernel", name, kind, operation)
counted = {
    "changed": len(odd) - len(left),
    "left_odd": len(left),
    "added": len(kernels.added_weights(model)),
}
keyed = [{"model": name, "kernels": kind, **row, **counted} for row in rows]
trf = pd.DataFrame(keyed, columns=schemas.TRF.names)
parquet.write(
    trf,
    snakemake.output.trf,
    schemas.TRF,
    parquet.provenance(input_size=input_size),
)
