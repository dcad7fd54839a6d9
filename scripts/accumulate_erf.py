"""Effective receptive fields of one network over one shard of images, every target in one pass."""

import functools
import importlib
import time

import torch

from deadpixel import erf, erf_blocks, reading
from deadpixel.data.evaluation import evaluation_images, evaluation_transform
from deadpixel.files import maps, parquet, schemas
from deadpixel.networks import checkpoints
from deadpixel.operations import computing, devices, job

job.begin(snakemake)
params, wildcards, config = snakemake.params, snakemake.wildcards, snakemake.config
device = computing.device(snakemake)
start = time.monotonic()

manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)
transform = evaluation_transform(**params.preprocess)
images = evaluation_images(
    snakemake.input.pack, manifest, params.split, transform, most=params.images
)
first = images[0]
n_classes = len(set(manifest["label"]))
model = computing.network(snakemake, first, n_classes)
if params.logit == "true":
    experiment = "finetune" if wildcards.weights == "finetuned" else "size_test"
    erf.check_head(model, first, n_classes, f"{experiment}.logit")
scratch = computing.scratch(snakemake, "erf")
numbers = {int(parquet.partitions(path)["block"]): path for path in snakemake.output.blocks}
settings = {
    "logit": params.logit,
    "definition": params.definition,
    "ties": params.ties,
    "batch_size": config["erf"]["batch_size"],
}
enough = None
if params.precision:
    # Not by an import statement: without a precision, maps do not depend on how they are measured.
    convergence = importlib.import_module("deadpixel.convergence")
    enough = functools.partial(convergence.enough, share=params.precision)
blocks, measurement = erf_blocks.accumulate_blocks(
    model,
    images,
    reading.with_stages(model, first[None], params.targets),
    params.blocks,
    scratch,
    shard=min(numbers),
    shards=config["erf"]["shards"],
    **settings,
    dtype=getattr(torch, params.dtype),
    device=device,
    enough=enough,
)
facts = parquet.provenance(
    **settings,
    precision=params.precision,
    targets={name: str(target) for name, target in measurement.targets.items()},
    input_size=params.preprocess["crop"],
    preprocess=params.preprocess,
    checkpoint=checkpoints.read_facts(snakemake.input.checkpoint),
    device=devices.describe(device),
    dtype=params.dtype,
    seed=params.seed,
    seconds_waited_for_images=measurement.waited / len(numbers),
    seconds=(time.monotonic() - start) / len(numbers),
)
for number, path in numbers.items():
    parquet.write(maps.block_to_frame(blocks.get(number, {})), path, schemas.BLOCK, facts)
