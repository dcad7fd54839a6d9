"""Effective receptive fields of one network over one shard of images, every target in one pass."""

import time
from pathlib import Path

import torch

from deadpixel import devices, erf, kernels, logs, maps, models, store
from deadpixel.preprocessing import evaluation_images

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, wildcards, config = snakemake.params, snakemake.wildcards, snakemake.config
device = devices.resolve(config["device"], jobs_per_device=config["jobs_per_device"])
start = time.monotonic()

manifest = store.read(snakemake.input.manifest, store.MANIFEST)
model = kernels.apply(models.build(params.model), wildcards.kernels)
if wildcards.weights == "finetuned":
    side = params.preprocess["crop"]
    models.replace_head(model, manifest["label"].nunique(), seed=0, side=side)
models.load_checkpoint(model, snakemake.input.checkpoint)
images = evaluation_images(
    snakemake.input.pack, manifest, params.split, **params.preprocess, most=params.images
)
if params.logit == "true":
    experiment = "finetune" if wildcards.weights == "finetuned" else "size_test"
    erf.check_head(model, images[0], manifest["label"].nunique(), f"{experiment}.logit")
predictions = snakemake.input.flops, snakemake.input.splits
inputs = [file for file in snakemake.input if file not in predictions]
job = Path(config["pathvars"]["results"], ".scratch/erf", Path(snakemake.log[0]).stem)
scratch = store.Scratch(job, inputs, params=dict(params.items()), of=dict(wildcards.items()))
numbers = [int(store.partitions(path)["block"]) for path in snakemake.output.sums]
settings = {"logit": params.logit, "batch_size": config["erf"]["batch_size"]}
blocks = erf.accumulate_blocks(
    model,
    images,
    [*params.targets.values()],
    params.blocks,
    scratch,
    shard=min(numbers),
    shards=config["erf"]["shards"],
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
    seconds=(time.monotonic() - start) / len(set(numbers)),
)
for path in snakemake.output.sums:
    of = store.partitions(path)
    module, number = params.targets[of["target"]], int(of["block"])
    found = {n: block for n, block in blocks[module].items() if n == number}
    store.write(maps.sums_to_frame(found), path, store.ERF_SUMS, {**facts, "module": module})
