"""Effective fields of the networks that micro-object runs of one arm start with, a seed each."""

import pandas as pd

from deadpixel import erf, microobject
from deadpixel.data.evaluation import evaluation_images, evaluation_transform
from deadpixel.files import maps, parquet, schemas
from deadpixel.networks import calibration, zoo
from deadpixel.operations import computing, devices, job
from deadpixel.targets import OUTPUT, Target

IMAGES = 256  # at most, of the statistics of batch norms and of the fields

job.begin(snakemake)
params, wildcards = snakemake.params, snakemake.wildcards
device = computing.device(snakemake)
manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)
side = params.augmentation["crop"]
transform = evaluation_transform(params.augmentation["resized_crop"], side)
train, test = (
    evaluation_images(snakemake.input.pack, manifest, split, transform, most=IMAGES)
    for split in ("train", "test")
)

frames = []
for seed in params.seeds:
    start = zoo.build(params.model, seed=seed)
    model = microobject.starting_network(
        start, wildcards.kernels, params.surgeries, init=params.init, seed=seed, side=side
    )
    calibration.calibrate(model, train.batches(params.batch_size), device=device)
    batches = test.batches(params.batch_size)
    field = erf.accumulate(model, batches, {OUTPUT: Target(OUTPUT)}, logit="mean", device=device)
    frames.append(maps.to_frame(field[OUTPUT]).assign(seed=seed))
facts = parquet.provenance(
    **dict(params.items()), n_images=len(test), device=devices.describe(device)
)
parquet.write(pd.concat(frames), snakemake.output.starts, schemas.STARTS, facts)
