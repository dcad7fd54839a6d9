"""Train one network from scratch on the micro-object task: what it sees, epoch by epoch."""

import numpy as np
import pandas as pd

from deadpixel import microobject, training
from deadpixel.data import augment
from deadpixel.data.evaluation import evaluation_images, evaluation_transform, spread
from deadpixel.data.packs import Pack
from deadpixel.files import parquet, runs, schemas
from deadpixel.networks import zoo
from deadpixel.operations import computing, devices, job

job.begin(snakemake)
params, wildcards = snakemake.params, snakemake.wildcards
pack = snakemake.input.pack
device = computing.device(snakemake)
seed, size = int(wildcards.seed), params.size
manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)

side = params.augmentation["crop"]
start = zoo.build(params.model, seed=seed)
model = microobject.starting_network(
    start, wildcards.kernels, params.surgeries, init=params.init, seed=seed, side=side
)

augmentation = augment.Augmentation(**params.augmentation)
chosen = spread(np.flatnonzero(manifest["split"] == "train"), params.images)
images = augment.TRAINING_IMAGES[params.method](
    Pack(pack, manifest), chosen, np.zeros(len(chosen)), augmentation, seed=seed, device=device
)
transform = evaluation_transform(augmentation.resized_crop, augmentation.crop)
tested = evaluation_images(pack, manifest, "test", transform)
test = microobject.evaluation_batches(tested.on(device, params.batch_size), size, seed)

recipe = training.Recipe(**params.recipe, seed=seed)
train = microobject.training_batches(images, len(chosen), params.batch_size, size, seed)
scratch = computing.scratch(snakemake, "microobject")
is_done = microobject.seen_for(**params.stop) if params.stop else training.never
rows = [
    *training.fit(
        model, train, {"test": lambda: test}, recipe, scratch, device=device, is_done=is_done
    )
]

measured = {
    "device": devices.describe(device),
    "precision": training.computed_in(recipe.precision, device),
    "n_train": len(chosen),
    "n_test": len(tested) * len(microobject.CLASSES),
}
facts = parquet.provenance(**{**dict(params.items()), **measured})
paths = [tested.path(number) for number in range(len(tested))]
corners = microobject.test_places(seed, np.arange(len(tested)), (side, side), size).numpy()
output = snakemake.output
epochs = pd.DataFrame(rows, columns=schemas.EPOCHS.names)
parquet.write(epochs, output.epochs, schemas.EPOCHS, facts)
parquet.write(runs.steps_to_frame(rows), output.steps, schemas.STEPS, facts)
parquet.write(runs.seen_to_frame(rows, paths, corners), output.seen, schemas.SEEN, facts)
scratch.clear()
