"""Train one network from scratch on the micro-object task; its test accuracy epoch by epoch."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from deadpixel import augment, devices, logs, microobject, models, store, training
from deadpixel.images import Pack
from deadpixel.preprocessing import evaluation_images, spread

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, wildcards, config = snakemake.params, snakemake.wildcards, snakemake.config
pack = snakemake.input.pack
device = devices.resolve(config["device"], jobs_per_device=config["jobs_per_device"])
seed, size = int(wildcards.seed), params.size
manifest = store.read(snakemake.input.manifest, store.MANIFEST)

side = params.augmentation["crop"]
start = models.build(params.model, seed=seed)
model = training.starting_network(
    start, len(microobject.CLASSES), wildcards.kernels, init=params.init, seed=seed, side=side
)

augmentation = augment.Augmentation(**params.augmentation)
chosen = spread(np.flatnonzero(manifest["split"] == "train"), params.templates)
templates = augment.TRAINING_IMAGES[params.method](
    Pack(pack, manifest), chosen, np.zeros(len(chosen)), augmentation, seed=seed, device=device
)
sizes = {"resize": augmentation.resized_crop, "crop": augmentation.crop}
tested = evaluation_images(pack, manifest, "test", **sizes).on(device, params.batch_size)
test = microobject.test_batches(tested, size, seed)
recipe = training.Recipe(**params.recipe, seed=seed)
train = microobject.training_batches(templates, len(chosen), params.batch_size, size, seed)
predictions = snakemake.input.flops, snakemake.input.splits
inputs = [file for file in snakemake.input if file not in predictions]
job = Path(config["pathvars"]["results"], ".scratch/microobject", Path(snakemake.log[0]).stem)
scratch = store.Scratch(job, inputs, params=dict(params.items()), of=dict(wildcards.items()))
rows = [*training.fit(model, train, {"test": lambda: test}, recipe, scratch, device=device)]

measured = {
    "device": devices.describe(device),
    "precision": training.computed_in(recipe.precision, device),
    "n_templates": len(chosen),
    "n_test": sum(len(labels) for _, labels in test),
}
facts = store.provenance(**{**dict(params.items()), **measured})
epochs = pd.DataFrame(rows).assign(valid_acc=np.nan)
store.write(epochs[store.EPOCHS.names], snakemake.output.epochs, store.EPOCHS, facts)
scratch.clear()
