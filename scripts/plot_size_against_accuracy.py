"""Accuracy over each size of the receptive field."""

from deadpixel.files import parquet
from deadpixel.operations import job
from deadpixel.results import published, size_test, style

job.begin(snakemake)
table1 = parquet.read(snakemake.input.table, size_test.TABLE1.schema)
correlations = parquet.read(snakemake.input.correlations, size_test.CORRELATIONS.schema)
ours = f"{snakemake.params.dataset}, {snakemake.params.weights}"
figure = size_test.size_against_accuracy(table1, published.table(1), correlations, ours)
style.save(figure, snakemake.output)
