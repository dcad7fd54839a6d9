"""Fig. 5: test accuracy over epochs on the micro-object task."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import microobject, published, style

job.begin(snakemake)
params = snakemake.params
epochs = parquet.read_partitioned(snakemake.input.epochs, schemas.EPOCHS)
paper = published.beside(4, params.networks, published.differences(params.settings))
style.save(microobject.accuracy_over_epochs(epochs, params.threshold, paper), snakemake.output)
