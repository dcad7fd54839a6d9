"""Table 3 as a picture, and the course of every run."""

from deadpixel import logs, padding_plots, plots, published, store, tables

logs.configure(snakemake.log[0])
params, output = snakemake.params, snakemake.output

runs = store.read(snakemake.input.runs, tables.RUNS)
paper = published.beside(3, params.networks, published.differences(params.settings))
plots.save(padding_plots.accuracies(runs, paper), [output.accuracies_png, output.accuracies_svg])
epochs = store.read_partitioned(snakemake.input.epochs, store.EPOCHS)
plots.save(padding_plots.training_curves(epochs), [output.curves_png, output.curves_svg])
