"""Train one network from scratch on the micro-object task; its test accuracy epoch by epoch."""

import numpy as np
import pandas as pd

from deadpixel import microobject, training
from deadpixel.data import augment
from deadpixel.data.evaluation import evaluation_images, evaluation_transform, spread
from deadpixel.data.packs import Pack
from deadpixel.files import parquet, schemas
from deadpixel.networks import zoo
from deadpixel.operations import computing, devices, job

job.begin(snakemake)
params, wildcards, config = snakemake.params, snakemake.wildcards, snakemake.config
pack = snakemake.input.pack
device = computing.device(snakemake)
seed, size = int(wildcards.seed), params.size
manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)

side = params.augmentation["crop"]
start = zoo.build(params.model, seed=seed)
model = training.starting_network(
    start,
    len(microobject.CLASSES),
    wildcards.kernels,
    params.surgeries,
    init=params.init,
    seed=seed,
    input_size=(side, side),
)

augmentation = augment.Augmentation(**params.augmentation)
chosen = spread(np.flatnonzero(manifest["split"] == "train"), params.images)
images = augment.TRAINING_IMAGES[params.method](
    Pack(pack, manifest), chosen, np.zeros(len(chosen)), augmentation, seed=seed, device=device
)
transform = evaluation_transform(augmentation.resized_crop, augmentation.crop)
tested = evaluation_images(pack, manifest, "test", transform).on(device, params.batch_size)
test = microobject.evaluation_batches(tested, size, seed)
recipe = training.Recipe(**params.recipe, seed=seed)
train = microobject.training_batches(images, len(chosen), params.batch_size, size, seed)
scratch = computing.scratch(snakemake, "microobject")
rows = [*training.fit(model, train, {"test": lambda: test}, recipe, scratch, device=device)]

measured = {
    "device": devices.describe(device),
    "precision": training.computed_in(recipe.precision, device),
    "n_train": len(chosen),
    "n_test": sum(len(labels) for _, labels in test),
}
facts = parquet.provenance(**{**dict(params.items()), **measured})
epochs = pd.DataFrame(rows, columns=schemas.EPOCHS.names)
parquet.write(epochs, snakemake.output.epochs, schemas.EPOCHS, facts)
scratch.clear()
