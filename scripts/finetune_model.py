"""Fine-tune one network with one kind of kernels, and predict the test split."""

import numpy as np
import pandas as pd
import torch

from deadpixel import augment, devices, kernels, logs, models, preprocessing, store, training
from deadpixel.images import Pack

logs.configure(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
params, wildcards, pack = snakemake.params, snakemake.wildcards, snakemake.input.pack
device = devices.resolve(params.device, jobs_per_device=snakemake.config["jobs_per_device"])
seed = int(wildcards.seed)
manifest = store.read(snakemake.input.manifest, store.MANIFEST)

start = models.load_checkpoint(models.build(params.model), snakemake.input.checkpoint)
models.replace_head(start, manifest["label"].nunique(), seed=seed)
model = kernels.apply(start, wildcards.kernels, init=params.init, seed=seed)

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
depends_on = {**dict(params.items()), **dict(wildcards.items()), "device": devices.describe(device)}
inputs = [file for file in snakemake.input if file != snakemake.input.flops]
scratch = store.Scratch(params.scratch, inputs, **depends_on)
train = training.epoch_batches(images, images.labels, params.batch_size, seed)
rows = [*training.fit(model, train, {"valid": lambda: valid}, recipe, scratch, device=device)]

measured = {
    "device": devices.describe(device),
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
