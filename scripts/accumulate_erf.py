"""Effective receptive fields of one network, every target in one pass."""

import time

import torch

from deadpixel import devices, erf, logs, maps, models, store
from deadpixel.preprocessing import evaluation_images

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, settings = snakemake.params, dict(snakemake.params.erf)
device = devices.resolve(params.device)
dtype, logit = getattr(torch, settings["dtype"]), str(settings["logit"]).lower()
start = time.monotonic()

model = models.load_checkpoint(models.build(params.model), snakemake.input.checkpoint)
manifest = store.read(snakemake.input.manifest, store.MANIFEST)
images = evaluation_images(
    snakemake.input.pack,
    manifest,
    settings["split"],
    **params.preprocess,
    most=settings["images"],
)
scratch = store.Scratch(
    params.scratch, snakemake.input, **{**dict(params.items()), "device": str(device)}
)
blocks = erf.accumulate_blocks(
    model,
    images,
    list(params.targets.values()),
    settings["blocks"],
    scratch,
    logit=logit,
    batch_size=settings["batch_size"],
    dtype=dtype,
    device=device,
)
facts = store.provenance(
    n_images=len(images),
    input_size=params.preprocess["crop"],
    logit=logit,
    device=devices.describe(device),
    dtype=settings["dtype"],
    batch_size=settings["batch_size"],
    seed=params.seed,
    seconds=time.monotonic() - start,
)
outputs = zip(params.targets.items(), snakemake.output.erf, snakemake.output.blocks, strict=True)
for (target, module), erf_path, blocks_path in outputs:
    merged = sum(blocks[module][1:], start=blocks[module][0])
    here = {**facts, "target": target, "module": module}
    store.write(maps.to_frame(merged), erf_path, store.ERF, here)
    store.write(maps.blocks_to_frame(blocks[module]), blocks_path, store.ERF_BLOCKS, here)
scratch.clear()
