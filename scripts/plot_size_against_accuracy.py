"""Accuracy over each size of the receptive field."""

from deadpixel.files import parquet
from deadpixel.operations import job
from deadpixel.results import plots, published, tables

job.begin(snakemake)
table = parquet.read(snakemake.input.table, tables.TABLE1)
correlations = parquet.read(snakemake.input.correlations, tables.CORRELATIONS)
ours = f"{snakemake.params.dataset}, {snakemake.params.weights} weights"
figure = plots.size_against_accuracy(table, published.table(1), correlations, ours)
plots.save(figure, snakemake.output)
