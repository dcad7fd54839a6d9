"""Table 3 as a picture, and the course of every run."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import padding_plots, plots, published, tables

job.begin(snakemake)
params, output = snakemake.params, snakemake.output

runs = parquet.read(snakemake.input.runs, tables.RUNS)
paper = published.beside(3, params.networks, published.differences(params.settings))
plots.save(padding_plots.accuracies(runs, paper), [output.accuracies_png, output.accuracies_svg])
epochs = parquet.read_partitioned(snakemake.input.epochs, schemas.EPOCHS)
plots.save(padding_plots.training_curves(epochs), [output.curves_png, output.curves_svg])
