"""Arithmetic, parameters and activations of every network, for the costs of jobs."""

import pandas as pd
import torch

from deadpixel import errors, flops, kernels, logs, models, store

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params = snakemake.params

rows = []
for name, source in params.models.items():
    for kind in params.kernels[name]:
        with errors.naming(f"models.{name} with preprocess.crop or training.augmentation.crop"):
            model = kernels.apply(models.build(source), kind)
            costs = [flops.forward_costs(model, side) for side in params.sides]
        rows += [{"model": name, "kernels": kind, **cost} for cost in costs]
frame = pd.DataFrame(rows, columns=store.FLOPS.names)
store.write(frame, snakemake.output.flops, store.FLOPS, store.provenance())
