"""Accuracy over each size of the receptive field."""

from deadpixel import logs, plots, published, store, tables

logs.configure(snakemake.log[0])
table = store.read(snakemake.input.table, tables.TABLE1)
correlations = store.read(snakemake.input.correlations, tables.CORRELATIONS)
ours = f"{snakemake.params.dataset}, {snakemake.params.weights} weights"
figure = plots.size_against_accuracy(table, published.table(1), correlations, ours)
plots.save(figure, snakemake.output)
