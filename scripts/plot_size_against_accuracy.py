"""Accuracy over each size of the receptive field."""

from deadpixel import logs, plots, store, tables

logs.configure(snakemake.log[0])
table = store.read(snakemake.input.table, tables.TABLE1)
correlations = store.read(snakemake.input.correlations, tables.CORRELATIONS)
figure = plots.size_against_accuracy(table, tables.paper_table(1), correlations)
plots.save(figure, snakemake.output)
