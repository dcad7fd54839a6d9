"""What follows from dead pixels in one network: all probes of its images."""

import time

import numpy as np

from deadpixel.data.evaluation import evaluation_images, evaluation_transform
from deadpixel.files import parquet, schemas
from deadpixel.operations import computing, devices, job
from deadpixel.probes.probing import Settings, Subject, probe

job.begin(snakemake)
params, output = snakemake.params, snakemake.output
device = computing.device(snakemake)
start = time.monotonic()

manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)
preprocess, batch_size = params.preprocess, snakemake.config["probes"]["batch_size"]
reference, probed = (
    evaluation_images(
        *(snakemake.input.pack, manifest, split), evaluation_transform(**preprocess), most=most
    )
    for split, most in (("train", params.reference), (params.split, params.images))
)
model = computing.network(snakemake, probed[0], len(set(manifest["label"])))
mean, std = (np.array(preprocess[name]) for name in ("mean", "std"))
settings = Settings(
    **params.settings,
    black=-mean / std,
    white=(1 - mean) / std,
    batch_size=batch_size,
    seed=params.seed,
)
subject = Subject(model, reference, probed, params.targets, batch_size, device)
scratch = computing.scratch(snakemake, "probes")
frames = probe(
    subject,
    lambda block, *shift: block.through(evaluation_transform(**preprocess, shift=shift)),
    settings,
    scratch,
)
facts = parquet.provenance(
    **params.settings,
    split=params.split,
    seed=params.seed,
    preprocess=preprocess,
    n_reference=len(reference),
    n_probed=len(probed),
    target=str(subject.target),
    device=devices.describe(device),
    seconds=time.monotonic() - start,
)
for name, frame in {"logits": subject.logits(), **frames}.items():
    parquet.write(frame, output[name], schemas.PROBES[name], facts)
scratch.clear()
