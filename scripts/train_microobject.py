"""Train one network from scratch on the micro-object task; its test accuracy epoch by epoch."""

import numpy as np
import pandas as pd
import torch

from deadpixel import augment, devices, kernels, logs, microobject, models, store, training
from deadpixel.images import Pack
from deadpixel.preprocessing import evaluation_images, spread

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, wildcards, pack = snakemake.params, snakemake.wildcards, snakemake.input.pack
device = devices.resolve(params.device, jobs_per_device=snakemake.config["jobs_per_device"])
seed, size = int(wildcards.seed), params.size
manifest = store.read(snakemake.input.manifest, store.MANIFEST)

start = models.replace_head(
    models.build(params.model, seed=seed), len(microobject.CLASSES), seed=seed
)
model = kernels.apply(start, wildcards.kernels, init=params.init, seed=seed)

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
depends_on = {**dict(params.items()), **dict(wildcards.items()), "device": devices.describe(device)}
inputs = [file for file in snakemake.input if file != snakemake.input.flops]
scratch = store.Scratch(params.scratch, inputs, **depends_on)
rows = [*training.fit(model, train, {"test": lambda: test}, recipe, scratch, device=device)]

measured = {
    "device": devices.describe(device),
    "n_templates": len(chosen),
    "n_test": sum(len(labels) for _, labels in test),
}
facts = store.provenance(**{**dict(params.items()), **measured})
epochs = pd.DataFrame(rows).assign(valid_acc=np.nan)
store.write(epochs[store.EPOCHS.names], snakemake.output.epochs, store.EPOCHS, facts)
scratch.clear()
