"""Fig. 5: test accuracy over epochs on the micro-object task."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, microobject, published, style

job.begin(snakemake)
params = snakemake.params
epochs = parquet.read_partitioned(snakemake.input.epochs, schemas.EPOCHS)
titles = arms.titles(parquet.read_all(snakemake.input.trf, schemas.TRF))
paper = published.beside(4, params.networks, published.differences(params.settings))
figure = microobject.accuracy_over_epochs(
    epochs.replace({"model": titles}), params.threshold, paper.rename(index=titles)
)
style.save(figure, snakemake.output)
