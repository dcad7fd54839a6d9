"""Initialise a network by its seed and measure its batch-norm statistics on the train split."""

import torch

from deadpixel import devices, errors, logs, models, store
from deadpixel.preprocessing import evaluation_images

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, config = snakemake.params, snakemake.config
device = devices.resolve(config["device"], jobs_per_device=config["jobs_per_device"])

manifest = store.read(snakemake.input.manifest, store.MANIFEST)
most = params.calibration["images"]
images = evaluation_images(snakemake.input.pack, manifest, "train", **params.preprocess, most=most)
model = models.build(params.model, seed=params.seed)
with errors.naming(f"models.{snakemake.wildcards.model}"):
    models.calibrate(model, images.batches(params.calibration["batch_size"]), device=device)
facts = store.provenance(
    model=params.model,
    weights="calibrated",
    n_images=len(images),
    seed=params.seed,
    device=devices.describe(device),
)
models.save_checkpoint(model, snakemake.output.checkpoint, facts)
