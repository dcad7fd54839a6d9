"""Theoretical receptive field of every network and target."""

import pandas as pd
import torch

from deadpixel import errors, kernels, logs, models, receptive_field, store

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params = snakemake.params
input_size = (params.crop, params.crop)

rows = []
for name, source in params.models.items():
    for kind in params.kernels[name]:
        with errors.naming(f"models.{name} with preprocess.crop: {params.crop}"):
            model = kernels.apply(models.build(source), kind)
            if kind != "odd":
                for left in kernels.odd_strided(model, torch.zeros(1, 3, *input_size)):
                    logs.log.warning("%s, %s: %s is still odd, out of reach", name, kind, left)
            logs.log.info("%s, %s", name, kind)
            found = receptive_field.table(model, params.targets[name], input_size)
        rows += [{"model": name, "kernels": kind, **row} for row in found]
trf = pd.DataFrame(rows, columns=store.TRF.names)
store.write(trf, snakemake.output.trf, store.TRF, store.provenance(input_size=input_size))
