"""Fine-tune one network with one kind of kernels, and predict the test split."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from deadpixel import augment, devices, kernels, logs, models, preprocessing, store, training
from deadpixel.images import Pack

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, wildcards, config = snakemake.params, snakemake.wildcards, snakemake.config
pack = snakemake.input.pack
device = devices.resolve(config["device"], jobs_per_device=config["jobs_per_device"])
seed = int(wildcards.seed)
manifest = store.read(snakemake.input.manifest, store.MANIFEST)

start = models.load_checkpoint(models.build(params.model), snakemake.input.checkpoint)
side = params.augmentation["crop"]
model = training.starting_network(
    start, manifest["label"].nunique(), wildcards.kernels, init=params.init, seed=seed, side=side
)

augmentation = augment.Augmentation(**params.augmentation)
chosen = np.flatnonzero(manifest["split"] == "train")
labels = manifest["label"].to_numpy()[chosen]
images = augment.TRAINING_IMAGES[params.method](
    Pack(pack, manifest), chosen, labels, augmentation, seed=seed, device=device
)
sizes = {"resize": augmentation.resized_crop, "crop": augmentation.crop}
valid, test = (
    preprocessing.evaluation_images(pack, manifest, split, **sizes).on(device, params.batch_size)
    for split in ("valid", "test")
)
recipe = training.Recipe(**params.recipe, seed=seed)
predictions = snakemake.input.flops, snakemake.input.splits
inputs = [file for file in snakemake.input if file not in predictions]
job = Path(config["pathvars"]["results"], ".scratch/finetune", Path(snakemake.log[0]).stem)
scratch = store.Scratch(job, inputs, params=dict(params.items()), of=dict(wildcards.items()))
train = training.epoch_batches(images, images.labels, params.batch_size, seed)
rows = [*training.fit(model, train, {"valid": lambda: valid}, recipe, scratch, device=device)]

measured = {
    "device": devices.describe(device),
    "precision": training.computed_in(recipe.precision, device),
    "seconds": sum(row["seconds"] for row in rows),
    "added_weights_norm": float(kernels.added_weights(model).norm()),
}
facts = store.provenance(**{**dict(params.items()), **measured})
epochs = pd.DataFrame(rows).assign(test_acc=np.nan)
store.write(epochs[store.EPOCHS.names], snakemake.output.epochs, store.EPOCHS, facts)
tested = manifest[manifest["split"] == "test"]
tested = tested.assign(predicted=training.predict(model, test)[0])[store.PREDICTIONS.names]
store.write(tested, snakemake.output.predictions, store.PREDICTIONS, facts)
models.save_checkpoint(model.cpu(), snakemake.output.checkpoint, facts)
scratch.clear()
