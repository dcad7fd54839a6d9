"""Effective receptive fields of one network over one shard of images, every target in one pass."""

import time

import torch

from deadpixel import erf, kernels
from deadpixel.data.evaluation import evaluation_images
from deadpixel.files import maps, parquet, schemas
from deadpixel.networks import checkpoints, heads, zoo
from deadpixel.operations import computing, devices, job

job.begin(snakemake)
params, wildcards, config = snakemake.params, snakemake.wildcards, snakemake.config
device = computing.device(snakemake)
start = time.monotonic()

manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)
model = kernels.apply(zoo.build(params.model), wildcards.kernels)
if wildcards.weights == "finetuned":
    side = params.preprocess["crop"]
    heads.replace(model, manifest["label"].nunique(), seed=0, side=side)
checkpoints.load(model, snakemake.input.checkpoint)
images = evaluation_images(
    snakemake.input.pack, manifest, params.split, **params.preprocess, most=params.images
)
if params.logit == "true":
    experiment = "finetune" if wildcards.weights == "finetuned" else "size_test"
    erf.check_head(model, images[0], manifest["label"].nunique(), f"{experiment}.logit")
scratch = computing.scratch(snakemake, "erf")
numbers = [int(parquet.partitions(path)["block"]) for path in snakemake.output.sums]
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
facts = parquet.provenance(
    **settings,
    input_size=params.preprocess["crop"],
    device=devices.describe(device),
    dtype=params.dtype,
    seed=params.seed,
    seconds=(time.monotonic() - start) / len(set(numbers)),
)
for path in snakemake.output.sums:
    of = parquet.partitions(path)
    module, number = params.targets[of["target"]], int(of["block"])
    found = {n: block for n, block in blocks[module].items() if n == number}
    parquet.write(maps.sums_to_frame(found), path, schemas.ERF_SUMS, {**facts, "module": module})
