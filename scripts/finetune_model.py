"""Fine-tune one network with one kind of kernels, and predict the test split."""

import numpy as np
import pandas as pd

from deadpixel import kernels, training
from deadpixel.data import augment, evaluation
from deadpixel.data.packs import Pack
from deadpixel.files import parquet, schemas
from deadpixel.networks import checkpoints, zoo
from deadpixel.operations import computing, devices, job

job.begin(snakemake)
params, wildcards = snakemake.params, snakemake.wildcards
pack = snakemake.input.pack
device = computing.device(snakemake)
seed = int(wildcards.seed)
manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)

start = checkpoints.load(zoo.build(params.model), snakemake.input.checkpoint)
augmentation = augment.Augmentation(**params.augmentation, **params.normalisation)
input_size = (augmentation.crop, augmentation.crop)
model = training.starting_network(
    start,
    len(set(manifest["label"])),
    wildcards.kernels,
    params.surgeries,
    init=params.init,
    seed=seed,
    input_size=input_size,
    channels=len(augmentation.mean),
)

chosen = np.flatnonzero(manifest["split"] == "train")
labels = manifest["label"].to_numpy()[chosen]
images = augment.TRAINING_IMAGES[params.method](
    Pack(pack, manifest), chosen, labels, augmentation, seed=seed, device=device
)
transform = evaluation.evaluation_transform(
    augmentation.resized_crop, augmentation.crop, **params.normalisation
)
valid, test = (
    evaluation.evaluation_images(pack, manifest, split, transform).on(device, params.batch_size)
    for split in ("valid", "test")
)
recipe = training.Recipe(**params.recipe, seed=seed)
scratch = computing.scratch(snakemake, "finetune")
train = training.epoch_batches(images, images.labels, params.batch_size, seed)
rows = [*training.fit(model, train, {"valid": lambda: valid}, recipe, scratch, device=device)]

measured = {
    "device": devices.describe(device),
    "precision": training.computed_in(recipe.precision, device),
    "seconds": sum(row["seconds"] for row in rows),
    "added_weights_norm": float(kernels.added_weights(model).norm()),
}
facts = parquet.provenance(**{**dict(params.items()), **measured})
epochs = pd.DataFrame(rows, columns=schemas.EPOCHS.names)
parquet.write(epochs, snakemake.output.epochs, schemas.EPOCHS, facts)
tested = manifest.loc[manifest["split"] == "test", ["path", "label"]]
tested = tested.assign(predicted=training.predict(model, test)[0])
parquet.write(tested, snakemake.output.predictions, schemas.PREDICTIONS, facts)
checkpoints.save(model.cpu(), snakemake.output.checkpoint, facts)
scratch.clear()
