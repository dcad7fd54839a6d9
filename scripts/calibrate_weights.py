"""Initialise a network by its seed and measure its batch-norm statistics on the train split."""

from deadpixel import errors
from deadpixel.data.evaluation import evaluation_images, evaluation_transform
from deadpixel.files import parquet, schemas
from deadpixel.networks import calibration, checkpoints, zoo
from deadpixel.operations import computing, devices, job

job.begin(snakemake)
params, config = snakemake.params, snakemake.config
device = computing.device(snakemake)

manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)
most = params.calibration["images"]
transform = evaluation_transform(**params.preprocess)
images = evaluation_images(snakemake.input.pack, manifest, "train", transform, most=most)
model = zoo.build(params.model, seed=params.seed)
with errors.naming(f"models.{snakemake.wildcards.model}"):
    calibration.calibrate(model, images.batches(params.calibration["batch_size"]), device=device)
facts = parquet.provenance(
    model=params.model,
    weights="calibrated",
    n_images=len(images),
    preprocess=params.preprocess,
    seed=params.seed,
    device=devices.describe(device),
)
checkpoints.save(model, snakemake.output.checkpoint, facts)
