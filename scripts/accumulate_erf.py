"""Effective receptive fields of one network over one shard of images, every target in one pass."""

import time

import torch

from deadpixel import devices, erf, kernels, logs, maps, models, store
from deadpixel.preprocessing import evaluation_images

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, wildcards = snakemake.params, snakemake.wildcards
device = devices.resolve(params.device, jobs_per_device=snakemake.config["jobs_per_device"])
start = time.monotonic()

manifest = store.read(snakemake.input.manifest, store.MANIFEST)
model = kernels.apply(models.build(params.model), wildcards.kernels)
if wildcards.weights == "finetuned":
    models.replace_head(model, manifest["label"].nunique(), seed=0)
models.load_checkpoint(model, snakemake.input.checkpoint)
images = evaluation_images(
    snakemake.input.pack, manifest, params.split, **params.preprocess, most=params.images
)
if params.logit == "true":
    experiment = "finetune" if wildcards.weights == "finetuned" else "size_test"
    erf.check_head(model, images[0], manifest["label"].nunique(), f"{experiment}.logit")
part = {"shard": int(wildcards.shard), "shards": params.shards}
depends_on = {**dict(params.items()), **part, "device": devices.describe(device)}
inputs = [file for file in snakemake.input if file != snakemake.input.flops]
scratch = store.Scratch(params.scratch, inputs, **depends_on)
settings = {"logit": params.logit, "batch_size": params.batch_size}
blocks = erf.accumulate_blocks(
    model,
    images,
    [*params.targets.values()],
    params.blocks,
    scratch,
    **part,
    **settings,
    dtype=getattr(torch, params.dtype),
    device=device,
)
facts = store.provenance(
    **settings,
    input_size=params.preprocess["crop"],
    device=devices.describe(device),
    dtype=params.dtype,
    seed=params.seed,
    seconds=time.monotonic() - start,
)
for module, path in zip(params.targets.values(), snakemake.output.sums, strict=True):
    frame = maps.sums_to_frame(blocks[module])
    store.write(frame, path, store.ERF_SUMS, {**facts, "module": module})
scratch.clear()
