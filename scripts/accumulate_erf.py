"""Effective receptive fields of one network, every target in one pass."""

import time

import torch

from deadpixel import devices, erf, kernels, logs, maps, models, store
from deadpixel.preprocessing import evaluation_images

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params = snakemake.params
device = devices.resolve(params.device, jobs_per_device=snakemake.config["jobs_per_device"])
dtype = getattr(torch, params.dtype)
start = time.monotonic()

manifest = store.read(snakemake.input.manifest, store.MANIFEST)
model = kernels.apply(models.build(params.model), snakemake.wildcards.kernels)
if snakemake.wildcards.weights == "finetuned":
    models.replace_head(model, manifest["label"].nunique(), seed=0)
models.load_checkpoint(model, snakemake.input.checkpoint)
images = evaluation_images(
    snakemake.input.pack, manifest, params.split, **params.preprocess, most=params.images
)
depends_on = {**dict(params.items()), "device": devices.describe(device)}
scratch = store.Scratch(params.scratch, snakemake.input, **depends_on)
settings = {"logit": params.logit, "batch_size": params.batch_size}
targets = params.targets.values()
blocks = erf.accumulate_blocks(
    model, images, [*targets], params.blocks, scratch, **settings, dtype=dtype, device=device
)
facts = store.provenance(
    **settings,
    input_size=params.preprocess["crop"],
    device=devices.describe(device),
    dtype=params.dtype,
    seed=params.seed,
    seconds=time.monotonic() - start,
)
for module, *paths in zip(targets, snakemake.output.erf, snakemake.output.blocks, strict=True):
    maps.write(blocks[module], *paths, {**facts, "module": module})
scratch.clear()
