"""Table 3 as a figure, and the course of every run."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, published, shape_test, style

job.begin(snakemake)
params, output = snakemake.params, snakemake.output

titles = arms.titles(parquet.read_all(snakemake.input.trf, schemas.TRF))
runs = parquet.read(snakemake.input.runs, shape_test.RUNS.schema).replace({"model": titles})
paper = published.beside(3, params.networks, published.differences(params.settings))
paper = paper.rename(index=titles)
style.save(shape_test.accuracies(runs, paper), [output.accuracies_png, *output.accuracies_vector])
epochs = parquet.read_partitioned(snakemake.input.epochs, schemas.EPOCHS)
epochs = epochs.replace({"model": titles})
style.save(shape_test.training_curves(epochs), [output.curves_png, *output.curves_vector])
